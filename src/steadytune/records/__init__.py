"""Records of runs, folders of them, and cohorts of runs that differ only in their seeds."""

from steadytune.records.cohort import Cohort, LostRun
from steadytune.records.record import RunRecord
from steadytune.records.store import RunStore

__all__ = ["Cohort", "LostRun", "RunRecord", "RunStore"]
