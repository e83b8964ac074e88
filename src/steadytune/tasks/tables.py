"""Tables: a split's files, read into columns that remember where each row stood.

Rows are read with the standard library rather than pandas: it keeps a text such as "12" or "NA" what it is, and it
knows the line of whatever is wrong.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadytune.errors import UserError

TRAIN_NAMES = ("train",)
VALIDATION_NAMES = ("validation", "valid", "val", "dev")
_FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")


@dataclass(frozen=True)
class Table:
    """Rows of one split.

    Attributes:
        origin: Where they come from, as an error names it.
        columns: Name -> values, all of one length; a missing value is None.
        numbers: What each row is called: the line or row of the file where it begins; None to count rows.
        unit: "line", or "row" where a file has no lines.
        typed: False where every value is a string whatever it stands for (csv).
    """

    origin: str
    columns: dict[str, list[Any]]
    numbers: list[int] | None = None
    unit: str = "row"
    typed: bool = True

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """Name a row for an error."""
        return f"{self.origin}, {self.unit} {row + 1 if self.numbers is None else self.numbers[row]}"

    def column(self, name: str, option: str = "") -> list[Any]:
        """Return a column.

        Args:
            name: The column.
            option: The setting that names another column, if there is one.

        Raises:
            UserError: There is no such column.
        """
        if name not in self.columns:
            hint = f"; name another one with --set {option}" if option else ""
            raise UserError(f"{self.origin} has no column '{name}', only {', '.join(filter(None, self.columns))}{hint}")
        return self.columns[name]


def is_missing(value: Any) -> bool:
    """Tell whether a value says that there is none: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def other_rows(rows: list[int]) -> str:
    """Say how many rows beside the first have the same fault, for the end of an error."""
    return f" (nor in {len(rows) - 1} more)" if len(rows) > 1 else ""


def read_split(folder: Path, names: tuple[str, ...]) -> Table:
    """Read a split from a folder.

    Args:
        folder: Where its file lies: jsonl (or json lines), csv, tsv or parquet, whole or in parts as the hub names them
            ("train-00000-of-00002.parquet"), gzipped or not.
        names: What the file may be called, without suffixes.

    Raises:
        UserError: There is no such folder, no such file, several, or one that cannot be parsed or has no rows.
    """
    paths = _find(folder, names)
    tables = [read_table(path) for path in paths]
    merged = tables[0]
    if len(tables) > 1:
        columns = {name: [v for t in tables for v in t.columns.get(name, [None] * len(t))] for name in merged.columns}
        merged = Table(f"{paths[0]} and {len(paths) - 1} more", columns, typed=merged.typed)
    if not len(merged):
        raise UserError(f"{merged.origin} has no rows")
    return merged


def _find(folder: Path, names: tuple[str, ...]) -> list[Path]:
    if not folder.exists():
        raise UserError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; a task is a folder with a train and a validation file")
    pattern = re.compile(
        rf"(?P<split>{'|'.join(map(re.escape, names))})(-(?P<part>\d+)-of-(?P<parts>\d+))?\.(?P<format>"
        rf"({'|'.join(_FORMATS)})(\.gz)?)"
    )
    found = [(match, path) for path in sorted(folder.iterdir()) if (match := pattern.fullmatch(path.name))]
    if not found:
        raise UserError(
            f"no {names[0]} file in {folder}: looked for {' or '.join(names)} with one of the suffixes "
            f".{', .'.join(_FORMATS)} (.gz too)"
        )
    paths = [path for _, path in found]
    if len({(match["split"], match["format"], match["parts"]) for match, _ in found}) > 1:
        raise UserError(f"{folder} has {', '.join(path.name for path in paths)}: keep one of them for {names[0]}")
    if (parts := found[0][0]["parts"]) and int(parts) != len(found):
        raise UserError(f"{folder} has {len(found)} of the {int(parts)} parts of {found[0][0]['split']}")
    return paths


def read_table(path: Path) -> Table:
    """Read one file by its suffix: csv, tsv, parquet or else JSON lines, each also gzipped.

    Raises:
        UserError: It cannot be read or parsed, or is empty.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text (byte {content[error.start]:#04x})") from None
    if not text.strip():
        raise UserError(f"{path} is empty")
    if name.endswith(".csv"):
        return _delimited(str(path), text, ",", csv.QUOTE_MINIMAL)
    if name.endswith(".tsv"):
        try:
            return _delimited(str(path), text, "\t", csv.QUOTE_MINIMAL)
        except UserError:
            # Tab-separated corpora such as GLUE's own files quote nothing: a quotation mark may open and never close.
            return _delimited(str(path), text, "\t", csv.QUOTE_NONE)
    return _json_lines(str(path), text)


def _json_lines(origin: str, text: str) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    # Not str.splitlines, which also splits at characters that may stand unescaped inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{origin}, line {number}: not JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(row, dict):
            raise UserError(f"{origin}, line {number}: not a JSON object; each line holds one example such as {{...}}")
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(origin, {name: [row.get(name) for row in rows] for name in names}, lines, "line")


def _delimited(origin: str, text: str, delimiter: str, quoting: Any) -> Table:
    # The limit is the process's, and below what one text may have.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{origin}, line {start}: {error}") from None
    header = rows[0]
    if len(set(header)) < len(header):
        raise UserError(f"{origin}, line 1: a column name stands twice in {', '.join(header)}")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise UserError(f"{origin}, line {line}: {_fields(row)}, but the first line has {_fields(header)}")
    columns = {name: [row[i] or None for row in rows[1:]] for i, name in enumerate(header)}
    return Table(origin, columns, lines[1:], "line", typed=False)


def _fields(row: Iterable[str]) -> str:
    count = len(list(row))
    return f"{count} field{'s' if count > 1 else ''}"


def _parquet(path: Path, content: bytes) -> Table:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pa.parquet.ParquetFile(pa.BufferReader(content)) as file:
            return Table(str(path), file.read().to_pydict())
    except pa.ArrowException as error:
        raise UserError(f"{path} is not a parquet file ({str(error).splitlines()[0]})") from error
