"""Sets of labels in tables: a column of 0 and 1 for each label, or one whose cells list them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
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
_LABELS_OF = ("label", "labels", "target", "true", "gold", "y")
_MARKS = ("_", " ", "-", ".", ":", "")
# Punctuation is ignored only if no column has the name itself: "c", "c#" and "c++" are three labels.
_FORMS: tuple[Callable[[str], str], ...] = (str, str.casefold, squashed)
_SEPARATORS = re.compile(r"[|;,]")


def label_columns(found: Draft, labels: Sequence[str]) -> dict[str, str]:
    """Return label -> the column that says by 0 and 1 which examples have it, for the labels that have one.

    Raises:
        UserError: Two columns may be that of a label, or two labels that of a column; names the way out.
    """
    source = found.source
    columns: dict[str, str] = {}
    for words, form in product((_LABELS_OF, ("",)), _FORMS):
        free = [one for one in source.columns if one not in found.choices.ignore and one not in columns.values()]
        owners: dict[str, str] = {}
        for label in labels:
            if label in columns or not form(label):
                continue
            keys = {form(f"{word}{mark}{label}") for word in words for mark in (_MARKS if word else ("",))}
            own = [name for name in free if form(name) in keys and _may_say(found, name, worded=words is _LABELS_OF)]
            if any(source.cells(name) != source.cells(own[0]) for name in own):
                raise UserError(
                    f"{source.origin}: {' and '.join(own)} differ, and each may say which examples are labelled "
                    f"'{label}': ignore all but one with --set ignore=NAME"
                )
            if own and (other := owners.setdefault(own[0], label)) != label:
                raise UserError(
                    f"{source.origin}: '{own[0]}' may be the column of label '{other}' or of '{label}': name the "
                    f"columns label_{other} and label_{label}"
                )
        columns |= {label: name for name, label in owners.items()}
    return columns


def ask_of_sets(found: Draft, labels: Sequence[str]) -> None:
    """Refuse outputs by class beside a column of labels for each class: an example may then have several labels.

    Raises:
        UserError: There are such columns, and neither the kind is said nor are they ignored; names the ways out.
    """
    if found.of.has_sets or len(matched := label_columns(found, labels)) < len(labels):
        return
    columns = list(matched.values())
    if all(_may_say(found, name, worded=False) for name in columns):
        raise UserError(
            f"{found.source.origin}: {', '.join(columns[:4])} give each example a label for every class. If an example "
            f"may have several, use --set kind={KIND}; if each has one class, use --set ignore={','.join(columns)} and "
            "a column with that class"
        )


def known_labels(found: Draft, names: Sequence[str]) -> set[str]:
    """Return which names are those of labels, without case: they have a column of 0 and 1, or a cell lists them."""
    column = found.taken.fields.get("labels")
    cells = [] if column is None else found.source.cells(column)
    words = [one for cell in cells if cell is not None for one in (cell, *_parts(cell))]
    return {spelled(one).casefold() for one in words} | {name.casefold() for name in label_columns(found, names)}


def _may_say(found: Draft, name: str, worded: bool) -> bool:
    """Return whether a column may say which examples have a label, by its whole name or by its cells as well."""
    taken = found.taken
    if worded and name not in (taken.fields.get("labels"), *taken.rivals.get("labels", ())):
        return True
    cells = [cell for cell in found.source.cells(name) if not is_nothing(cell)]
    return bool(cells) and None not in map(as_switch, cells)


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
    _check_predicted(found, names, outputs)
    column = found.taken.fields.get("labels")
    matched = label_columns(found, names)
    columns = [matched[name] for name in names if name in matched]
    if column is not None and not source.empty(column) and column not in columns and len(columns) < width:
        found.arrays["labels"] = _listed(found, column, names)
        found.use("labels", column)
    elif not all(map(source.empty, columns)):
        if lacking := [name for name in names if name not in matched]:
            raise UserError(
                f"{source.origin}: {', '.join(columns)} say which examples have a label, but no column does for "
                f"{', '.join(lacking)}: add label_{lacking[0]}, or use --set ignore={','.join(columns)}"
            )
        found.arrays["labels"] = np.stack([_switches(found, name) for name in columns], axis=1)
        found.use("labels", *columns)


def check_in_order(found: Draft, column: str) -> None:
    """Refuse lists with an entry for each class if the columns of outputs name the classes in another order.

    Raises:
        UserError: The columns are sorted by name, but stand in the file in another order; names the option to set.
    """
    used = found.columns.get("logits", found.columns.get("probabilities", []))
    stand = [name for name in found.source.columns if name in used]
    if found.numbered or found.names is None or stand == used or all(name.isdecimal() for name in found.names):
        return
    names = dict(zip(used, found.names, strict=True))
    raise UserError(
        f"{found.source.origin}: lists of 0 and 1 in '{column}' do not say to which of {', '.join(stand)} their "
        f"numbers belong: if in this order, use --set classes={','.join(names[name] for name in stand)}"
    )


def _check_predicted(found: Draft, names: Sequence[str], outputs: NDArray[Any]) -> None:
    """Refuse predicted sets that are not those of the labels whose probability is above a half."""
    source, column = found.source, found.taken.fields.get("predictions")
    if column is None or source.empty(column) or any(column in used for used in found.columns.values()):
        return
    sets = _listed(found, column, names)
    half = 0 if "logits" in found.arrays else 0.5
    wrong = np.argwhere((sets != (outputs > half)) & (outputs != half) & np.isfinite(outputs))
    if len(wrong):
        row, at = map(int, wrong[0])
        raise UserError(
            f"{source.where(row)}: '{column}' {'has' if sets[row, at] else 'lacks'} the label '{names[at]}', but its "
            f"output is {outputs[row, at]:g}. If the sets were predicted in another way, use --set ignore={column}"
        )
    found.use("predictions", column)


def _switches(found: Draft, column: str) -> NDArray[np.int64]:
    cells = found.source.cells(column)
    switches = list(map(as_switch, cells))
    if None in switches:
        row = switches.index(None)
        said = "missing" if is_nothing(cells[row]) else repr(cells[row])[:60]
        raise UserError(
            f"{found.source.where(row)}: '{column}' is {said}: it must be 0 or 1 in every row, so fill it in, or "
            "leave the row out of all runs"
        )
    return np.array(switches, dtype=np.int64)


def _listed(found: Draft, column: str, names: Sequence[str]) -> NDArray[np.int64]:
    source = found.source
    places = {str(at): at for at in range(len(names))} if found.names is None or found.numbered else {}
    places |= {spelled(name).casefold(): at for at, name in enumerate(names)}
    cells = [_labels_in(found, column, row, places) for row in range(len(source.columns[column]))]
    if all(len(one) == len(names) and set(map(as_switch, one)) <= {0, 1} for one in cells):
        check_in_order(found, column)
        return np.array([list(map(as_switch, one)) for one in cells], dtype=np.int64)
    sets = np.zeros((len(cells), len(names)), dtype=np.int64)
    for row, one in enumerate(cells):
        for label in one:
            at = places.get(spelled(label).casefold())
            if at is None:
                way = "" if found.names else ": name the outputs (logit_NAME), or use --set classes=NAME,NAME"
                way += "" if column == found.taken.fields.get("labels") else f"; or use --set ignore={column}"
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
    # A cell without labels is not the label "none".
    if not is_missing(cell) and spelled(cell).casefold() in known:
        return [cell]
    return [] if is_nothing(cell) else _parts(cell)


def _parts(cell: Any) -> list[Any]:
    labels = listed(cell)
    return [part.strip() for part in _SEPARATORS.split(str(cell)) if part.strip()] if labels is None else labels
