"""Lists in the cells of tables."""

from __future__ import annotations

import json
from ast import literal_eval
from typing import Any

import numpy as np

from steadytune.tasks.table import Table, is_missing


def listed(cell: Any) -> list[Any] | None:
    """Return a list, or one that a text spells; None for anything else."""
    if isinstance(cell, (list, tuple, np.ndarray)):
        return list(cell)
    if not isinstance(cell, str) or not (cell.startswith("[") and cell.endswith("]")):
        return None
    for parse in (json.loads, literal_eval):
        try:
            found = parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def has_lists(table: Table, name: str) -> bool:
    """Return whether a table has a column that holds a list in every row in which it is not missing."""
    values = [value for value in table.columns.get(name, []) if not is_missing(value)]
    return bool(values) and all(listed(value) is not None for value in values)
