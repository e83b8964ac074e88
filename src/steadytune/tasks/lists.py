"""Lists in the cells of tables."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from typing import Any

import numpy as np

from steadytune.tasks.table import Table, is_missing

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_PART = rf"(?:{_QUOTED}|[+-]?\.?\w[\w.+-]*)"
# As NumPy prints arrays: without commas, so that 'O' 'B-PER' would be one text for Python.
_PRINTED = re.compile(rf"\[\s*(?:{_PART}\s+)*{_PART}\s*\]")
_ATOM = re.compile(_PART)
_TEXT = re.compile(_QUOTED)
_SCALAR = re.compile(rf"(?:np|numpy)\.\w+\(({_PART})\)")


def listed(cell: Any) -> list[Any] | None:
    """Return a list, or one that a text spells in JSON or as Python or NumPy prints it; None for anything else."""
    if isinstance(cell, (list, tuple, np.ndarray)):
        return list(cell)
    if not is_bracketed(cell):
        return None
    for parse in (json.loads, _printed):
        try:
            found = parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def is_bracketed(cell: Any) -> bool:
    """Return whether a cell is a text in brackets, which probably spells a list."""
    return isinstance(cell, str) and cell.startswith("[") and cell.endswith("]")


def _printed(cell: str) -> Any:
    if _PRINTED.fullmatch(cell):
        return [literal_eval(one) for one in _ATOM.findall(cell)]
    try:
        found = literal_eval(cell)
    except ValueError:
        found = literal_eval(_SCALAR.sub(r"\1", cell))
    if isinstance(found, list) and ... in found:
        return None
    # Adjacent texts, some with a comma between them and some without, are one for Python.
    texts = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return None if texts and len(_TEXT.findall(cell)) != len(found) else found


def has_lists(table: Table, name: str) -> bool:
    """Return whether a table has a column that holds a list in every row in which it is not missing."""
    values = [value for value in table.columns.get(name, []) if not is_missing(value)]
    return bool(values) and all(listed(value) is not None for value in values)
