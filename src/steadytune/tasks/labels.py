"""Labels: from what a column holds to class numbers or regression targets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.tasks.tables import Table, is_missing, other_rows

# A rating that happens to be written 1.0 to 5.0 is a class; a score with more steps than that is a quantity.
MAX_FLOAT_CLASSES = 20
# What other programs write for "none". In a column of words these may be classes, in a column of numbers they are not.
_NULLS = {"na", "n/a", "nan", "null", "none", "<na>"}

Encoded = tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]


def infer_labels(train: Table, validation: Table, column: str, regression: bool = False) -> Encoded:
    """Number the classes of a label column, or recognise a regression.

    Integers, strings and booleans are classes, sorted. Numbers with a fractional part anywhere, or more than
    `MAX_FLOAT_CLASSES` different ones written as floats, are regression targets.

    Args:
        train: Training rows.
        validation: Evaluation rows.
        column: The label column.
        regression: Take any numbers as targets.

    Returns:
        Names of the classes, none for a regression, and the labels of the two splits: int64 or float64.

    Raises:
        UserError: A label is missing, of another type than the rest, or not seen in training, or all are the same.
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
            raise UserError(f"{validation.where(row)}: label {value!r} is not in {train.origin}, which has {known}")
    encoded = [np.array([number[value] for value in values], dtype=np.int64) for values in splits]
    return tuple(map(str, number)), encoded[0], encoded[1]


def match_labels(train: Table, validation: Table, column: str, names: tuple[str, ...]) -> Encoded:
    """Number the classes of a benchmark, given as their numbers or their names.

    Args:
        train: Training rows.
        validation: Evaluation rows.
        column: The label column.
        names: The benchmark's classes in its order; none for a regression.

    Returns:
        As `infer_labels`.

    Raises:
        UserError: As `infer_labels`, or a label is none of the benchmark's.
    """
    if not names:
        targets = infer_labels(train, validation, column, regression=True)
        if targets[0]:
            raise UserError(f"{train.origin}: column '{column}' should hold numbers, as this task is a regression")
        return targets
    splits = _read(train, validation, column)
    _check_hidden(train, validation, splits)
    _check_distinct(train, column, splits[0])
    number: dict[Any, int] = {name: index for index, name in enumerate(names)}
    result = []
    for table, values in zip((train, validation), splits, strict=True):
        encoded = []
        for row, value in enumerate(values):
            # bool before int: True is the class "True" where there is one, and 1 anyway.
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
        splits = _spelled_numbers(splits)
    else:
        splits = [v if table.typed else _spelled_numbers([v])[0] for table, v in zip(tables, splits, strict=True)]
    for table, values in zip(tables, splits, strict=True):
        missing = [row for row, value in enumerate(values) if is_missing(value)]
        if missing:
            raise UserError(f"{table.where(missing[0])}: no label in column '{column}'{other_rows(missing)}")
    first = splits[0][0]
    for table, values in zip(tables, splits, strict=True):
        for row, value in enumerate(values):
            if not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and math.isinf(value)):
                raise UserError(f"{table.where(row)}: {value!r} in column '{column}' is no label")
            if _type(value) != _type(first):
                raise UserError(
                    f"{table.where(row)}: label {value!r} is a {_type(value)}, "
                    f"but {train.where(0)} has {first!r}, a {_type(first)}"
                )
    if any(isinstance(value, float) for values in splits for value in values):
        splits = [[float(value) for value in values] for values in splits]
    return splits


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else "string"


def _spelled_numbers(splits: list[list[Any]]) -> list[list[Any]]:
    """Turn strings into numbers if all of them, beside the missing ones, spell numbers."""
    for cast in (int, float):
        try:
            return [
                [None if value is None or value.lower() in _NULLS else cast(value) for value in values]
                for values in splits
            ]
        except ValueError:
            continue
    return splits


def _check_hidden(train: Table, validation: Table, splits: list[list[Any]]) -> None:
    for table, values in zip((train, validation), splits, strict=True):
        if all(value == -1 for value in values) and (table is train or -1 not in splits[0]):
            raise UserError(
                f"{table.origin}: every label is -1, as in a test set that keeps its labels secret; use one with labels"
            )


def _check_distinct(train: Table, column: str, values: list[Any]) -> None:
    if len(set(values)) < 2:
        raise UserError(
            f"{train.origin}: every '{column}' is {values[0]!r}; there is nothing to learn without two different ones"
        )
