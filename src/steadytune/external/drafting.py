"""One run of a file, as far as the file alone tells: which columns are what, and what their cells say."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.classes import annotated, class_columns, drop_unlabelled_numbers, encoded, name_words, one_hot
from steadytune.external.columns import Choices, is_summary, squashed, take
from steadytune.external.draft import Draft, Single
from steadytune.external.source import Source, is_nothing, spelled
from steadytune.records.checks import Kind, check_kind
from steadytune.tasks.table import is_missing

_WEAK = frozenset(["answer", "y", "true", "actual", "target", "targets"])
# More different texts than this, and nearly as many as examples, are no classes.
_MOST_CLASSES = 50


def draft(source: Source, choices: Choices, regression: bool) -> Draft:
    """Read the outputs and labels of one source.

    Raises:
        UserError: A cell is not what its column needs, or a column may be several things; names what settles it.
    """
    found = Draft(source, take(source.columns, choices, source.origin), choices, regression, kind=choices.kind)
    if source.table is not None:
        found.notes += [f"A table: {note}." for note in source.table.notes]
    if (stated := found.word("kind")) is not None and found.kind is None:
        check_kind(source.origin, stated)
        found.kind = next(kind for kind in get_args(Kind) if kind == stated)
    _outputs(found)
    _texts(found)
    _answers(found)
    _single(found)
    return found


def _outputs(found: Draft) -> None:
    source, taken = found.source, found.taken
    for name in ("logits", "probabilities"):
        pairs = taken.classes.get(name, [])
        column = taken.fields.get(name)
        if column is not None and not _is_outputs(found, column):
            if name == "logits" and column not in found.choices.columns.values() and source.table is not None and pairs:
                column = None
            elif name == "probabilities":
                continue
        if column is not None and len([pair for pair in pairs if not is_summary(pair[0])]) < 2:
            pairs = []
        if column is not None and pairs:
            raise UserError(
                f"{source.origin} has '{column}' and '{pairs[0][1]}': leave one aside with --set ignore=NAME"
            )
        if column is not None:
            found.arrays[name] = _matrix(found, column)
            found.use(name, column)
        elif pairs and (classes := class_columns(found, name, pairs)):
            columns = [source.numbers(column) for _, column in classes]
            _check_complete(source, [column for _, column in classes], columns)
            found.arrays[name] = np.stack(columns, axis=1)
            found.use(name, *(column for _, column in classes))
    generic = taken.fields.get("predictions") or taken.fields.get("outputs")
    if not found.arrays.keys() & {"logits", "probabilities"}:
        for column in filter(None, (generic, *(one for one in taken.singles if squashed(one) in ("scores", "prob")))):
            if source.is_matrix(column):
                name = "probabilities" if squashed(column) == "prob" else "logits"
                found.arrays[name] = source.array(column)
                found.use(name, column)
                break


def _is_outputs(found: Draft, column: str) -> bool:
    return found.source.is_matrix(column)


def _matrix(found: Draft, column: str) -> NDArray[Any]:
    if found.source.is_matrix(column) or found.source.table is None:
        return found.source.array(column)
    return found.source.numbers(column)


def _check_complete(source: Source, names: list[str], columns: list[NDArray[np.float64]]) -> None:
    """Refuse outputs of which some are missing; where all are, the run diverged.

    Raises:
        UserError: Naming the first row.
    """
    lacking = ~np.isfinite(np.stack(columns, axis=1))
    if lacking.all() or not lacking.any():
        return
    row, column = np.argwhere(lacking)[0]
    cell = source.cells(names[column])[row]
    raise UserError(f"{source.where(row)}: '{names[column]}' is {'missing' if cell is None else cell}")


def _texts(found: Draft) -> None:
    """Tell whether the run is one of generated texts, and read them and their references."""
    source, fields = found.source, found.taken.fields
    if found.arrays:
        return
    generated = fields.get("generations")
    for name in ("predictions", "outputs"):
        column = fields.get(name)
        if generated is None and column is not None and not source.numeric(column):
            wanted = found.kind == "generation" or "references" in fields or _free_text(found, column)
            generated = column if wanted or (name == "outputs" and "predictions" not in fields) else None
    if generated is None:
        return
    found.texts = True
    found.arrays["generations"] = [_one_text(source, generated, row) for row in range(len(source.cells(generated)))]
    found.use("generations", generated)
    reference = fields.get("references") or fields.get("labels")
    if reference is not None:
        found.arrays["references"] = [
            _any_text(source, reference, row) for row in range(len(source.columns[reference]))
        ]
        found.use("references", reference)


def _free_text(found: Draft, column: str) -> bool:
    """Tell whether predictions are texts rather than classes: hardly two alike.

    Raises:
        UserError: They may be either.
    """
    source = found.source
    words = [spelled(cell) for cell in source.cells(column) if not is_nothing(cell)]
    if len(set(words)) <= max(_MOST_CLASSES, len(words) // 2) or found.kind == "classification":
        return False
    raise UserError(
        f"{source.origin}: '{column}' holds {len(set(words))} different texts in {len(words)} rows. "
        f"Are they generated (--set generation={column}) or classes (--set kind=classification)?"
    )


def _one_text(source: Source, column: str, row: int) -> str:
    cell = source.columns[column][row]
    while isinstance(cell, (list, tuple)) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, (list, tuple, dict)):
        raise UserError(f"{source.where(row)}: '{column}' holds {len(cell)} texts, but a run gives one per example")
    return "" if is_missing(cell) else str(cell)


def _any_text(source: Source, column: str, row: int) -> str | tuple[str, ...]:
    """Return a reference, or several of which any will do."""
    cell = source.columns[column][row]
    if isinstance(cell, dict) and isinstance(cell.get("text"), (list, tuple)):
        cell = cell["text"]  # as SQuAD has its answers
    if isinstance(cell, (list, tuple, np.ndarray)):
        if not len(cell) or any(isinstance(one, (list, tuple, dict)) for one in cell):
            raise UserError(f"{source.where(row)}: '{column}' must be a text, or a list of texts of which any will do")
        return tuple(map(str, cell)) if len(cell) > 1 else str(cell[0])
    return "" if is_missing(cell) else str(cell)


def _answers(found: Draft) -> None:
    """Read labels and predicted classes, and number the classes that they name."""
    source = found.source
    if found.texts:
        return
    label = _settled(found, "labels", "label")
    prediction = _settled(found, "predictions", "prediction")
    if prediction is None:
        column = found.taken.fields.get("outputs")
        prediction = None if column is None or source.is_matrix(column) else column
    used = {one for columns in found.columns.values() for one in columns}
    if prediction is not None and (prediction in used or source.is_matrix(prediction)):
        prediction = None
    if label is not None and source.empty(label):
        found.notes.append(f"'{label}' is empty: there are no labels.")
        found.use("labels", label)
        label = None
    if prediction is not None and source.empty(prediction):
        found.use("predictions", prediction)
        found.diverged = True
        prediction = None
    if _regresses(found, label, prediction):
        return
    annotated(found)
    cells = {name: source.cells(column) for name, column in (("labels", label), ("predictions", prediction)) if column}
    if label is not None and source.is_matrix(label):
        found.arrays["labels"] = one_hot(source.array(label))
        found.use("labels", label)
        cells.pop("labels")
    outputs = found.arrays.get("logits", found.arrays.get("probabilities"))
    if found.names is None and outputs is None:
        name_words(found, cells)
    for name, column in (("labels", label), ("predictions", prediction)):
        if column is not None and name in cells:
            found.arrays[name] = encoded(found, name, column, cells[name])
            found.use(name, column)
    drop_unlabelled_numbers(found, outputs)


def _settled(found: Draft, name: str, key: str) -> str | None:
    """Return the column of a field; of several that say the same in other words the one that fits the outputs.

    Raises:
        UserError: Several say different things.
    """
    source, column = found.source, found.taken.fields.get(name)
    if column is None or source.is_matrix(column):
        return column
    if squashed(column) in _WEAK:
        return column
    used = {one for columns in found.columns.values() for one in columns}
    rivals = [one for one in found.taken.rivals.get(name, []) if squashed(one) not in _WEAK and one not in used]
    for rival in rivals:
        if source.is_matrix(rival) or source.empty(rival):
            continue
        first, other = (list(map(spelled, source.cells(one))) for one in (column, rival))
        pairs = set(zip(first, other, strict=False))
        if len(first) != len(other) or max(len({a for a, _ in pairs}), len({b for _, b in pairs})) < len(pairs):
            raise UserError(f"{source.origin}: '{column}' and '{rival}' differ: say which with --set {key}=NAME")
        if len({a for a, _ in pairs}) != len(pairs) or len({b for _, b in pairs}) != len(pairs):
            raise UserError(f"{source.origin}: '{column}' and '{rival}' differ: say which with --set {key}=NAME")
        # Of a number and a name the one in which the outputs name their classes.
        if source.numeric(rival) != source.numeric(column) and source.numeric(rival) == found.numbered:
            column = rival
    return column


def _regresses(found: Draft, label: str | None, prediction: str | None) -> bool:
    """Tell whether the run is one of a regression, and if so read its predictions as logits (N, 1).

    Raises:
        UserError: It may be one.
    """
    source = found.source
    targets = source.numbers(label) if label and not source.is_matrix(label) and source.numeric(label) else None
    logits = found.arrays.get("logits")
    real = targets is not None and bool(np.any(targets != np.floor(targets), where=np.isfinite(targets)))
    asked = found.regression or found.kind == "regression"
    if logits is not None:
        single = logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)
        if not single or not (asked or real):
            return False
        values = np.asarray(logits).reshape(-1, 1)
    elif "probabilities" in found.arrays or prediction is None or not source.numeric(prediction):
        return False
    else:
        values = source.numbers(prediction)[:, None]
        whole = np.isfinite(values) & (values == np.floor(values))
        if not asked and not real:
            if np.all(whole | ~np.isfinite(values)):
                return False
            binary = targets is None or set(targets[np.isfinite(targets)]) <= {0.0, 1.0}
            if binary:
                raise UserError(
                    f"{source.origin}: '{prediction}' holds fractions. Are they probabilities of class 1 "
                    f"(--set probability={prediction}), or those of a regression (--set kind=regression)?"
                )
        found.use("predictions", prediction)
    if real and not asked:
        found.notes.append(f"'{label}' holds fractions: the runs are taken as those of a regression.")
    found.kind = "regression"
    found.arrays["logits"] = values
    found.arrays.pop("predictions", None)
    if label is not None and targets is not None:
        found.arrays["labels"] = targets
        found.use("labels", label)
    return True


def _single(found: Draft) -> None:
    """Find a single column of probabilities where there are no others."""
    source, taken = found.source, found.taken
    if found.texts or found.kind == "regression" or found.arrays.keys() & {"logits", "probabilities"}:
        return
    used = {one for columns in found.columns.values() for one in columns}
    column = taken.fields.get("probabilities")
    pairs = [pair for pair in taken.classes.get("probabilities", []) if not is_summary(pair[0])]
    if column is not None:
        positive = "1" if found.choices.columns.get("probabilities") == column else None
    elif len(pairs) == 1:
        positive, column = spelled(pairs[0][0]), pairs[0][1]
    else:
        known = [one for one in taken.singles if one not in used and not source.is_matrix(one)]
        positive, column = None, known[0] if known else None
    if column is None or not source.numeric(column):
        return
    values = np.asarray(source.numbers(column), dtype=np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and np.all((values >= 0) & (values <= 1) | ~np.isfinite(values)):
        found.single = Single(column, values, positive)
