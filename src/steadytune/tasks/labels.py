"""Labels: conversion of a column's values to class numbers or regression targets."""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.tasks.table import NoNumber, Table, is_missing, other_rows, read_number

# A rating written as 1.0 to 5.0 is a class; a score with more values than that is a quantity.
MAX_FLOAT_CLASSES = 20
# How other programs write "none". In a column of words some may be classes, in a column of numbers they are not.
_NULLS = {"", "na", "n/a", "nan", "null", "none", "<na>"}
_NEVER_CLASSES = {"", "nan", "null", "<na>"}
_DOUBTFUL = {"na", "n/a", "none", "?", "unknown"}
_IGNORED = "-100"
"""The label that PyTorch's cross-entropy ignores by default (`ignore_index`)."""
# They join letters and emoji, so they are part of a word unless they are at its end.
_JOINERS = "\u200c\u200d"
LABEL_NAMES = (
    *("labels", "gold_label", "gold", "y", "class", "category", "target", "sentiment", "quality", "is_duplicate"),
    *("score", "coarse_label", "fine_label", "intent", "emotion", "rating", "stars", "class index"),
)
_COMMA = re.compile(r"[+-]?[0-9]*(,[0-9]+)?")

EVERY = "never"
"""Stands for "no mark means none": no label has this value."""

Encoded = tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]


def labelled(
    train: Table, validation: Table, column: str, no_label: str | None = None, known: Sequence[str] | None = None
) -> tuple[Table, Table]:
    """Return the labelled rows with uniform spelling, and note how many were skipped.

    A "-", or a -1 besides classes other than 0 and 1, means "no gold label", as in SNLI and MNLI; -100 is what PyTorch
    ignores.

    Args:
        train: Training rows.
        validation: Evaluation rows.
        column: The label column.
        no_label: The value that means "none", if specified; "never" if every label is real.
        known: The classes of a benchmark, if known.

    Raises:
        UserError: There is no such column, no row has a label, no row has `no_label`, or a -1 besides 0 and 1, or a
            word such as "none", could be a class or mean "no label".
    """
    tables = [_trimmed(table, column) for table in (train, validation)]
    if no_label is None:
        marks = _found_marks(tables, column, known)
    else:
        marks = [] if no_label == EVERY else [no_label]
    for mark in marks:
        kept = [_with_label(table, column, mark) for table in tables]
        if mark == no_label and sum(map(len, kept)) == sum(map(len, tables)) and not _is_hidden(tables, column, mark):
            raise UserError(
                f"{train.origin}: task.no_label is '{mark}', but no row has that in column '{column}' (nor in "
                f"{Path(validation.origin).name})"
            )
        tables = kept
    return tables[0], tables[1]


def _trimmed(table: Table, column: str) -> Table:
    """Strip invisible characters from labels: outer white space and zero-width marks; in text "nan" means no label."""
    values = table.column(column, f"task.label={likely_label(table)}")
    trimmed = [_seen(value) if isinstance(value, str) else value for value in values]
    changed = sum(value != other for value, other in zip(values, trimmed, strict=True) if isinstance(value, str))
    if any(isinstance(value, str) for value in values):
        trimmed = [None if isinstance(v, str) and v.lower() in _NEVER_CLASSES else v for v in trimmed]
    notes = list(table.notes)
    if changed:
        notes.append(f"leading or trailing white space, or zero-width characters, removed from {changed} labels")
    if names := table.classes.get(column):
        shown = [f"{number} is '{name}'" for number, name in enumerate(names[:10])]
        notes.append(f"in '{column}' {', '.join(shown)}{', ...' if len(names) > 10 else ''}")
    return replace(table, columns={**table.columns, column: trimmed}, notes=tuple(notes))


def _seen(label: str) -> str:
    # Beyond the first planes are the tags used to spell flags.
    shown = [c for c in label if unicodedata.category(c) != "Cf" or c in _JOINERS or c > "\U000e0000"]
    word = "".join(shown).strip()
    while (stripped := word.strip(_JOINERS).strip()) != word:
        word = stripped
    return unicodedata.normalize("NFC", word)


def likely_label(table: Table) -> str:
    """Return the column with the name of a label, as an option spells it."""
    return shlex.quote(next((name for name in table.columns if name.lower() in LABEL_NAMES), "NAME"))


