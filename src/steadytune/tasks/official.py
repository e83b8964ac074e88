"""Benchmarks as distributed by their authors: different column names, nested fields, files without a header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from steadytune.errors import UserError
from steadytune.tasks.table import Table, is_missing, other_rows

COLA_HEADER = ("source", "label", "mark", "sentence")
_SPANS = ("span1_text", "span2_text")


def renamed(table: Table, names: Mapping[str, str]) -> Table:
    """Rename columns to the hub's names, unless those are taken."""
    new = {old: name for old, name in names.items() if old in table.columns and name not in table.columns}
    return replace(table, columns={new.get(name, name): values for name, values in table.columns.items()})


def unnested(table: Table) -> Table:
    """Extract the spans of WSC from the column `target` of SuperGLUE's own files.

    Raises:
        UserError: Some rows have them there and others do not; names the first that does not.
    """
    target = table.columns.get("target", [])
    lacking = [row for row, value in enumerate(target) if not (isinstance(value, dict) and set(_SPANS) <= set(value))]
    if len(lacking) == len(target):
        return table
    if lacking:
        raise UserError(
            f"{table.where(lacking[0])}: no {' and '.join(_SPANS)} in 'target'{other_rows(lacking)}, although other "
            "rows have them"
        )
    columns = {name: values for name, values in table.columns.items() if name != "target"}
    fields = dict.fromkeys(key for value in target for key in value)
    spans = {key: [value.get(key) for value in target] for key in fields if key not in columns}
    return replace(table, columns={**columns, **spans})


def nested_benchmark(table: Table) -> str | None:
    """Return the benchmark to which a table of nested questions belongs, or None."""
    if "qas" in table.columns:
        return "super_glue/record"
    first = table.columns.get("passage", [None])[0]
    if "questions" in table.columns or (isinstance(first, dict) and "questions" in first):
        return "super_glue/multirc"
    return None


def flat_multirc(table: Table, label: str) -> Table:
    """Flatten MultiRC's paragraphs, which contain questions, which contain answers, into one row per answer.

    Raises:
        UserError: A paragraph, question or answer lacks a part; names the line.
    """
    if "answer" in table.columns or nested_benchmark(table) != "super_glue/multirc":
        return table
    columns: dict[str, list[Any]] = {name: [] for name in ("paragraph", "question", "answer", label, "idx")}
    source: list[int] = []

    def add(row: int) -> None:
        passage = table.columns["passage"][row] if "passage" in table.columns else None
        if passage is None:
            passage = {"text": table.columns["paragraph"][row], "questions": table.columns["questions"][row]}
        for number, question in enumerate(passage["questions"]):
            for answer in question["answers"]:
                values = passage["text"], question["question"], answer["text"], answer.get("label")
                for name, value in zip(columns, (*values, {"paragraph": row, "question": number}), strict=True):
                    columns[name].append(value)
                source.append(row)

    _each(table, add, "a paragraph with text and questions, a question with its answers, an answer with its text")
    return _flat(table, columns, source)


def flat_record(table: Table) -> Table:
    """Flatten ReCoRD's passages, which give entities as text positions, into one row per query, as on the hub.

    Raises:
        UserError: A passage or query lacks a part, or a position is outside the text; names the line.
    """
    if "qas" not in table.columns:
        return table
    columns: dict[str, list[Any]] = {name: [] for name in ("passage", "query", "entities", "answers")}
    source: list[int] = []

    def add(row: int) -> None:
        passage = table.column("passage")[row]
        text = passage["text"]
        # Both ends of a position are inclusive.
        entities = [text[place["start"] : place["end"] + 1] for place in passage["entities"]]
        if not all(entities):
            raise ValueError("an entity's position is outside the text")
        for question in table.columns["qas"][row]:
            answers = [answer["text"] for answer in question["answers"]]
            for name, value in zip(columns, (text, question["query"], entities, answers), strict=True):
                columns[name].append(value)
            source.append(row)

    _each(table, add, "a passage with text and entities, and qas with query and answers")
    return _flat(table, columns, source)


def _each(table: Table, add: Callable[[int], None], wanted: str) -> None:
    for row in range(len(table)):
        try:
            add(row)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise UserError(f"{table.where(row)}: expected {wanted} ({error!r:.100})") from None


def _flat(table: Table, columns: dict[str, list[Any]], source: list[int]) -> Table:
    numbers = [row + 1 if table.numbers is None else table.numbers[row] for row in source]
    if not numbers:
        raise UserError(f"{table.origin} has no questions")
    return replace(table, columns=columns, numbers=numbers)


def group_numbers(train: Table, validation: Table, name: str) -> list[list[int]]:
    """Return a number for each row of both splits, equal if the values of a column are.

    Raises:
        UserError: There is no such column, or a value is missing.
    """
    number: dict[str, int] = {}
    result = []
    for table in (train, validation):
        values = table.column(name, "task.group=NAME")
        if missing := [row for row, value in enumerate(values) if is_missing(value)]:
            raise UserError(
                f"{table.where(missing[0])}: no group in column '{name}'{other_rows(missing)}: "
                "every example needs one, since it says which belong together"
            )
        result.append([number.setdefault(repr(value), len(number)) for value in values])
    return result
