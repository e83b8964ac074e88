"""Tasks of tagged words: columns of words and tags, or of texts with spans."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from steadytune.errors import UserError
from steadytune.metrics.entities import entity_tags
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples
from steadytune.tasks.lists import has_lists, listed
from steadytune.tasks.table import Table, count_rows

KIND = "tokens"
_WORDS = ("tokens", "words")
_TAGS = ("tags", "ner_tags", "ner", "labels", "pos_tags", "upos", "xpos", "pos", "chunk_tags", "bio_tags", "iob_tags")
_TEXTS = ("text", "sentence", "content", "data")
_SPANS = ("spans", "entities", "annotations", "labels", "label")
_FIRST, _LAST, _TYPE = ("start", "start_offset", "begin"), ("end", "end_offset"), ("label", "type", "tag", "entity")
_WORD = re.compile(r"\w+|[^\w\s]")
_MASK = -100
"""What scripts give sub-words that do not count."""


class Sentence(NamedTuple):
    """Words and as many tags; tags are names, or numbers."""

    words: tuple[str, ...]
    tags: tuple[Any, ...]


class _Columns(NamedTuple):
    """Where words and tags are, and how a row becomes a sentence; it raises ValueError, saying what is wrong."""

    words: str
    tags: str
    read: Callable[[Any, Any], Sentence]


def is_tagged(spec: TaskSpec, table: Table) -> bool:
    """Return whether rows can only be sentences of tagged words."""
    if any(has_lists(table, name) for name in _WORDS if spec.columns in (None, (name,))):
        return spec.label not in table.columns or has_lists(table, spec.label)
    return any(_has_spans(table, name) for name in _span_names(spec))


def read_tagged(
    spec: TaskSpec, train: Table, validation: Table
) -> tuple[tuple[str, str], tuple[str, ...], list[Table], list[Examples]]:
    """Read sentences of tagged words.

    Args:
        spec: The user's specification.
        train: Training rows.
        validation: Evaluation rows.

    Returns:
        The columns of the words and of the tags, the names of the tags, and of both splits the rows, without those
        that have no words, and the examples.

    Raises:
        UserError: A column cannot be found, a row's tags do not fit its words, or a tag does not occur in training;
            names file and line.
    """
    columns = _columns(spec, train)
    if columns.words in validation.columns and has_lists(train, columns.words) != has_lists(validation, columns.words):
        raise UserError(
            f"{train.origin} and {validation.origin} differ: in one of them column '{columns.words}' holds "
            "lists of words, in the other one texts"
        )
    tables, splits = [], []
    for table in (train, validation):
        rows, found, notes = _sentences(table, columns)
        tables.append(_noted(table.select(rows), notes))
        splits.append(found)
    names, numbers = _numbered(tables, splits, columns.tags)
    if not entity_tags(names):
        note = f"its tags ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}) mark no entities such as B-PER"
        tables[0] = _noted(tables[0], [note])
    examples = []
    for found in splits:
        labels = np.empty(len(found), dtype=object)
        labels[:] = [tuple(numbers[tag] for tag in one.tags) for one in found]
        candidates = tuple(((" ".join(one.words), None),) for one in found)
        examples.append(Examples(candidates, labels, parts=tuple(one.words for one in found)))
    return (columns.words, columns.tags), names, tables, examples


def _noted(table: Table, notes: Sequence[str]) -> Table:
    return Table(**{**vars(table), "notes": (*table.notes, *notes)})


def _columns(spec: TaskSpec, table: Table) -> _Columns:
    """Find the columns.

    Raises:
        UserError: There are none, or several; names the setting.
    """
    if spec.columns is not None and len(spec.columns) != 1:
        raise UserError(f"task.columns must name the one column of the words, not {len(spec.columns)}")
    named = list(spec.columns or ())
    words = [name for name in named or _WORDS if name in table.columns and not _is_text(table, name)]
    if not words:
        spans = [name for name in _span_names(spec) if _has_spans(table, name)]
        texts = [name for name in named or _TEXTS if name in table.columns]
        if len(spans) == 1 and texts:
            return _Columns(texts[0], spans[0], _of_spans)
        words = [name for name in named or _WORDS if name in table.columns]
    if not words:
        raise UserError(
            f"{table.origin} has no column of words ({' or '.join(_WORDS)}), nor a text with spans, only "
            f"{', '.join(table.columns)}: name it with --set task.columns=NAME"
        )
    others = [name for name in _TAGS if name in table.columns and name not in words]
    tags = [spec.label] if spec.label in table.columns else others
    if len(tags) != 1:
        found = f"several columns of tags ({', '.join(tags)})" if tags else "no column of tags"
        names = ", ".join(name for name in table.columns if name not in words)
        raise UserError(
            f"{table.origin} has {found}: name one of its columns with --set task.label={tags[0] if tags else 'NAME'}"
            + ("" if tags else f" ({names})")
        )
    return _Columns(words[0], tags[0], _of_lists)


def _span_names(spec: TaskSpec) -> tuple[str, ...]:
    return tuple(dict.fromkeys((spec.label, *(_SPANS if spec.label == "label" else ()))))


def _is_text(table: Table, name: str) -> bool:
    """Return whether a column holds texts with characters to count, not words."""
    return name not in _WORDS and not has_lists(table, name)


def _has_spans(table: Table, name: str) -> bool:
    values = table.columns.get(name, [])
    try:
        spans = [_spans(value) for value in values]
    except ValueError:
        return False
    return any(spans)


def _spans(cell: Any) -> list[tuple[int, int, str]]:
    """Return (start, end, label) of each span of a row.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(cell, dict) and all(isinstance(values, list) for values in cell.values()):
        # A list of objects, turned into an object of lists by Hugging Face datasets.
        cell = [dict(zip(cell, values, strict=True)) for values in zip(*cell.values(), strict=True)]
    found = listed(cell)
    if found is None:
        raise ValueError(f"{cell!r:.60} is no list of spans")
    return [_span(one) for one in found]


