"""A table: columns that know where each of their rows stood, and numbers as people spell them."""

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
# Names of columns are short; a sentence, a number or nothing in the place of one is an example's.
_LONGEST_NAME = 4


class NoNumber(UserError):
    """A cell that should hold a number does not."""


@dataclass(frozen=True)
class Table:
    """Rows of one split.

    Attributes:
        origin: Where they come from, as an error names it.
        columns: Name -> values, all of one length; a missing value is None.
        numbers: What each row is called: the line or row of the file where it begins; None to count rows.
        unit: "line", or "row" where a file has no lines.
        typed: False where every value is a string whatever it stands for (csv).
        delimiter: What stands between the columns of a file of text; "" where nothing does.
        notes: What a reader of the file should know: how it was read where that was found out, and what was left aside.
        classes: Column -> the names of its numbers from 0 on, where the file says them; -1 is none of them.
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
        """Name a row for an error."""
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
            option: The setting that names another column, if there is one.

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
        """Tell whether the names of the columns look like names, rather than like the first example."""
        return not any(
            not name or _DECIMAL.fullmatch(name) or len(name.split()) > _LONGEST_NAME for name in self.columns
        )

    def figures(self, name: str) -> list[int | float | None]:
        """Return a column of numbers, which a file of text spells; commas are decimals where points cannot be.

        Raises:
            UserError: There is no such column, or a cell is no number (`NoNumber`) or could be two; names the row.
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
    """Tell whether a cell spells a number, see `read_number`."""
    try:
        read_number(text)
    except ValueError:
        return False
    return True


def read_number(value: Any, decimal_comma: bool = False) -> int | float:
    """Return the number that a cell holds or spells: digits with a point and an exponent, "nan" or "inf".

    Python itself would also read "1_0" as 10.

    Raises:
        ValueError: It is none. True and False are none.
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
    """Tell whether a value says that there is none: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def other_rows(rows: list[int]) -> str:
    """Say how many rows beside the first have the same fault, for the end of an error."""
    return f" (nor in {len(rows) - 1} more)" if len(rows) > 1 else ""


def count_fields(row: Iterable[str]) -> str:
    """Say how many fields a row has."""
    count = len(list(row))
    return f"{count} field{'s' if count != 1 else ''}"


def count_rows(number: int) -> str:
    """Say how many rows there are."""
    return "1 row" if number == 1 else f"{number} rows"
