"""Conformance checks for the tests of other packages.

Each takes what a package adds and raises an AssertionError that says which requirement it breaks. They are made for
small inputs on a CPU, need no network, and import torch only when needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.testing.kinds import check_kind as check_kind
    from steadytune.testing.measures import check_measure as check_measure
    from steadytune.testing.metrics import check_metric as check_metric
    from steadytune.testing.stabilizers import check_stabilizer as check_stabilizer

_PLACES = {
    "check_kind": "kinds",
    "check_measure": "measures",
    "check_metric": "metrics",
    "check_stabilizer": "stabilizers",
}

__all__ = ["check_kind", "check_measure", "check_metric", "check_stabilizer"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steadytune.testing' has no attribute '{name}'")
    value = getattr(import_module(f"steadytune.testing.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
