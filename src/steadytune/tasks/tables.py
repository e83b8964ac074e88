"""Reading of files into tables, by suffix.

Rows are read with the standard library rather than pandas: it leaves a text such as "12" or "NA" unchanged, and it
knows the line of any error.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.files import LARGEST_TEXT, parse_json, read_content
from steadytune.tasks.conll import read_conll
from steadytune.tasks.delimited import read_delimited
from steadytune.tasks.table import Table, is_missing, other_rows, read_number

__all__ = ["SUFFIXES", "Format", "Table", "is_missing", "other_rows", "read_number", "read_table"]

TAGGED_SUFFIXES = ("conll", "iob", "iob2", "bio", "txt")
SUFFIXES = ("jsonl", "json", "ndjson", "csv", "tsv", "parquet", "arrow", *TAGGED_SUFFIXES)
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_C1 = re.compile(rb"[\x80-\x9f]")
_ROWS_AT_ONCE = 1024
# Twice the size of the largest review sets. Equal values compress to nothing, so a small file may hold any number.
_MOST_CELLS = 20_000_000


@dataclass(frozen=True)
class Format:
    """What is known about files beforehand.

    Attributes:
        encoding: Encoding of their text, if not UTF-8.
        option: The option that sets it, for error messages.
        short_rows: Skip rows of csv and tsv files with too few fields, and note it.
        header: Column names of tsv and csv files without a header.
    """

    encoding: str | None = None
    option: str = ""
    short_rows: bool = False
    header: tuple[str, ...] = ()


def read_table(path: Path, known: Format | None = None) -> Table:
    """Read one file by its suffix: csv, tsv, parquet, arrow, tagged words or otherwise JSON, each also gzipped.

    JSON is one object per line, an array of objects, or an object of columns. Text is UTF-8, or UTF-16 with a byte
    order mark.

    Args:
        path: The file.
        known: What is known about it.

    Raises:
        UserError: It cannot be read or parsed, is too large or is empty.
    """
    known = known or Format()
    content = read_content(path)
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix in {"parquet", "arrow"}:
        return _columnar(path, content, suffix)
    text, notes = _decode(path, content, known.encoding, known.option)
    if not text.strip():
        raise UserError(f"{path} is empty")
    if suffix in _DELIMITERS:
        table = read_delimited(str(path), text, _DELIMITERS[suffix], known.short_rows, known.header)
    elif suffix in TAGGED_SUFFIXES:
        table = read_conll(str(path), text)
    else:
        table = _json(str(path), text)
    return Table(**{**vars(table), "notes": (*notes, *table.notes)})


def _decode(path: Path, content: bytes, encoding: str | None, option: str) -> tuple[str, tuple[str, ...]]:
    found = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if found is None and encoding is None and b"\0" in content[:400]:
        # Half the bytes of Latin letters in UTF-16 are zero.
        found = "utf-16-le" if content[1:400:2].count(0) > content[0:400:2].count(0) else "utf-16-be"
    name = encoding or found or "utf-8"
    if encoding is not None and found is not None and not _same_encoding(encoding, found):
        raise UserError(
            f"{path} is marked as {found.removesuffix('-sig')} text, but {option or 'the encoding'} is {encoding}"
        )
    try:
        text = content.decode(name)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        if encoding is not None or found is not None:
            raise UserError(f"{path}, line {line}: not {name} text (byte {byte:#04x})") from None
        # Windows encodings have letters in this range, Latin-1 only control characters; otherwise they agree.
        likely = "cp1252" if _C1.search(content) else "latin-1"
        way = f", or use --set {option}={likely}" if option else ""
        raise UserError(
            f"{path}, line {line}: not UTF-8 text (byte {byte:#04x}), perhaps {likely}: save it as UTF-8{way}"
        ) from None
    except (LookupError, ValueError):
        raise UserError(
            f"{path}: unknown encoding {name!r}: use for example utf-8, utf-16, latin-1 or cp1252"
        ) from None
    return text.removeprefix("\ufeff"), (f"it is {name} text",) if name not in {"utf-8", "utf-8-sig"} else ()


def _same_encoding(given: str, marked: str) -> bool:
    """Return whether a named encoding agrees with a file's byte order mark, such as utf-16-le with utf-16."""
    try:
        return codecs.lookup(given).name.startswith(marked.removesuffix("-sig"))
    except (LookupError, ValueError):
        # An unknown name is reported where it is used.
        return True


def _json(origin: str, text: str) -> Table:
    if text.lstrip().startswith("["):
        return _from_rows(origin, _whole(origin, text))
    try:
        table = _json_lines(origin, text)
    except UserError:
        # An object that spans several lines.
        try:
            content = parse_json(text)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise
        table = _from_rows(origin, [content])
    if len(table) == 1:
        only = {name: values[0] for name, values in table.columns.items()}
        if (rows := _as_rows(only)) is not None:
            return _from_rows(origin, rows)
        if (columns := _as_columns(only)) is not None:
            return Table(origin, columns)
    return table


def _whole(origin: str, text: str) -> list[Any]:
    try:
        content: list[Any] = parse_json(text)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        where = f"{origin}, line {line}" if line else origin
        raise UserError(f"{where}: not JSON ({getattr(error, 'msg', error)})") from None
    return content


