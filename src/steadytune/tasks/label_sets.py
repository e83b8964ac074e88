"""Tasks of sets of labels: a column of lists, or a column of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks.lists import has_lists, listed
from steadytune.tasks.table import Table, is_missing

KIND = "multilabel"
_COLUMN = "labels"
"""Where labels are if no column is named `label`."""
_SWITCHES: dict[Any, int] = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


class LabelSets(NamedTuple):
    """Labels of two splits.

    Attributes:
        columns: The columns that they are in.
        names: Name of each of L labels.
        splits: (N, L) 0 or 1, of each split.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    splits: list[NDArray[np.int64]]


def is_label_sets(spec: TaskSpec, table: Table) -> bool:
    """Return whether each row has a set of labels: by `task.labels`, or because its label is a list."""
    column = _list_column(spec, table)
    if spec.labels is not None or column is None:
        return spec.labels is not None
    # What is missing among labels is named with its line as the labels are read.
    inside = _inside(table, column)
    held = [one for one in inside if one is not None]
    return all(map(_is_label, held)) and (bool(held) or not inside)


def read_label_sets(spec: TaskSpec, train: Table, validation: Table) -> LabelSets:
    """Read sets of labels.

    Lists hold names or numbers of labels; lists of one length throughout, in which 0 or 1 is repeated, are switches,
    one for each label.

    Raises:
        UserError: There is no such column, a cell is something else, or a label does not occur in training; names file
            and line.
    """
    if spec.labels is not None:
        splits = [np.stack([_switches(table, name) for name in spec.labels], axis=1) for table in (train, validation)]
        found = LabelSets(spec.labels, spec.labels, splits)
    else:
        found = _of_lists(spec, train, validation)
    if len(found.names) < 2:
        raise UserError(
            f"{train.origin}: there is only the label {', '.join(found.names)}; sets of labels need at least two"
        )
    trained, measured = (split.any(axis=0) for split in found.splits)
    if len(missing := np.flatnonzero(measured & ~trained)):
        row = int(np.flatnonzero(found.splits[1][:, missing[0]])[0])
        raise UserError(f"{validation.where(row)}: label '{found.names[missing[0]]}' does not occur in {train.origin}")
    if not found.splits[0].any():
        raise UserError(f"{train.origin}: no row has a label in {', '.join(found.columns)}")
    return found


def switches_in(table: Table) -> list[str]:
    """Return the columns that hold 0 and 1 alone, and both: probably labels."""
    return [name for name, values in table.columns.items() if {as_switch(value) for value in values} == {0, 1}]


def _list_column(spec: TaskSpec, table: Table) -> str | None:
    name = spec.label if spec.label in table.columns or spec.label != "label" else _COLUMN
    return name if has_lists(table, name) else None


def _inside(table: Table, column: str) -> list[Any]:
    return [one for cell in table.columns[column] for one in listed(cell) or []]


def _is_label(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _of_lists(spec: TaskSpec, train: Table, validation: Table) -> LabelSets:
    column = _list_column(spec, train)
    if column is None:
        possible = [name for name in switches_in(train) if name not in (spec.columns or ())] or ["a", "b"]
        way = f"name its columns of 0 and 1 with --set task.labels='[{', '.join(possible)}]'"
        raise UserError(f"{train.origin} has no column '{spec.label}' with a list of labels in each row: {way}")
    rows = [[_row(table, row, column) for row in range(len(table))] for table in (train, validation)]
    both = [one for split in rows for one in split]
    lengths = {len(one) for one in both}
    repeated = any(len(set(one)) < len(one) for one in both)
    zeros_and_ones = all(value in (0, 1) for one in both for value in one)
    # [0, 1] and [1, 0] as numbers would give both labels to every row.
    switches = len(lengths) == 1 and (repeated or lengths == {2}) and zeros_and_ones
    names = train.classes.get(column)
    if switches:
        numbered = names or tuple(map(str, range(lengths.pop())))
        return LabelSets((column,), numbered, [np.array(split, dtype=np.int64) for split in rows])
    if repeated and zeros_and_ones:
        table, row, one = _first(train, validation, rows, lambda one: len(one) != len(both[0]))
        raise UserError(
            f"{table.where(row)}: {one!r:.60} in column '{column}' has {len(one)} switches, but the first row of "
            f"{train.origin} has {len(both[0])}: give each row one for every label"
        )
    if repeated:
        table, row, one = _first(train, validation, rows, lambda one: len(set(one)) < len(one))
        raise UserError(f"{table.where(row)}: {one!r:.60} in column '{column}' has a label twice")
    numbers: dict[Any, int]
    if names is not None:
        numbers = {label: at for at, name in enumerate(names) for label in (name, at)}
    else:
        trained = {label for one in rows[0] for label in one}
        if len({type(label) for label in trained}) > 1:
            raise UserError(f"{train.origin}: some labels in column '{column}' are numbers and some are words")
        names = tuple(map(str, sorted(trained)))
        numbers = {label: at for at, label in enumerate(sorted(trained))}
    splits = []
    for table, split in zip((train, validation), rows, strict=True):
        sets = np.zeros((len(split), len(names)), dtype=np.int64)
        for row, one in enumerate(split):
            if unknown := [label for label in one if label not in numbers]:
                known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                raise UserError(
                    f"{table.where(row)}: label {unknown[0]!r:.60} does not occur in {train.origin}, which has {known}"
                )
            sets[row, [numbers[label] for label in one]] = 1
        splits.append(sets)
    return LabelSets((column,), names, splits)


def _first(
    train: Table, validation: Table, rows: Sequence[Sequence[list[Any]]], wrong: Callable[[list[Any]], bool]
) -> tuple[Table, int, list[Any]]:
    """Return the table, the number and the labels of the first row that is wrong."""
    both = zip((train, validation), rows, strict=True)
    return next((table, row, one) for table, split in both for row, one in enumerate(split) if wrong(one))


def _row(table: Table, row: int, column: str) -> list[Any]:
    cell = table.column(column, "task.label=NAME")[row]
    labels = listed(cell)
    if labels is None:
        if is_missing(cell):
            raise UserError(f"{table.where(row)}: '{column}' is missing: give [] where there is no label")
        raise UserError(f"{table.where(row)}: {cell!r:.60} in column '{column}' is no list of labels")
    if odd := [label for label in labels if not _is_label(label) or not str(label).strip()]:
        raise UserError(f"{table.where(row)}: {odd[0]!r:.60} in column '{column}' is no label")
    return labels


def as_switch(value: Any) -> int | None:
    """Return 0 or 1 if a cell says so, otherwise None."""
    text = str(value).strip().lower()
    return _SWITCHES.get(text)


def _switches(table: Table, column: str) -> NDArray[np.int64]:
    values = table.column(column, "task.labels=[NAME, NAME]")
    found = [as_switch(value) for value in values]
    if None in found:
        row = found.index(None)
        raise UserError(
            f"{table.where(row)}: '{column}' is {values[row]!r:.60}: a column of task.labels must hold 0 or 1"
        )
    return np.array(found, dtype=np.int64)
