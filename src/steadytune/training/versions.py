"""Versions of the software in use."""

from __future__ import annotations

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on, without importing them."""
    names = ("steadytune", "torch", "transformers", "accelerate", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