def _found_marks(tables: Sequence[Table], column: str, known: Sequence[str] | None) -> list[str]:
    """Return the values that mean "no gold label" in the rows."""
    every = {_written(value) for table in tables for value in table.columns[column]}
    values = {value for value in every if value is not None}
    if known is not None:
        marks = {"-", "-1", _IGNORED} & values - set(known)
        return sorted(marks) if known and values - marks else []
    found = []
    if "-" in values and "+" not in values and len(values) > 2:
        found.append("-")
        values.remove("-")
    doubtful = sorted(value for value in values if value.lower() in _DOUBTFUL)
    classes = values - set(doubtful)
    numbers = [number for value in classes if (number := _number(value)) is not None]
    # A quantity may be -1 or -100; besides other negative numbers they are ordinary values.
    if all(number in {-1, -100} or (number >= 0 and isinstance(number, int)) for number in numbers):
        if _IGNORED in classes and len(classes) > 2:
            found.append(_IGNORED)
            classes.remove(_IGNORED)
        named = any(column in table.classes for table in tables)
        if classes == {"0", "1", "-1"} and not named:
            raise UserError(
                f"{_first(tables, column, '-1')}: is -1 a third class besides 0 and 1, or does it mean 'no label'?\n"
                "Use --set task.no_label=-1 to skip these rows, or --set task.no_label=never for three classes"
            )
        if "-1" in classes and (len(classes) > 2 or named):
            found.append("-1")
            classes.remove("-1")
    if all(_number(value) is not None for value in classes) and not any(table.typed for table in tables):
        # In a column of numbers these are missing values, each of which is reported.
        doubtful = [value for value in doubtful if value.lower() not in _NULLS]
    if doubtful and len(classes) > 1:
        raise UserError(
            f"{_first(tables, column, doubtful[0])}: is '{doubtful[0]}' a class, or does it mean 'no label'?\n"
            f"Use --set task.no_label='{doubtful[0]}' to skip these rows, or --set task.no_label=never if it is "
            "a class"
        )
    return found


def _first(tables: Sequence[Table], column: str, label: str) -> str:
    return next(
        table.where(row)
        for table in tables
        for row, value in enumerate(table.columns[column])
        if _written(value) == label
    )


def _number(word: Any) -> int | float | None:
    """Return the number that a label is or spells, integers without a decimal point; None for a word."""
    try:
        number = read_number(word)
    except ValueError:
        return None
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _written(value: Any) -> str | None:
    if is_missing(value) or isinstance(value, bool):
        return None
    number = _number(value)
    return str(value if number is None else number)


def _is_hidden(tables: Sequence[Table], column: str, mark: str) -> bool:
    return any(all(_written(value) == _written(mark) for value in table.columns[column]) for table in tables)


def _with_label(table: Table, column: str, mark: str) -> Table:
    if mark.lower() in _NULLS:
        kept = [row for row, value in enumerate(table.columns[column]) if not is_missing(value) and value != ""]
        kept = [row for row in kept if str(table.columns[column][row]).lower() != mark.lower()]
    else:
        kept = [row for row, value in enumerate(table.columns[column]) if _written(value) != _written(mark)]
    if not kept:
        if _written(mark) == "-1":
            return table
        raise UserError(f"{table.origin}: every label is {mark!r}, which means 'no label'")
    if left := len(table) - len(kept):
        note = f"{left} of {len(table)} rows skipped because their label is {mark} (no label)"
        return replace(table.select(kept), notes=(*table.notes, note))
    return table


def infer_labels(train: Table, validation: Table, column: str, regression: bool = False) -> Encoded:
    """Number the classes of a label column, or detect a regression.

    Integers, strings and booleans are classes, sorted. Numbers with a fractional part anywhere, or more than
    `MAX_FLOAT_CLASSES` distinct ones written as floats, are regression targets.

    Args:
        train: Training rows.
        validation: Evaluation rows.
        column: The label column.
        regression: Take any numbers as targets.

    Returns:
        Class names, none for a regression, and the labels of the two splits: int64 or float64.

    Raises:
        UserError: A label is missing, differs in type from the rest, or does not occur in training, or all are equal.
    """
    splits = _read(train, validation, column)
    _check_hidden(train, validation, splits)
    _check_distinct(train, column, splits[0])
    if isinstance(splits[0][0], float):
        every = splits[0] + splits[1]
        if any(value != int(value) for value in every) or len(set(every)) > MAX_FLOAT_CLASSES:
            regression = True
        elif not regression:
            splits = [[int(value) for value in values] for values in splits]
    if regression and _type(splits[0][0]) == "number":
        return (), np.array(splits[0], dtype=np.float64), np.array(splits[1], dtype=np.float64)
    number = {value: index for index, value in enumerate(sorted(set(splits[0])))}
    for row, value in enumerate(splits[1]):
        if value not in number:
            known = ", ".join(map(str, list(number)[:10])) + (", ..." if len(number) > 10 else "")
            raise UserError(
                f"{validation.where(row)}: label {value!r} does not occur in {train.origin}, which has {known}"
            )
    encoded = [np.array([number[value] for value in values], dtype=np.int64) for values in splits]
    return tuple(map(str, number)), encoded[0], encoded[1]


