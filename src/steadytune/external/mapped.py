"""Arrays of a .safetensors file, mapped into memory: only what is used is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.files import Arrays, CorruptFile

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def map_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a file, read-only and on disk until they are used, and the texts beside them.

    The library itself reads whole tensors into memory. NumPy has no bfloat16: such an array is read and widened.

    Raises:
        CorruptFile: It is no whole .safetensors file, or has a type that NumPy has not.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # The library checks the header: that the tensors lie within the file, side by side, in sizes that fit.
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise CorruptFile(str(error)) from None
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {name: _mapped(path, name, tensor, 8 + length) for name, tensor in header.items()}, metadata


def _mapped(path: Path, name: str, tensor: dict[str, Any], start: int) -> NDArray[Any]:
    if tensor["dtype"] not in _TYPES:
        raise CorruptFile(f"'{name}' has the type {tensor['dtype']}, which NumPy has not")
    shape, dtype = tuple(tensor["shape"]), np.dtype(_TYPES[tensor["dtype"]])
    if not np.prod(shape):
        return np.empty(shape, dtype)
    array = np.memmap(path, dtype, "r", start + tensor["data_offsets"][0], shape)
    # The upper half of the bits of a float32.
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else np.asarray(array)
