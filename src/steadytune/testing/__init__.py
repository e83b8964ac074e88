"""Checks that what another package adds does what steadytune relies on: run them in its tests."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.testing.measures import check_measure as check_measure
    from steadytune.testing.metrics import check_metric as check_metric

_NAMES = {"check_measure": "measures", "check_metric": "metrics"}
__all__ = ["check_measure", "check_metric"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'steadytune.testing' has no attribute '{name}'")
    return getattr(import_module(f"steadytune.testing.{_NAMES[name]}"), name)
