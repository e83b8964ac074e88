"""Records of runs, folders of them, and cohorts of runs that differ only in their seeds.

Names are imported when they are used: to list the runs of a folder takes no measure.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.records.cohort import Cohort as Cohort
    from steadytune.records.cohort import LostRun as LostRun
    from steadytune.records.record import RunRecord as RunRecord
    from steadytune.records.store import RunStore as RunStore

_PLACES = {"Cohort": "cohort", "LostRun": "cohort", "RunRecord": "record", "RunStore": "store"}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steadytune.records' has no attribute '{name}'")
    globals()[name] = value = getattr(import_module(f"steadytune.records.{_PLACES[name]}"), name)
    return value
