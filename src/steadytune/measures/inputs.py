"""Inputs of the measures: NumPy arrays, torch tensors on any device, nested sequences; validated once, here.

Torch tensors are recognised by their methods, so nothing here imports torch.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Definition = Literal["corrected", "published"]

# Half the distance between 1 and the next number: the largest relative rounding error of storage.
_HALF_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
# For wider types the limit is the arithmetic of a float32 network, not its storage.
_NETWORK_ROUNDOFF = 1e-6


def check_definition(definition: str) -> None:
    """Reject a definition other than "corrected" or "published".

    Raises:
        ValueError: If the name is another one.
    """
    if definition not in get_args(Definition):
        raise ValueError(f"unknown definition {definition!r}: it must be 'corrected' or 'published'")


def to_array(values: Any, name: str) -> NDArray[Any]:
    """Convert anything array-like to a NumPy array of real numbers, without a copy if possible.

    Args:
        values: A NumPy array, a torch tensor, or nested sequences of numbers, arrays or tensors.
        name: What the values are, for the error message.

    Raises:
        ValueError: If the values are ragged or not real numbers.
    """
    if isinstance(values, (list, tuple)):
        values = [to_array(value, name) if hasattr(value, "detach") else value for value in values]
    elif hasattr(values, "detach"):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        values = (values.float() if "bfloat16" in str(values.dtype) else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be rectangular: its parts have different shapes") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}")
    return array


def to_float64(values: Any, name: str, shape: str) -> Float64Array:
    """Convert anything array-like to a non-empty float64 array of finite numbers.

    Args:
        values: As for `to_array`.
        name: What the values are, for the error message.
        shape: The axes that the values must have, such as "(K, N, C)".

    Raises:
        ValueError: If the number of axes is wrong, or a value is NaN or infinite, naming the first such run if
            the first axis is K, that of the runs.
    """
    array = to_array(values, name).astype(np.float64)
    check_shape(array, name, shape)
    if not np.isfinite(array).all():
        place = f" in run {np.argwhere(~np.isfinite(array))[0][0]}" if shape.startswith("(K") else ""
        raise ValueError(f"{name} must be finite: found NaN or infinite values{place}")
    return array


def to_device_float64(values: Any, name: str, shape: str) -> Any:
    """Convert anything array-like to float64 as `to_float64` does, but leave a CUDA tensor on its device.

    Args:
        values: As for `to_array`.
        name: What the values are, for the error message.
        shape: The axes that the values must have, such as "(N, D)".

    Raises:
        ValueError: If the number of axes is wrong, or a value is NaN or infinite.
    """
    if not getattr(values, "is_cuda", False):
        return to_float64(values, name, shape)
    tensor = values.detach().double()
    check_shape(tensor, name, shape)
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} must be finite: found NaN or infinite values")
    return tensor


def check_shape(array: Any, name: str, shape: str) -> None:
    """Reject an empty array, or one without the number of axes given by `shape`.

    Raises:
        ValueError: If so.
    """
    if array.ndim != shape.count(",") + (not shape.endswith(",)")) or 0 in array.shape:
        raise ValueError(f"{name} must have shape {shape} and not be empty, got {tuple(array.shape)}")


def roundoff(values: Any) -> float:
    """Return the relative error of a representation's entries, from its dtype before conversion.

    It is 2^-11 for float16, 2^-8 for bfloat16 and, for wider types, the 1e-6 of a float32 network.
    """
    return _HALF_ROUNDOFF.get(str(values.dtype).removeprefix("torch."), _NETWORK_ROUNDOFF)