def match_labels(train: Table, validation: Table, column: str, names: tuple[str, ...]) -> Encoded:
    """Number the classes of a benchmark, which are given as numbers or names.

    Args:
        train: Training rows.
        validation: Evaluation rows.
        column: The label column.
        names: The benchmark's classes in its order; none for a regression.

    Returns:
        As `infer_labels`.

    Raises:
        UserError: As `infer_labels`, or a label is not one of the benchmark's.
    """
    if not names:
        targets = infer_labels(train, validation, column, regression=True)
        if targets[0]:
            raise UserError(
                f"{train.origin}: column '{column}' must contain numbers, because this task is a regression"
            )
        return targets
    splits = _read(train, validation, column)
    _check_hidden(train, validation, splits)
    _check_distinct(train, column, splits[0])
    number: dict[Any, int] = {name: index for index, name in enumerate(names)}
    result = []
    for table, values in zip((train, validation), splits, strict=True):
        encoded = []
        for row, value in enumerate(values):
            # bool before int: True is the class "True" if there is one, and 1 otherwise.
            index = number.get(str(value), value if isinstance(value, (int, float)) else -1)
            if index not in range(len(names)):
                raise UserError(
                    f"{table.where(row)}: label {value!r} is not one of {', '.join(names)} or 0 to {len(names) - 1}"
                )
            encoded.append(int(index))
        result.append(np.array(encoded, dtype=np.int64))
    return names, result[0], result[1]


def _read(train: Table, validation: Table, column: str) -> list[list[Any]]:
    """Return the labels of both splits, all of one type among bool, int, float and str."""
    tables = train, validation
    splits = [table.column(column, "task.label=NAME") for table in tables]
    if not train.typed and not validation.typed:
        splits = _spelled_numbers(tables, column)
    else:
        splits = [
            values if table.typed else _spelled_numbers((table,), column)[0]
            for table, values in zip(tables, splits, strict=True)
        ]
    for table, values in zip(tables, splits, strict=True):
        missing = [row for row, value in enumerate(values) if is_missing(value) or value == ""]
        if missing:
            mark = table.columns[column][missing[0]]
            mark = "nan" if is_missing(mark) or mark == "" else mark
            raise UserError(
                f"{table.where(missing[0])}: no label in column '{column}'{other_rows(missing)}; "
                f"skip such rows with --set task.no_label={mark}"
            )
    first = splits[0][0]
    for table, values in zip(tables, splits, strict=True):
        for row, value in enumerate(values):
            if not isinstance(value, (bool, int, float, str)) or _is_endless(value):
                raise UserError(f"{table.where(row)}: {value!r:.80} in column '{column}' is not a label")
            if _type(value) != _type(first):
                raise UserError(
                    f"{table.where(row)}: label {value!r} is a {_type(value)}, "
                    f"but {train.where(0)} has {first!r}, a {_type(first)}"
                )
    if isinstance(first, str):
        _check_spelling(tables, splits)
    if any(isinstance(value, float) for values in splits for value in values):
        splits = [[float(value) for value in values] for values in splits]
    return splits


def _is_endless(value: Any) -> bool:
    """Return whether a label is infinite, or an integer too large for a float."""
    try:
        return not isinstance(value, (str, bool)) and math.isinf(float(value))
    except OverflowError:
        return True


def _check_spelling(tables: Iterable[Table], splits: list[list[Any]]) -> None:
    """Reject words that differ only in case, and numbers in an unsupported spelling."""
    spelled: dict[str, str] = {}
    for table, values in zip(tables, splits, strict=True):
        for row, value in enumerate(values):
            other = spelled.setdefault(value.casefold(), value)
            if other != value:
                raise UserError(f"{table.where(row)}: label {value!r} is also spelled {other!r}: use one spelling")
    if all(map(_COMMA.fullmatch, spelled)) and any("," in word for word in spelled):
        raise UserError(
            f"{next(iter(tables)).origin}: labels such as {splits[0][0]!r} look like numbers with a decimal comma: "
            "use a decimal point"
        )


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else "string"


def _spelled_numbers(tables: Sequence[Table], column: str) -> list[list[Any]]:
    """Convert strings to numbers if all of them, except missing ones, spell numbers."""
    cleaned = [
        replace(table, columns={column: [None if _is_null(value) else value for value in table.columns[column]]})
        for table in tables
    ]
    if all(value is None for table in cleaned for value in table.columns[column]):
        return [table.columns[column] for table in tables]
    try:
        return [list(table.figures(column)) for table in cleaned]
    except NoNumber:
        return [table.columns[column] for table in tables]


def _is_null(value: Any) -> bool:
    return value is None or value.strip().lower() in _NULLS


def _check_hidden(train: Table, validation: Table, splits: list[list[Any]]) -> None:
    written = [{_written(value) for value in values} for values in splits]
    for table, values in zip((train, validation), written, strict=True):
        if values == {"-1"} and (table is train or "-1" not in written[0]):
            raise UserError(
                f"{table.origin}: every label is -1, as in a test set with hidden labels: use a set with labels"
            )


def _check_distinct(train: Table, column: str, values: list[Any]) -> None:
    if len(set(values)) < 2:
        raise UserError(
            f"{train.origin}: every '{column}' is {values[0]!r}; training needs at least two different values"
        )
