"""A table with a row per example: columns `label`, `logit_0` and so on, or `prob_0`, `generation`, `id`, `text`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.tasks.tables import Table, is_missing, read_table

_OUTPUTS = {"logit_": "logits", "prob_": "probabilities"}
# Column -> field.
_TEXTS = {"id": "ids", "text": "texts", "generation": "generations", "reference": "references"}


def read_columns(path: Path) -> dict[str, Any]:
    """Read the fields of a run from a table.

    The classes are numbered (`logit_0`, `logit_1`) and labels are these numbers, or named (`logit_no`, `logit_yes`) and
    labels are these names; named classes are sorted, so that files may have them in any order.

    Returns:
        Field of `ExternalRun` -> values. A table has no representations.

    Raises:
        UserError: It cannot be read, or a cell is not what its column needs; names the file and the line.
    """
    table = read_table(path)
    if not len(table):
        raise UserError(f"{path} has no rows")
    fields: dict[str, Any] = {}
    names: list[str] | None = None
    for prefix, field in _OUTPUTS.items():
        classes = [column.removeprefix(prefix) for column in table.columns if column.startswith(prefix)]
        if classes:
            names = _order(table, prefix, classes)
            fields[field] = np.stack([_numbers(table, f"{prefix}{name}") for name in names], axis=1)
    named = names is not None and not all(map(str.isdecimal, names))
    if names is not None and named:
        fields["label_names"] = names
    if "label" in table.columns:
        fields["labels"] = _classes(table, names) if names is not None and named else _numbers(table, "label")
    for column, field in _TEXTS.items():
        if column in table.columns:
            fields[field] = ["" if is_missing(value) else str(value) for value in table.columns[column]]
    if not fields.keys() & {"logits", "probabilities", "generations"}:
        columns = ", ".join(filter(None, table.columns))
        raise UserError(
            f"{path} has no columns logit_0, logit_1 ... or prob_0, prob_1 ..., nor 'generation': {columns}"
        )
    return fields


def _order(table: Table, prefix: str, classes: Sequence[str]) -> list[str]:
    if not all(re.fullmatch("0|[1-9][0-9]*", name) for name in classes):
        return sorted(classes)
    if (numbers := sorted(map(int, classes))) != list(range(len(numbers))):
        raise UserError(
            f"{table.origin}: columns {', '.join(f'{prefix}{number}' for number in numbers)} "
            f"must be {prefix}0 to {prefix}{len(numbers) - 1}"
        )
    return list(map(str, numbers))


def _numbers(table: Table, column: str) -> NDArray[np.float64]:
    values = []
    for row, value in enumerate(table.columns[column]):
        try:
            values.append(float("nan" if value is None else value))
        except (TypeError, ValueError):
            hint = "; name the columns of logits by class (logit_yes) for labels in words" if column == "label" else ""
            raise UserError(f"{table.where(row)}: '{column}' is {value!r}, which is no number{hint}") from None
        if not np.isfinite(values[-1]):
            raise UserError(f"{table.where(row)}: '{column}' is {'missing' if is_missing(value) else value}")
    return np.array(values)


def _classes(table: Table, names: Sequence[str]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(names)}
    for row, value in enumerate(table.columns["label"]):
        if str(value) not in numbers:
            raise UserError(
                f"{table.where(row)}: 'label' is {value!r}, which is none of the classes {', '.join(names)}"
            )
    return np.array([numbers[str(value)] for value in table.columns["label"]])
