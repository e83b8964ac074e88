"""Uninterpreted contents of a file: named columns or arrays, and the reading of cells."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.files import parse_json
from steadytune.records.checks import read_array
from steadytune.tasks.table import Table, is_missing, read_number

if TYPE_CHECKING:
    from steadytune.external.logs.log import Log

# As NumPy prints numbers in a list.
_SCALAR = re.compile(r"(?:np|numpy)\.(?:float|int)\d*\(([^()]*)\)")
_NOTHING = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>", "-"})
# Among words, "none" and "na" are more likely classes.
_NO_WORD = frozenset({"", "nan", "<na>", "-"})


@dataclass(frozen=True, eq=False)
class Source:
    """One run's part of a file.

    Attributes:
        path: The file.
        columns: Name -> a list with a cell per row, or an array.
        table: The table of the columns, or None for an array file.
        unread: Names of arrays with unknown meaning, which were not read.
        seed: Name of the run in a file with several, or None.
        log: What the file holds if an evaluation harness wrote it; `logs.settled` makes columns of it.
        task: Name of the task, if the file says it.
        called: What the run is called, if the file says it.
        notes: What a reader should know about how it was read.
        places: Of each row its place in the sentence, if the rows of the file are sentences.
    """

    path: Path
    columns: Mapping[str, Any]
    table: Table | None = None
    unread: tuple[str, ...] = ()
    seed: str | None = None
    log: Log | None = None
    task: str = ""
    called: str = ""
    notes: tuple[str, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of everything in the file."""
        return (*self.columns, *self.unread)

    @property
    def origin(self) -> str:
        """The file and the run in it, for error messages."""
        return str(self.path) if self.seed is None else f"{self.path} (seed {self.seed})"

    def where(self, row: int) -> str:
        """Return the name of a row for an error message."""
        return self.table.where(row) if self.table is not None else f"{self.origin}, row {row}"

    def select(self, rows: NDArray[np.int64], seed: str) -> Source:
        """Return the rows of one seed of a table."""
        assert self.table is not None
        table = self.table.select(rows.tolist())
        return replace(self, columns=table.columns, table=table, seed=seed)

    def cells(self, name: str) -> list[Any]:
        """Return a column as a list; missing cells are None, and text is stripped."""
        values = self.columns[name]
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        if not isinstance(listed, list):
            raise UserError(f"{self.origin}: '{name}' must be one value per example, not {listed!r:.60}")
        return [None if is_missing(cell) else cell.strip() if isinstance(cell, str) else cell for cell in listed]

    def empty(self, name: str) -> bool:
        """Return whether a column of a table is entirely empty."""
        values = self.columns[name]
        return isinstance(values, list) and all(is_nothing(cell) for cell in values)

    def is_matrix(self, name: str) -> bool:
        """Return whether a row of a column is several values rather than one."""
        values = self.columns[name]
        if isinstance(values, np.ndarray):
            return values.ndim >= 2
        first = next((cell for cell in values if not is_missing(cell)), None)
        return isinstance(first, (list, tuple, np.ndarray)) or _list_of_numbers(first) is not None

    def numeric(self, name: str) -> bool:
        """Return whether every non-missing cell of a column is a number or boolean."""
        values = self.columns[name]
        if isinstance(values, np.ndarray):
            return values.dtype.kind in "fiub"
        return all(is_nothing(cell) or number(cell) is not None for cell in values)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers (N,); NaN for missing cells, 1 and 0 for true and false.

        Raises:
            UserError: A cell is not a number; names the row.
        """
        values = self.columns[name]
        if isinstance(values, np.ndarray):
            return read_array(values, f"{self.origin}: {name}").astype(np.float64)
        found = []
        for row, cell in enumerate(values):
            value = np.nan if is_nothing(cell) else number(cell)
            if value is None:
                raise UserError(f"{self.where(row)}: '{name}' is {cell!r}, which is not a number")
            found.append(value)
        return np.array(found, dtype=np.float64)

    def array(self, name: str) -> NDArray[Any]:
        """Return a column of lists as a matrix (N, C), or an array unchanged.

        Raises:
            UserError: Rows differ in length, or do not contain numbers.
        """
        values = self.columns[name]
        if isinstance(values, np.ndarray) or self.table is None:
            return read_array(values, f"{self.origin}: {name}")
        rows: list[Any] = []
        for row, cell in enumerate(values):
            listed = _list_of_numbers(cell) if isinstance(cell, str) else cell
            if listed is None or np.ndim(listed) != 1:
                raise UserError(f"{self.where(row)}: '{name}' is {str(cell)[:60]!r}, which is not a list of numbers")
            rows.append([np.nan if one is None else one for one in listed])
            if len(rows[-1]) != len(rows[0]):
                raise UserError(
                    f"{self.where(row)}: '{name}' has {len(rows[-1])} numbers, but {len(rows[0])} in the first row"
                )
        return read_array(rows, f"{self.origin}: {name}").astype(np.float64)


def number(cell: Any) -> float | None:
    """Return a cell as a number, 1 and 0 for true and false, or None if it is not one."""
    if isinstance(cell, (bool, int, float, np.number, np.bool_)):
        try:
            return float(cell)
        except OverflowError:
            return None
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(read_number(text))
    except (ValueError, OverflowError):
        return None


def is_nothing(cell: Any) -> bool:
    """Return whether a cell means that the value is missing: empty, "nan", "-"."""
    return is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in _NOTHING)


def is_no_word(cell: Any) -> bool:
    """Return whether a cell among words means that the value is missing."""
    return is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in _NO_WORD)


def spelled(cell: Any) -> str:
    """Return a label in the form used for comparison: "1.0" and 1 are "1"; true is "True"."""
    if isinstance(cell, (bool, np.bool_)):
        return str(bool(cell))
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    text = str(cell).strip()
    if re.fullmatch(r"[+-]?\d+\.0*", text):
        return str(int(float(text)))
    return text.capitalize() if text.lower() in ("true", "false") else text


def _list_of_numbers(cell: Any) -> list[float] | None:
    """Return the numbers of a text such as "[0.1, 0.9]", "[0.1 0.9]", "(0.1, 0.9)" or "tensor([0.1, 0.9])"."""
    if not isinstance(cell, str):
        return None
    cell = _SCALAR.sub(r"\1", cell)
    match = re.fullmatch(r"(?:(?:array|tensor)\()?\s*[\[(]([^\[\]()]*)[\])]\s*(?:,\s*[a-z]+=[^()]*)?\)?", cell.strip())
    if match is None:
        return None
    parts = [part for part in re.split(r"[,;\s]+", match[1].strip()) if part]
    values = [number(part) for part in parts]
    return None if len(values) < 1 or any(value is None for value in values) else [v for v in values if v is not None]


def read_list(cell: Any) -> list[str] | None:
    """Return the texts of a list written as text, in JSON or as printed by Python; None for any other cell."""
    text = cell.strip() if isinstance(cell, str) else ""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            found = parse_json(text)
        except ValueError:
            return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None
