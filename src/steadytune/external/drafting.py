"""Reading one run of a file by itself: the meaning of its columns and cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.classes import (
    annotated,
    check_counted_from_0,
    class_columns,
    encoded,
    name_words,
    one_hot,
)
from steadytune.external.columns import Choices, is_summary, squashed, take
from steadytune.external.draft import Draft, Single
from steadytune.external.sets import are_answers, ask_of_sets, check_in_order, read_sets
from steadytune.external.source import Source, is_nothing, read_list, spelled
from steadytune.records.checks import check_kind
from steadytune.tasks.table import is_missing

_WEAK = frozenset(["answer", "y", "true", "actual", "target", "targets"])
# More distinct texts than this, and nearly as many as examples, are not classes.
_MOST_CLASSES = 50
# More than this, with hardly any duplicates, are not classes either.
_FEW_CLASSES = 10


def draft(source: Source, choices: Choices, regression: bool) -> Draft:
    """Read the outputs and labels of one source.

    Raises:
        UserError: A cell does not fit its column, or a column is ambiguous; names the option that settles it.
    """
    found = Draft(source, take(source.columns, choices, source.origin), choices, regression, kind=choices.kind)
    found.notes += source.notes
    if source.table is not None:
        found.notes += [f"A table: {note}." for note in source.table.notes]
    if (stated := found.word("kind")) is not None and found.kind is None:
        check_kind(source.origin, stated)
        found.kind = stated
    _outputs(found)
    _texts(found)
    if source.table is not None and found.of.has_sets and not found.texts:
        read_sets(found)
    else:
        _answers(found)
    _single(found)
    return found


def _outputs(found: Draft) -> None:
    source, taken = found.source, found.taken
    for name in ("logits", "probabilities"):
        pairs = taken.classes.get(name, [])
        column = taken.fields.get(name)
        if column is not None and not source.is_matrix(column):
            if name == "logits" and column not in found.choices.columns.values() and source.table is not None and pairs:
                column = None
            elif name == "probabilities":
                continue
        if column is not None and len([pair for pair in pairs if not is_summary(pair[0])]) < 2:
            pairs = []
        if column is not None and pairs:
            raise UserError(
                f"{source.origin} has both '{column}' and '{pairs[0][1]}': ignore one with --set ignore=NAME"
            )
        if column is not None:
            found.arrays[name] = _matrix(found, column)
            found.use(name, column)
        elif pairs:
            _class_outputs(found, name, pairs)
    generic = taken.fields.get("predictions") or taken.fields.get("outputs")
    if not found.arrays.keys() & {"logits", "probabilities"}:
        for column in filter(None, (generic, *(one for one in taken.singles if squashed(one) in ("scores", "prob")))):
            if source.is_matrix(column) and not are_answers(found, column):
                name = "probabilities" if squashed(column) == "prob" else "logits"
                found.arrays[name] = source.array(column)
                found.use(name, column)
                break


def _class_outputs(found: Draft, name: str, pairs: list[tuple[str, str]]) -> None:
    """Read outputs with a column for each class, or the logit of class 1 of two."""
    source = found.source
    if name == "logits" and len(pairs) == 1 and pairs[0][0] == "1":
        found.arrays[name] = source.numbers(pairs[0][1])[:, None]
        found.use(name, pairs[0][1])
    elif classes := class_columns(found, name, pairs):
        ask_of_sets(found, [name for name, _ in classes])
        columns = [source.numbers(column) for _, column in classes]
        _check_complete(source, [column for _, column in classes], columns)
        found.arrays[name] = np.stack(columns, axis=1)
        found.use(name, *(column for _, column in classes))


def _matrix(found: Draft, column: str) -> NDArray[Any]:
    if found.source.is_matrix(column) or found.source.table is None:
        return found.source.array(column)
    return found.source.numbers(column)


def _check_complete(source: Source, names: list[str], columns: list[NDArray[np.float64]]) -> None:
    """Reject outputs with missing values; if all are missing, the run diverged.

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
    """Decide whether the run consists of generated texts, and read them and their references."""
    source, fields = found.source, found.taken.fields
    if found.arrays:
        return
    generated = fields.get("generations")
    for name in ("predictions", "outputs"):
        column = fields.get(name)
        if generated is None and column is not None and not source.numeric(column):
            wanted = found.of.has_texts or "references" in fields or _free_text(found, column)
            generated = column if wanted or (name == "outputs" and "predictions" not in fields) else None
            if generated is not None:
                _ask_of_few_words(found, column)
    if generated is None:
        return
    found.texts = True
    found.arrays["generations"] = [_one_text(source, generated, row) for row in range(len(source.cells(generated)))]
    found.use("generations", generated)
    reference = fields.get("references") or fields.get("labels")
    if reference is not None:
        cells = _lists_in_text(found, reference)
        found.arrays["references"] = [_any_text(source, reference, row, cell) for row, cell in enumerate(cells)]
        found.use("references", reference)


