"""Tables whose rows know their place in the file, and numbers as people spell them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from steadytune.errors import UserError

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?([0-9]+(,[0-9]*)?|,[0-9]+)([eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
# Column names are short; a sentence, a number or an empty cell belongs to an example.
_LONGEST_NAME = 4


class NoNumber(UserError):
    """A cell that must be a number is not."""


@dataclass(frozen=True)
class Table:
    """Rows of one split.

    Attributes:
        origin: Where they come from, for error messages.
        columns: Name -> values, all of equal length; a missing value is None.
        numbers: Number of each row: the line or row of the file where it begins; None to count rows.
        unit: "line", or "row" if a file has no lines.
        typed: False if every value is a string, whatever it represents (csv).
        delimiter: Separator of the columns of a text file; "" if there is none.
        notes: What the user should know: how the file was read, if that was inferred, and what was skipped.
        classes: Column -> the names of its numbers from 0 on, if the file gives them; -1 is none of them.
    """

    origin: str
    columns: dict[str, list[Any]]
    numbers: list[int] | None = None
    unit: str = "row"
    typed: bool = True
    delimiter: str = ""
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """Return the name of a row for an error message."""
        return f"{self.origin}, {self.unit} {row + 1 if self.numbers is None else self.numbers[row]}"

    def select(self, rows: Sequence[int]) -> Table:
        """Return some rows, in the given order."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        numbers = [row + 1 if self.numbers is None else self.numbers[row] for row in rows]
        return replace(self, columns=columns, numbers=numbers)

    def column(self, name: str, option: str = "") -> list[Any]:
        """Return a column.

        Args:
            name: The column.
            option: The option that selects another column, if any.

        Raises:
            UserError: There is no such column.
        """
        if name not in self.columns:
            hint = f"; name another with --set {option}" if option else ""
            if not self.typed and not self.has_header():
                hint = "; its first line looks like an example: add a header with the column names"
            names = ", ".join(f"{column:.60}" for column in self.columns if column)
            raise UserError(f"{self.origin} has no column '{name}', only {names}{hint}")
        return self.columns[name]

    def has_header(self) -> bool:
        """Return whether the column names look like names rather than like the first example."""
        return not any(
            not name or _DECIMAL.fullmatch(name) or len(name.split()) > _LONGEST_NAME for name in self.columns
        )

    def figures(self, name: str) -> list[int | float | None]:
        """Return a column of numbers, which a text file spells; commas are decimal points if points cannot be.

        Raises:
            UserError: There is no such column, or a cell is not a number (`NoNumber`) or ambiguous; names the row.
        """
        values = self.column(name)
        comma = self._has_decimal_commas(name)
        result: list[int | float | None] = []
        for row, value in enumerate(values):
            try:
                result.append(None if value is None else read_number(value, comma))
            except ValueError:
                raise NoNumber(f"{self.where(row)}: '{name}' is {value!r:.60}, which is not a number") from None
        return result

    def _has_decimal_commas(self, name: str) -> bool:
        if self.typed:
            return False
        spelled = [value.strip() for value in self.columns[name] if value is not None]
        with_comma = [value for value in spelled if "," in value]
        if not with_comma or not all(_COMMA.fullmatch(v) or _NOT_FINITE.fullmatch(v) for v in spelled):
            return False
        if self.delimiter != ";" and all(map(_THOUSANDS.fullmatch, with_comma)):
            row = self.columns[name].index(next(v for v in self.columns[name] if v is not None and "," in v))
            raise UserError(
                f"{self.where(row)}: '{name}' is {with_comma[0]!r}: is the comma a decimal point or a thousands "
                "separator? Write numbers with a decimal point and no thousands separator"
            )
        return True


def is_number(text: str) -> bool:
    """Return whether a cell spells a number, see `read_number`."""
    try:
        read_number(text)
    except ValueError:
        return False
    return True


def read_number(value: Any, decimal_comma: bool = False) -> int | float:
    """Return the number that a cell is or spells: digits with a point and an exponent, "nan" or "inf".

    Python itself would also read "1_0" as 10.

    Raises:
        ValueError: It is not a number. True and False are not numbers.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text):
            return int(text)
        if _NOT_FINITE.fullmatch(text) or _DECIMAL.fullmatch(text):
            return float(text)
        if decimal_comma and _COMMA.fullmatch(text):
            return float(text.replace(",", "."))
    raise ValueError(f"{value!r:.60} is not a number")


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def other_rows(rows: list[int]) -> str:
    """Return how many further rows have the same fault, as the end of an error message."""
    return f" (nor in {len(rows) - 1} more)" if len(rows) > 1 else ""


def count_fields(row: Iterable[str]) -> str:
    """Return the number of fields of a row in words."""
    count = len(list(row))
    return f"{count} field{'s' if count != 1 else ''}"


def count_rows(number: int) -> str:
    """Return the number of rows in words."""
    return "1 row" if number == 1 else f"{number} rows"
