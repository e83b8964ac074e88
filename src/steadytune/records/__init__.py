"""What runs leave behind: a record each, a folder of them, and cohorts of those that differ in their seeds alone."""

from steadytune.records.cohort import Cohort, LostRun
from steadytune.records.record import RunRecord
from steadytune.records.store import RunStore

__all__ = ["Cohort", "LostRun", "RunRecord", "RunStore"]