def _ask_of_few_words(found: Draft, column: str) -> None:
    """Ask about predictions with as few values as classes although their column is named like texts.

    Raises:
        UserError: They may be either.
    """
    source, fields = found.source, found.taken.fields
    words = {spelled(cell) for cell in source.cells(column) if not is_nothing(cell)}
    if found.of.has_texts or len(words) > _FEW_CLASSES or 4 * len(words) > len(source.cells(column)):
        return
    right = fields.get("labels") or fields.get("references")
    label = f" --set label={right}" if right is not None else ""
    raise UserError(
        f"{source.origin}: '{column}' holds {len(words)} different texts in {len(source.cells(column))} rows. Are they "
        f"classes (--set prediction={column}{label}), or generated (--set kind=generation)?"
    )


def _lists_in_text(found: Draft, column: str) -> list[Any]:
    """Return a column's cells, parsed if every one is a list written as text, as by pandas."""
    cells = list(found.source.columns[column])
    listed = [None if is_missing(cell) else read_list(cell) for cell in cells]
    if all(is_missing(cell) or one is not None for cell, one in zip(cells, listed, strict=True)) and any(listed):
        found.notes.append(f"'{column}' contains lists written as text: any text of a list counts as right.")
        return [one or [""] for one in listed]
    return cells


def _free_text(found: Draft, column: str) -> bool:
    """Return whether predictions are texts rather than classes: hardly any duplicates.

    Raises:
        UserError: They may be either.
    """
    source = found.source
    words = [spelled(cell) for cell in source.cells(column) if not is_nothing(cell)]
    if len(set(words)) <= max(_MOST_CLASSES, len(words) // 2) or found.of.shared_classes:
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
        raise UserError(f"{source.where(row)}: '{column}' has {len(cell)} texts, but a run must give one per example")
    return "" if is_missing(cell) else str(cell)


def _any_text(source: Source, column: str, row: int, cell: Any) -> str | tuple[str, ...]:
    """Return a reference, or several accepted ones."""
    if isinstance(cell, dict) and isinstance(cell.get("text"), (list, tuple)):
        cell = cell["text"]  # as SQuAD has its answers
    if isinstance(cell, (list, tuple, np.ndarray)):
        if not len(cell) or any(isinstance(one, (list, tuple, dict)) for one in cell):
            raise UserError(f"{source.where(row)}: '{column}' must be a text, or a list of accepted texts")
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
    label, prediction = _in_one_way(found, label, prediction)
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
        check_in_order(found, label)
        labels = source.array(label)
        found.arrays["labels"] = labels if found.of.has_sets else one_hot(labels)
        found.use("labels", label)
        cells.pop("labels")
    outputs = found.arrays.get("logits", found.arrays.get("probabilities"))
    if found.names is None and outputs is None:
        name_words(found, cells)
    elif found.names is None and found.choices.classes:
        found.names, found.numbered = list(found.choices.classes), False
    for name, column in (("labels", label), ("predictions", prediction)):
        if column is not None and name in cells:
            found.arrays[name] = encoded(found, name, column, cells[name])
            found.use(name, column)
    if outputs is not None and outputs.ndim == 2:
        check_counted_from_0(found, outputs.shape[1])


def _in_one_way(found: Draft, label: str | None, prediction: str | None) -> tuple[str | None, str | None]:
    """For labels and predictions given both as numbers and as words, use words for both or numbers for both."""
    source, rivals = found.source, found.taken.rivals
    if label is None or prediction is None or found.arrays or source.is_matrix(label) or source.is_matrix(prediction):
        return label, prediction
    if source.numeric(label) == source.numeric(prediction):
        return label, prediction

    def other(name: str, chosen: str, like: str) -> str | None:
        known = [one for one in (found.taken.fields.get(name, chosen), *rivals.get(name, [])) if one != chosen]
        same = [one for one in known if not source.is_matrix(one) and source.numeric(one) == source.numeric(like)]
        return next((one for one in same if not source.empty(one) and _translated(source, chosen, one)), None)

    if (better := other("labels", label, prediction)) is not None:
        return better, prediction
    return label, (
        other("predictions", prediction, label) if "predictions" in found.taken.fields else None
    ) or prediction


def _translated(source: Source, column: str, other: str) -> bool:
    """Return whether the values of two columns correspond one to one."""
    pairs = set(zip(map(spelled, source.cells(column)), map(spelled, source.cells(other)), strict=True))
    return len({one for one, _ in pairs}) == len(pairs) == len({two for _, two in pairs})


def _settled(found: Draft, name: str, key: str) -> str | None:
    """Return the column of a field; of several equivalent ones the one that fits the outputs.

    Raises:
        UserError: Several contradict each other.
    """
    source, column = found.source, found.taken.fields.get(name)
    if column is None or source.is_matrix(column):
        return column
    used = {one for columns in found.columns.values() for one in columns}
    for rival in [one for one in found.taken.rivals.get(name, []) if one not in used]:
        if source.is_matrix(rival) or source.empty(rival):
            continue
        first, other = ([spelled(cell).casefold() for cell in source.cells(one)] for one in (column, rival))
        pairs = set(zip(first, other, strict=False))
        ours, theirs = {a for a, _ in pairs}, {b for _, b in pairs}
        same = all(a == b for a, b in pairs)
        if squashed(rival) in _WEAK and (len(theirs) < 2 or not (ours <= theirs or theirs <= ours)):
            # For example the text of an answer beside a label.
            continue
        # Equivalent columns correspond one to one; columns that share only some values contradict each other.
        translated = not ours & theirs and len(ours) == len(pairs) == len(theirs)
        if len(first) != len(other) or not (same or translated):
            way = f"choose one with --set {key}=NAME"
            if name == "labels" and "predictions" not in found.taken.fields:
                way += ", and use --set prediction=NAME if the other is the prediction"
            raise UserError(f"{source.origin}: '{column}' and '{rival}' differ: {way}")
        # Of a number and a name, the form used by the outputs.
        if source.numeric(rival) != source.numeric(column) and source.numeric(rival) == found.numbered:
            column = rival
    return column


def _regresses(found: Draft, label: str | None, prediction: str | None) -> bool:
    """Decide whether the run is a regression, and if so read its predictions as logits (N, 1).

    Raises:
        UserError: It may be one.
    """
    source = found.source
    targets = source.numbers(label) if label and not source.is_matrix(label) and source.numeric(label) else None
    logits = found.arrays.get("logits")
    real = targets is not None and bool(np.any(targets != np.floor(targets), where=np.isfinite(targets)))
    asked = found.regression or found.of.has_numbers
    if logits is not None:
        single = logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)
        if single and not (asked or real):
            ones = logits.reshape(-1, 1)
            # With one logit for two classes, that of the other is 0. This is not certain: `cohort._kind` asks.
            two = found.of.shared_classes
            found.arrays["logits"] = np.concatenate([np.zeros_like(ones), ones], axis=1) if two else logits
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
                _ask_of_many(found, prediction, targets)
                return False
            binary = targets is None or set(targets[np.isfinite(targets)]) <= {0.0, 1.0}
            if binary:
                raise UserError(
                    f"{source.origin}: '{prediction}' contains fractions. Are they probabilities of class 1 "
                    f"(--set probability={prediction}), or predictions of a regression (--set kind=regression)?"
                )
        found.use("predictions", prediction)
    if real and not asked:
        found.notes.append(f"'{label}' contains fractions: the runs were read as a regression.")
    found.kind = found.kind if found.of.has_numbers else "regression"
    found.arrays["logits"] = values
    found.arrays.pop("predictions", None)
    if label is not None and targets is not None:
        found.arrays["labels"] = targets
        found.use("labels", label)
    return True


