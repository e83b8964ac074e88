"""Runs that were trained elsewhere: recorded into files of several formats, read back, checked and made a cohort."""

from steadytune.external.cohort import cohort_of, read_runs, texts_of
from steadytune.external.read import read_run, run_files
from steadytune.external.record import record_run
from steadytune.external.run import ExternalRun

__all__ = ["ExternalRun", "cohort_of", "read_run", "read_runs", "record_run", "run_files", "texts_of"]