def _from_rows(origin: str, rows: list[Any]) -> Table:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(
                f"{origin}, row {number}: not a JSON object; each entry must be one example such as {{...}}"
            )
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(origin, {name: [row.get(name) for row in rows] for name in names})


def _as_rows(content: dict[str, Any]) -> list[Any] | None:
    """Return the rows of an object that has them under "data" beside other entries, or numbered as by pandas."""
    data, names = content.get("data"), content.get("columns")
    if isinstance(data, list) and isinstance(names, list) and all(isinstance(row, list) for row in data):
        return [dict(zip(names, row, strict=True)) for row in data] if all(len(r) == len(names) for r in data) else None
    if isinstance(data, list) and not any(isinstance(value, list) for key, value in content.items() if key != "data"):
        return data if len(content) == 1 or all(isinstance(row, dict) for row in data) else None
    rows = list(content.values())
    if len(rows) < 2 or list(content) != list(map(str, range(len(rows)))):
        return None
    # Numbers inside as well: unnamed columns, each with its values.
    named = all(isinstance(row, dict) and not any(name.isdigit() for name in row) for row in rows)
    return rows if named else None


def _as_columns(content: dict[str, Any]) -> dict[str, list[Any]] | None:
    """Return the columns of an object with a list, or numbered values as pandas writes them, per column."""
    columns = list(content.values())
    if len(columns) < 2:
        return None
    if all(isinstance(column, dict) for column in columns):
        if any(list(column) != list(map(str, range(len(columns[0])))) for column in columns):
            return None
        columns = [list(column.values()) for column in columns]
    if not all(isinstance(column, list) and len(column) == len(columns[0]) > 1 for column in columns):
        return None
    return dict(zip(content, columns, strict=True))


def _json_lines(origin: str, text: str) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    # Not str.splitlines, which also splits at characters that may occur unescaped inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{origin}, line {number}: not JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(row, dict):
            raise UserError(
                f"{origin}, line {number}: not a JSON object; each line must be one example such as {{...}}"
            )
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(origin, {name: [row.get(name) for row in rows] for name in names}, lines, "line")


def _columnar(path: Path, content: bytes, suffix: str) -> Table:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if suffix == "arrow":
            source = pa.BufferReader(content)
            # Version 2 files begin like this; `datasets` writes a stream.
            reader = pa.ipc.open_file(source) if content.startswith(b"ARROW1") else pa.ipc.open_stream(source)
            if isinstance(reader, pa.RecordBatchFileReader):
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                return _collect(path, batches, reader.schema)
            return _collect(path, reader, reader.schema)
        with pa.parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            about = file.metadata
            sizes = [about.row_group(i).total_byte_size for i in range(about.num_row_groups)]
            if sum(sizes) > LARGEST_TEXT or about.num_rows * about.num_columns > _MOST_CELLS:
                raise UserError(
                    f"{path} has {about.num_rows:,} rows of {about.num_columns} columns, {sum(sizes):,} bytes: at "
                    f"most {_MOST_CELLS:,} cells and {LARGEST_TEXT:,} bytes can be read: use a part of it"
                )
            table = _collect(path, file.iter_batches(_ROWS_AT_ONCE), file.schema_arrow)
            if len(table) != file.metadata.num_rows:
                raise UserError(f"{path} has {len(table)} rows but declares {file.metadata.num_rows}: it is damaged")
            return table
    except UserError:
        raise
    except Exception as error:  # the library has no one type for bytes that it cannot read
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} is not a complete {suffix} file ({reason})") from error


def _collect(path: Path, batches: Iterable[Any], schema: Any) -> Table:
    columns: dict[str, list[Any]] = {}
    size = 0
    for batch in batches:
        # Before its values are accessed: damaged offsets could point anywhere.
        batch.validate(full=True)
        size += batch.nbytes
        if size > LARGEST_TEXT:
            raise UserError(f"{path} unpacks to more than {LARGEST_TEXT // 2**30} GiB, the most that is read")
        names = batch.schema.names
        if len(set(names)) < len(names):
            raise UserError(f"{path}: duplicate column name in {', '.join(names)}")
        for name, values in batch.to_pydict().items():
            columns.setdefault(name, []).extend(values)
    return Table(str(path), columns, classes=_class_names(schema.metadata or {}))


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the class names that Hugging Face datasets writes into a schema."""
    try:
        features = parse_json(metadata[b"huggingface"].decode())["info"]["features"]
        # A column of lists has the names inside.
        inner = {name: _inside(feature) for name, feature in features.items()}
        named = {name: feature for name, feature in inner.items() if feature.get("_type") == "ClassLabel"}
        return {name: tuple(map(str, feature["names"])) for name, feature in named.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        # Without class names the numbers are the names.
        return {}


def _inside(feature: Any) -> dict[str, Any]:
    """Return the feature of the values in a column, or in the lists that it holds."""
    found = feature[0] if isinstance(feature, list) and feature else feature
    if not isinstance(found, dict):
        return {}
    return found["feature"] if isinstance(found.get("feature"), dict) else found
