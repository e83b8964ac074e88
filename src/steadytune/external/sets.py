"""Sets of labels in tables: a column of 0 and 1 for each label, or one whose cells list them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.columns import squashed
from steadytune.external.draft import Draft
from steadytune.external.source import is_nothing, spelled
from steadytune.tasks.label_sets import KIND, as_switch
from steadytune.tasks.lists import listed
from steadytune.tasks.table import is_missing

# Words before a label in the name of a column that says whether an example has that label.
_LABELS_OF = ("label", "labels", "target", "true", "gold", "y", "")
_SEPARATORS = re.compile(r"[|;,]")


def label_columns(found: Draft, labels: Sequence[str]) -> list[str]:
    """Return the columns of 0 and 1 that say which examples have a label, one for each of them; or none."""
    source = found.source
    names: dict[str, str] = {}
    for name in source.columns:
        if name not in found.choices.ignore:
            names.setdefault(squashed(name), name)
    columns = []
    for one in labels:
        column = next((names[key] for word in _LABELS_OF if (key := squashed(f"{word}{one}")) in names), None)
        if column is None or None in map(as_switch, source.cells(column)):
            return []
        columns.append(column)
    return columns


def ask_of_sets(found: Draft, labels: Sequence[str]) -> None:
    """Refuse outputs by class beside a column of labels for each class: an example may then have several labels.

    Raises:
        UserError: There are such columns, and neither the kind is said nor are they ignored; names the ways out.
    """
    if not found.of.has_sets and (columns := label_columns(found, labels)):
        raise UserError(
            f"{found.source.origin}: {', '.join(columns[:4])} give each example a label for every class. If an example "
            f"may have several, use --set kind={KIND}; if each has one class, use --set ignore={','.join(columns)} and "
            "a column with that class"
        )


def are_answers(found: Draft, column: str) -> bool:
    """Return whether lists in a column of predictions are sets of labels, names or switches, not outputs."""
    if found.source.table is None or not found.of.has_sets:
        return False
    inside = [one for cell in found.source.columns[column] for one in listed(cell) or ()]
    return all(isinstance(one, str) or as_switch(one) is not None for one in inside)


def read_sets(found: Draft) -> None:
    """Read the labels of a table of sets, whose outputs are known, as 0 or 1 for each label.

    They are columns named after the labels, or a column of lists of their names or numbers, of names with a
    separator between them, or of switches.

    Raises:
        UserError: There are no outputs for each label, or a cell does not fit; names the line.
    """
    source = found.source
    outputs = found.arrays.get("logits", found.arrays.get("probabilities"))
    if outputs is None or outputs.ndim != 2:
        raise UserError(
            f"{source.origin}: sets of labels need how sure the run is of every label: columns logit_NAME or prob_NAME"
            ", or one with a list of these numbers in each row"
        )
    width = outputs.shape[1]
    if found.names is None and found.choices.classes:
        found.names, found.numbered = list(found.choices.classes), True
    names = found.names or [str(at) for at in range(width)]
    if len(names) != width:
        raise UserError(f"{source.origin}: {len(names)} classes ({', '.join(names)}) for {width} outputs: name each")
    column = found.taken.fields.get("labels")
    if columns := label_columns(found, names):
        rows = [[as_switch(cell) for cell in source.cells(one)] for one in columns]
        found.arrays["labels"] = np.array(rows, dtype=np.int64).T
        found.use("labels", *columns)
    elif column is not None and not source.empty(column):
        found.arrays["labels"] = _listed(found, column, names)
        found.use("labels", column)


def _listed(found: Draft, column: str, names: Sequence[str]) -> NDArray[np.int64]:
    source = found.source
    places = {str(at): at for at in range(len(names))} if found.names is None or found.numbered else {}
    places |= {spelled(name).casefold(): at for at, name in enumerate(names)}
    cells = [_labels_in(found, column, row, places) for row in range(len(source.columns[column]))]
    if all(len(one) == len(names) and set(map(as_switch, one)) <= {0, 1} for one in cells):
        return np.array([list(map(as_switch, one)) for one in cells], dtype=np.int64)
    sets = np.zeros((len(cells), len(names)), dtype=np.int64)
    for row, one in enumerate(cells):
        for label in one:
            at = places.get(spelled(label).casefold())
            if at is None:
                way = "" if found.names else ": name the outputs (logit_NAME), or use --set classes=NAME,NAME"
                raise UserError(
                    f"{source.where(row)}: {label!r:.60} in '{column}' is none of the labels {', '.join(names)}{way}"
                )
            if sets[row, at]:
                raise UserError(f"{source.where(row)}: '{column}' has the label {label!r:.60} twice")
            sets[row, at] = 1
    return sets


def _labels_in(found: Draft, column: str, row: int, known: Mapping[str, int]) -> list[Any]:
    """Return the labels of a cell: a list, one that a text spells, or names with a separator between them."""
    cell = found.source.columns[column][row]
    cell = cell.strip() if isinstance(cell, str) else cell
    if (labels := listed(cell)) is not None:
        return labels
    assert found.source.table is not None
    if is_missing(cell) and found.source.table.typed:
        raise UserError(f"{found.source.where(row)}: '{column}' is missing: give [] where there is no label")
    if spelled(cell).casefold() in known:
        return [cell]
    return [] if is_nothing(cell) else [part.strip() for part in _SEPARATORS.split(str(cell)) if part.strip()]
