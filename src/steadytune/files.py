"""Files that are whole or absent: written beside their place and renamed into it, read back against a checksum."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError

Arrays = dict[str, NDArray[Any]]
# What safetensors calls them; NumPy has no bfloat16.
_DTYPES = {"BOOL": "?", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "I8": "i1", "I16": "<i2", "I32": "<i4"}
_DTYPES |= {"I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CorruptFile(Exception):
    """A file whose content is not what was written."""


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    """Turn "no space left" into an error that says where, and that finished work is safe."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise UserError(
                f"no room on the disk while writing {path} ({os.strerror(error.errno or 0)}). "
                "Finished runs are kept: free some space and start the same command again."
            ) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by temp-and-rename; after a crash the path holds the old content or the new, never a part."""
    with room_on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text by temp-and-rename."""
    write_bytes(path, content.encode())


def canonical_json(content: Any) -> bytes:
    """Return the one JSON spelling of `content` (sorted keys, no spaces), for hashing. NaN is refused."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sha256(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> str:
    """Write named arrays, and texts beside them if wanted, as safetensors; return the file's SHA-256."""
    from safetensors.numpy import save

    # np.ascontiguousarray would turn a single number into an array of one.
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)
    write_bytes(path, content)
    return sha256(content)


def read_arrays(path: Path, checksum: str) -> Arrays:
    """Read named arrays back, mapped into memory: the file is checked in pieces, and loaded where it is touched.

    The file is replaced by rename, never written into, so that what is mapped stays what was checked.

    Raises:
        CorruptFile: The file is missing or is not the one whose SHA-256 is `checksum`.
    """
    try:
        if sha256_file(path) != checksum:
            raise CorruptFile(f"{path.name} does not match its checksum")
    except OSError as error:
        raise CorruptFile(f"{path.name} cannot be read ({error.strerror})") from error
    return map_arrays(path)[0]


def map_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a safetensors file, on disk until they are touched, and the texts beside them.

    Writing into an array changes it in this process alone. The library itself reads whole tensors into memory; bfloat16
    is read and widened.

    Raises:
        CorruptFile: It is no whole safetensors file, or has a type that NumPy has not.
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
    if tensor["dtype"] not in _DTYPES:
        raise CorruptFile(f"'{name}' has the type {tensor['dtype']}, which NumPy has not")
    shape, dtype = tuple(tensor["shape"]), np.dtype(_DTYPES[tensor["dtype"]])
    if not np.prod(shape):
        return np.empty(shape, dtype)
    array = np.memmap(path, dtype, "c", start + tensor["data_offsets"][0], shape)
    # The upper half of the bits of a float32.
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else array
