"""Runs trained elsewhere: recording, reading files in several formats, validation, and conversion to cohorts."""

from steadytune.external.cohort import cohort_of, read_runs, runs_of, texts_of
from steadytune.external.columns import Choices
from steadytune.external.logs import tasks_of
from steadytune.external.read import read_run, read_source, run_files
from steadytune.external.record import record_run
from steadytune.external.run import ExternalRun

__all__ = [
    "Choices",
    "ExternalRun",
    "cohort_of",
    "read_run",
    "read_runs",
    "read_source",
    "record_run",
    "run_files",
    "runs_of",
    "tasks_of",
    "texts_of",
]