def _ask_of_many(found: Draft, prediction: str, targets: NDArray[np.float64] | None) -> None:
    """Ask about many distinct integers: classes, targets such as an age, or short answers.

    Raises:
        UserError: They may be either.
    """
    if found.of.shared_classes:
        return
    column, numbers = (prediction, found.source.numbers(prediction)) if targets is None else ("the labels", targets)
    different = len(np.unique(numbers[np.isfinite(numbers)]))
    if different > _MOST_CLASSES or (different > _FEW_CLASSES and 2 * different > len(numbers)):
        raise UserError(
            f"{found.source.origin}: {column} have {different} different integers in {len(numbers)} rows. Are "
            f"they classes (--set kind=classification), targets (--set kind=regression) or texts "
            f"(--set generation={prediction})?"
        )


def _single(found: Draft) -> None:
    """Find a single column of probabilities if there are no others."""
    source, taken = found.source, found.taken
    if found.texts or found.of.has_numbers or found.arrays.keys() & {"logits", "probabilities"}:
        return
    used = {one for columns in found.columns.values() for one in columns}
    column = taken.fields.get("probabilities")
    pairs = [pair for pair in taken.classes.get("probabilities", []) if not is_summary(pair[0])]
    if column is not None:
        stated = "1" if found.choices.columns.get("probabilities") == column and not found.names else None
        positive = found.choices.positive or stated
    elif len(pairs) == 1:
        positive, column = spelled(pairs[0][0]), pairs[0][1]
    else:
        known = [one for one in taken.singles if one not in used and not source.is_matrix(one)]
        positive, column = found.choices.positive, known[0] if known else None
    if column is None or not source.numeric(column):
        return
    values = np.asarray(source.numbers(column), dtype=np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and np.all((values >= 0) & (values <= 1) | ~np.isfinite(values)):
        found.single = Single(column, values, positive)
