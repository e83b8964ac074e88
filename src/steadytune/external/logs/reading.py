"""Which harness wrote a file, and its reader."""

from __future__ import annotations

from pathlib import Path

from steadytune.external.logs.inspect_log import is_inspect, read_inspect
from steadytune.external.logs.lighteval import is_details, read_details
from steadytune.external.logs.lm_eval import is_samples, read_samples
from steadytune.external.logs.log import Log
from steadytune.tasks.table import Table


def is_log(path: Path) -> bool:
    """Return whether a file is a log that only its harness can read, and no table."""
    return is_inspect(path)


def read_log(path: Path) -> Log:
    """Read a file for which `is_log` is true.

    Raises:
        UserError: It cannot be read, or the package that reads it is missing.
    """
    return read_inspect(path)


def read_log_table(path: Path, table: Table) -> Log | None:
    """Return the log that a table is, or None if it is a table of something else.

    Raises:
        UserError: It is one that cannot be read; names the row.
    """
    if is_samples(table.columns):
        return read_samples(path, table)
    return read_details(path, table) if is_details(table.columns) else None
