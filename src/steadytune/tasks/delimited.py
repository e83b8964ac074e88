"""Delimited text files: commas, tabs, semicolons; quoted or not."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from steadytune.errors import UserError
from steadytune.tasks.table import Table, count_fields, count_rows, is_number

_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
# The line that Excel writes and reads before the header.
_SAID = re.compile(r"sep=(.)(?=\r|\n)")
_LINES = re.compile("\r\n|\n|\r")


class _Rows(NamedTuple):
    """The rows of a file, header first, and the line where each begins."""

    cells: list[list[str]]
    lines: list[int]


def read_delimited(
    origin: str, text: str, delimiter: str, short_rows: bool = False, header: tuple[str, ...] = ()
) -> Table:
    """Split text into columns.

    A file whose header contains another delimiter instead is read with that one. A tab-separated file counts as quoted
    only if its quotation marks enclose what needs quoting; GLUE's own files quote nothing, and some of their texts
    begin with quotation marks.

    Args:
        origin: The file, for error messages.
        text: Its content.
        delimiter: The delimiter that its suffix implies.
        short_rows: Skip rows with fewer fields than the header, and note it, as in GLUE's own QQP files.
        header: Column names to use if the first line has as many fields and none of these names.

    Raises:
        UserError: A row has a different number of fields from the header, a quotation mark never closes, or a column
            name is duplicated.
    """
    # The limit is global to the process, and lower than the length of a single text may be.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    if said := _SAID.match(text):
        # Left empty, so that the other rows keep their numbers.
        delimiter, text = said[1], text[said.end() :]
    first_line = text.lstrip("\r\n").partition("\n")[0]
    present = [one for one in (delimiter, *(other for other in _NAMES if other != delimiter)) if one in first_line]
    first: UserError | None = None
    for one in present or [delimiter]:
        try:
            table = _table(origin, text, one, short_rows, header)
        except UserError as error:
            first = first or error
            continue
        if one == delimiter:
            return table
        note = f"its columns are separated by {_NAMES[one]}"
        return Table(**{**vars(table), "notes": (*table.notes, note)})
    assert first is not None
    raise first


def _table(origin: str, text: str, delimiter: str, short_rows: bool, default: tuple[str, ...]) -> Table:
    rows, notes = _rows(origin, text, delimiter, short_rows), list[str]()
    if len(rows.cells[0]) == len(default) and set(default).isdisjoint(rows.cells[0]):
        rows = _Rows([list(default), *rows.cells], [0, *rows.lines])
        notes.append(f"it has no header; its columns are taken as {', '.join(default)}")
    header = [name.strip() for name in rows.cells[0]]
    kept = [i for i, name in enumerate(header) if name or any(i < len(row) and row[i] for row in rows.cells[1:])]
    names = [header[i] for i in kept]
    if len(set(names)) < len(names):
        raise UserError(f"{origin}, line {rows.lines[0]}: duplicate column name in {', '.join(names)}")
    cells, lines = rows.cells[1:], rows.lines[1:]
    if short_rows and (short := [i for i, row in enumerate(cells) if len(row) < len(header)]):
        dropped = set(short)
        notes.append(f"{count_rows(len(short))} with too few fields skipped, the first in line {lines[short[0]]}")
        cells = [row for i, row in enumerate(cells) if i not in dropped]
        lines = [line for i, line in enumerate(lines) if i not in dropped]
    columns: dict[str, list[Any]] = {header[i]: [row[i] or None for row in cells] for i in kept}
    return Table(origin, columns, lines, "line", typed=False, delimiter=delimiter, notes=tuple(notes))


def _rows(origin: str, text: str, delimiter: str, short_rows: bool) -> _Rows:
    if delimiter != "\t":
        rows = _parse(origin, text, delimiter, csv.QUOTE_MINIMAL)
        _check_fields(origin, rows)
        _check_swallowed(origin, text, delimiter, rows)
        return rows
    plain = _parse(origin, text, delimiter, csv.QUOTE_NONE)
    if not any(cell.startswith('"') for row in plain.cells for cell in row):
        _check_fields(origin, plain, short_rows)
        return plain
    try:
        _check_fields(origin, plain, short_rows)
    except UserError as error:
        try:
            quoted = _parse(origin, text, delimiter, csv.QUOTE_MINIMAL)
            _check_fields(origin, quoted)
        except UserError:
            raise error from None
        _check_swallowed(origin, text, delimiter, quoted)
        return quoted
    return plain if not _is_quoted(plain) else _parse(origin, text, delimiter, csv.QUOTE_MINIMAL)


def _is_quoted(plain: _Rows) -> bool:
    """Return whether the quotation marks in rows split at every tab belong to the file, not to the texts.

    Programs quote either everything, including the header, or only what needs it: here cells containing quotation
    marks, which are doubled. A single cell that breaks the rule means that nothing is quoted.
    """
    opened = [cell for row in plain.cells for cell in row if cell.startswith('"')]
    if not all(re.fullmatch('"([^"]|"")*"', cell) for cell in opened):
        return False
    return any(cell.startswith('"') for cell in plain.cells[0]) or all('""' in cell[1:-1] for cell in opened)


def _parse(origin: str, text: str, delimiter: str, quoting: Any) -> _Rows:
    skip = _spaced(text, delimiter)
    strict = quoting != csv.QUOTE_NONE
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=strict, skipinitialspace=skip)
    rows = _Rows([], [])
    start = 1
    try:
        for row in reader:
            if row:
                rows.cells.append(row)
                rows.lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{origin}, line {start}: {error}") from None
    return rows


def _spaced(text: str, delimiter: str) -> bool:
    """Return whether a space follows every delimiter of the header, as when typed by a person."""
    names = text.lstrip("\r\n").partition("\n")[0].split(delimiter)
    return delimiter != "\t" and len(names) > 1 and all(name.startswith(" ") for name in names[1:])


def _check_fields(origin: str, rows: _Rows, short_rows: bool = False) -> None:
    header = rows.cells[0]
    for row, line in zip(rows.cells, rows.lines, strict=True):
        if len(row) > len(header) or (len(row) < len(header) and not short_rows):
            raise UserError(f"{origin}, line {line}: {count_fields(row)}, but the header has {count_fields(header)}")


def _check_swallowed(origin: str, text: str, delimiter: str, rows: _Rows) -> None:
    """Reject rows spanning lines that mostly look like rows: an unquoted text may begin with a quotation mark.

    Such a line has as many fields as the header, one of them like those in the column of the other rows: a number if
    all are numbers, or a value that occurs there. If every row is quoted, the quotation marks belong to the file.
    """
    width = len(rows.cells[0])
    lines = _LINES.split(text)
    ends = [*(line - 1 for line in rows.lines[1:]), len(lines)]
    spans = [[line for line in lines[start - 1 : end] if line] for start, end in zip(rows.lines, ends, strict=True)]
    if width < 2 or all(len(span) < 2 for span in spans) or all('"' in span[0] for span in spans[1:]):
        return
    plain = [row for row, span in zip(rows.cells[1:], spans[1:], strict=True) if len(span) == 1]
    fits = [_fits([row[i] for row in plain]) for i in range(width)]
    gap = delimiter + " " * _spaced(text, delimiter)
    for start, span in zip(rows.lines, spans, strict=True):
        whole = [line.replace(gap, delimiter).split(delimiter) for line in span if line.count(delimiter) == width - 1]
        if len(whole) < 2:
            continue
        if max(sum(fit(piece[i]) for piece in whole) for i, fit in enumerate(fits)) > len(span) / 2:
            raise UserError(
                f"{origin}, line {start}: a quotation mark joins {len(span)} lines into one row, although each could "
                "be a row. Quote every text and double the quotation marks inside it, or use JSON lines"
            )


def _fits(cells: list[str]) -> Callable[[str], bool]:
    """Return a function that says whether a cell looks like those of a column."""
    if cells and all(map(is_number, cells)):
        # People write a space after a comma in a text.
        tight = all(cell == cell.strip() for cell in cells)
        return lambda cell: is_number(cell) and (not tight or cell == cell.strip())
    return {cell for cell in cells if cell}.__contains__