def _span(one: Any) -> tuple[int, int, str]:
    values: list[Any] = list(one) if isinstance(one, (list, tuple)) else []
    if isinstance(one, dict):
        values = [next((one[name] for name in names if name in one), None) for names in (_FIRST, _LAST, _TYPE)]
    if len(values) == 3 and isinstance(values[0], str) and isinstance(values[2], int):
        values = [values[1], values[2], values[0]]
    match values:
        case [int(first), int(last), str(label)] if label.strip():
            return first, last, label
    raise ValueError(f"{one!r:.60} is no span: it must have a start, an end and a label")


def _of_lists(words: Any, tags: Any) -> Sentence:
    """Return words and tags that are lists, or texts with spaces between them."""
    lists = [listed(cell) for cell in (words, tags)]
    split = [
        cell.split() if found is None and isinstance(cell, str) else found
        for cell, found in zip((words, tags), lists, strict=True)
    ]
    if split[0] is None or split[1] is None:
        raise ValueError(f"{(words if split[0] is None else tags)!r:.60} is no list")
    if odd := [word for word in split[0] if not isinstance(word, str)]:
        raise ValueError(f"{odd[0]!r:.60} is not a word")
    if len(split[0]) != len(split[1]):
        raise ValueError(f"{len(split[0])} words, but {len(split[1])} tags: give one tag to each word")
    return Sentence(tuple(split[0]), tuple(split[1]))


