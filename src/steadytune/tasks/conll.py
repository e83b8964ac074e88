"""Files of tagged words: a word and its tags on each line, and an empty line after each sentence."""

from __future__ import annotations

from collections import Counter
from typing import Any

from steadytune.errors import UserError
from steadytune.tasks.table import Table

_DOCUMENT = "-DOCSTART-"


def read_conll(origin: str, text: str) -> Table:
    """Read sentences: the first column of a line is the word, the last one its tag.

    Columns are separated by tabs, or by spaces where there is no tab. Lines that begin with # are comments if they have
    another number of columns, or end with what is no other line's tag. The columns between word and tag are read as
    well, as column_2 and so on; where a file marks documents (-DOCSTART-), the column "document" numbers them.

    Args:
        origin: The file, for error messages.
        text: Its content.

    Raises:
        UserError: Lines have different numbers of columns, or only one, or the first one counts the words; names the
            line.
    """
    lines = [(number, _fields(line)) for number, line in enumerate(text.split("\n"), start=1)]
    counts = Counter(len(fields) for _, fields in lines if fields and fields[0] != _DOCUMENT)
    width = counts.most_common(1)[0][0] if counts else 0
    if width < 2:
        raise UserError(
            f"{origin} is not a file of tagged words: a line must have a word and its tag, with a space between"
        )
    tags = {fields[-1] for _, fields in lines if len(fields) == width and not fields[0].startswith("#")}
    sentences: list[list[list[str]]] = [[]]
    numbers, documents, document = [0], [0], 0
    for number, fields in lines:
        if not fields or fields[0] == _DOCUMENT:
            document += bool(fields)
            sentences.append([])
            numbers.append(0)
            documents.append(document)
        elif fields[0].startswith("#") and (len(fields) != width or fields[-1] not in tags):
            continue
        elif len(fields) == width and all(fields):
            numbers[-1] = numbers[-1] or number
            sentences[-1].append(fields)
        else:
            raise UserError(f"{origin}, line {number}: {len(fields)} columns, but other lines have {width}")
    kept = [at for at, sentence in enumerate(sentences) if sentence]
    if all([fields[0] for fields in sentences[at]] == list(map(str, range(1, len(sentences[at]) + 1))) for at in kept):
        raise UserError(
            f"{origin}: the first column counts the words: remove it, so that a line begins with the word "
            "and ends with its tag"
        )
    names = ["tokens", *(f"column_{place}" for place in range(2, width)), "tags"]
    columns: dict[str, list[Any]] = {
        name: [[fields[place] for fields in sentences[at]] for at in kept] for place, name in enumerate(names)
    }
    if document:
        columns["document"] = [documents[at] for at in kept]
    note = f"words are in column 1, tags in column {width}"
    return Table(origin, columns, [numbers[at] for at in kept], "line", notes=(note,) if width > 2 else ())


def _fields(line: str) -> list[str]:
    if not line.strip():
        return []
    return [part.strip() for part in line.rstrip("\r\n").split("\t")] if "\t" in line else line.split()