def _of_spans(text: Any, cell: Any) -> Sentence:
    """Return the words of a text, and B- and I- tags of the spans in it; a span that cuts a word takes all of it."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.60} is not a text")
    places = [match.span() for match in _WORD.finditer(text)]
    tags = ["O"] * len(places)
    for first, last, label in sorted(_spans(cell)):
        if not 0 <= first < last <= len(text):
            raise ValueError(
                f"the span from {first} to {last} ('{label}') is outside of a text of {len(text)} characters"
            )
        inside = [at for at, (start, end) in enumerate(places) if start < last and end > first]
        if not inside:
            raise ValueError(f"the span from {first} to {last} ('{label}') contains no word")
        if any(tags[at] != "O" for at in inside):
            raise ValueError(f"two spans share the word {text[slice(*places[inside[0]])]!r}: a word can have one tag")
        for at in inside:
            tags[at] = f"{'B' if at == inside[0] else 'I'}-{label}"
    return Sentence(tuple(text[start:end] for start, end in places), tuple(tags))


def _widened(text: str, cell: Any) -> int:
    """Return how many spans begin or end inside a word."""
    inside = {at for match in _WORD.finditer(text) for at in range(match.start() + 1, match.end())}
    return sum(first in inside or last in inside for first, last, _ in _spans(cell))


def _sentences(table: Table, columns: _Columns) -> tuple[list[int], list[Sentence], list[str]]:
    """Return the rows with words, their sentences, and what is to be said of them.

    Raises:
        UserError: A row is no sentence of tagged words, or none has any; names file and line.
    """
    rows, found, widened = [], [], 0
    cells = zip(table.column(columns.words), table.column(columns.tags, "task.label=NAME"), strict=True)
    for row, (words, tags) in enumerate(cells):
        try:
            sentence = columns.read(words, tags)
        except ValueError as error:
            raise UserError(f"{table.where(row)}: {error}") from None
        if sentence.words:
            rows.append(row)
            found.append(sentence)
            widened += _widened(words, tags) if columns.read is _of_spans else 0
    if not rows:
        raise UserError(f"{table.origin}: no row has a word in column '{columns.words}'")
    notes = []
    if skipped := len(table) - len(rows):
        notes.append(f"{count_rows(skipped)} without words skipped")
    if widened:
        notes.append(f"{widened} spans begin or end inside a word and were widened to whole words")
    return rows, found, notes


def _numbered(
    tables: Sequence[Table], splits: Sequence[Sequence[Sentence]], column: str
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Return the names of the tags, and tag -> number.

    Where the files name their numbers, these are the classes. Otherwise they are the tags of the training set; an
    I- tag that only the evaluation set has is one of them if its B- tag is, because entities differ in length.

    Raises:
        UserError: A tag is neither a name nor a number, or does not occur in training.
    """
    for table, found in zip(tables, splits, strict=True):
        for row, one in enumerate(found):
            for tag in one.tags:
                if isinstance(tag, bool) or not isinstance(tag, (str, int)) or not str(tag).strip():
                    raise UserError(f"{table.where(row)}: {tag!r:.60} in column '{column}' is not a tag")
                if tag == _MASK:
                    raise UserError(f"{table.where(row)}: a tag is {_MASK}, a mask of parts of words: give whole words")
    names = tables[0].classes.get(column)
    if names is not None:
        numbers: dict[Any, int] = {tag: at for at, name in enumerate(names) for tag in (name, at)}
    else:
        seen = {tag for one in splits[0] for tag in one.tags}
        if len({type(tag) for tag in seen}) > 1:
            raise UserError(f"{tables[0].origin}: some tags in column '{column}' are numbers and some are words")
        seen |= {f"I-{tag[2:]}" for one in splits[1] for tag in one.tags if _continues(tag, seen)}
        numbers = {tag: at for at, tag in enumerate(sorted(seen))}
        names = tuple(map(str, sorted(seen)))
    for table, found in zip(tables, splits, strict=True):
        for row, one in enumerate(found):
            if unknown := [tag for tag in one.tags if tag not in numbers]:
                known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                raise UserError(
                    f"{table.where(row)}: tag {unknown[0]!r:.60} does not occur in {tables[0].origin}, which has "
                    f"{known}"
                )
    if len(names) < 2:
        raise UserError(f"{tables[0].origin}: every tag is {names[0]!r}; training needs at least two different tags")
    return names, numbers


def _continues(tag: Any, seen: set[Any]) -> bool:
    return isinstance(tag, str) and tag.startswith("I-") and f"B-{tag[2:]}" in seen
