"""The classes of one run: their columns and names, and the conversion of labels and predictions to numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.columns import Choices, is_bare, is_summary
from steadytune.external.draft import Draft
from steadytune.external.sets import known_labels
from steadytune.external.source import Source, is_no_word, is_nothing, number, spelled
from steadytune.kinds import find_kind

# Marks of an example without a label: in many corpora, and in PyTorch for what a loss ignores.
NO_LABEL = (-1, -100)
# Share of rows in which a class without examples may have the highest output.
_OFTEN = 0.2
# One of each that is not a class but a statistic of all classes, see `is_summary`.
_OPPOSITES = ({"true", "false"}, {"correct", "incorrect"})
# For labels given as words: in an array file, and in a table.
_WAYS = ("give label_names", "name the columns of logits by class (logit_yes), or use --set classes=NAME,NAME")


def annotated(found: Draft) -> None:
    """Take the class names that an array file lists in order."""
    source, column = found.source, found.taken.fields.get("label_names")
    if column is None or source.table is not None:
        return
    values = source.columns[column]
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(listed, list) and not any(isinstance(one, (list, dict)) for one in listed):
        found.names, found.numbered = list(map(str, listed)), True
        found.use("label_names", column)


def one_hot(values: NDArray[Any]) -> NDArray[Any]:
    """Return the classes of one-hot labels (N, C), or the array unchanged, which is rejected later."""
    if values.ndim == 2 and values.shape[1] > 1 and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all():
        return np.asarray(values.argmax(axis=1))
    return values


def name_words(found: Draft, cells: dict[str, list[Any]]) -> None:
    """Name the classes of labels and predictions given as words, ignoring case."""
    predicted_words = {spelled(cell) for cell in cells.get("predictions", []) if cell is not None}
    given = {
        name: [cell for cell in listed if not is_no_word(cell) or spelled(cell) in predicted_words]
        for name, listed in cells.items()
    }
    every = [cell for listed in given.values() for cell in listed]
    numeric = {name: all(_class_number(cell) is not None for cell in listed) for name, listed in given.items()}
    if all(numeric.values()):
        return
    if any(numeric.values()) and not all(numeric.values()):
        column = {name: found.columns.get(name, [found.taken.fields.get(name, name)])[0] for name in cells}
        raise UserError(
            f"{found.source.origin}: '{column['labels']}' and '{column['predictions']}' name the classes differently "
            f"({_some(given['labels'])}; {_some(given['predictions'])}): rename the classes in one of them"
        )
    folded: dict[str, str] = {}
    # In the spelling of the labels, which all runs share.
    for word in [*sorted(set(map(spelled, given.get("labels", [])))), *sorted(set(map(spelled, every)))]:
        first = folded.setdefault(word.casefold(), word)
        if first != word:
            found.notes.append(f"'{word}' was read as '{first}', from which it differs only in case.")
    found.names, found.numbered = sorted(folded.values(), key=lambda word: (word.casefold(), word)), False


def _some(cells: list[Any]) -> str:
    words = list(dict.fromkeys(map(str, cells)))
    return ", ".join(words[:4]) + (", ..." if len(words) > 4 else "")


def encoded(found: Draft, name: str, column: str, cells: list[Any]) -> NDArray[Any]:
    """Return class numbers (N,); NaN for an example without a label."""
    source, names = found.source, found.names
    words = {word.casefold(): at for at, word in enumerate(names or ())}
    values = []
    for row, cell in enumerate(cells):
        word = spelled(cell)
        if is_nothing(cell) and word.casefold() not in words:
            if name == "predictions":
                raise UserError(f"{source.where(row)}: '{column}' is {'missing' if cell is None else cell}")
            values.append(np.nan)
        elif word.casefold() in words and (not found.numbered or number(cell) is None):
            values.append(float(words[word.casefold()]))
        elif found.numbered and (value := _class_number(cell)) is not None:
            values.append(value)
        elif names and not found.numbered:
            if number(cell) in NO_LABEL and name == "labels":
                values.append(np.nan)
                continue
            listed = f"--set classes={','.join(names)} if they are numbered in that order"
            hint = f": {listed}" if number(cell) is not None else ""
            raise UserError(
                f"{source.where(row)}: '{column}' is {cell!r}, which is not one of the classes {', '.join(names)}{hint}"
            )
        else:
            hint = "" if name != "labels" else "; for labels given as words "
            hint += "" if name != "labels" else _WAYS[source.table is not None]
            raise UserError(f"{source.where(row)}: '{column}' is {cell!r}, which is not a number{hint}")
    numbers = np.array(values, dtype=np.float64)
    whole = np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()
    return numbers.astype(np.int64) if whole else numbers


def check_counted_from_0(found: Draft, classes: int) -> None:
    """Reject labels 1 to C for outputs of classes 0 to C - 1.

    Raises:
        UserError: They are; names the option to set.
    """
    labels = found.arrays.get("labels")
    if found.names is None and labels is not None and set(np.unique(labels)) == set(range(1, classes + 1)):
        listed = ",".join(map(str, range(1, classes + 1)))
        raise UserError(
            f"{found.source.origin}: labels must be 0 to {classes - 1}, like the columns, but are 1 to {classes}: "
            f"if the first column belongs to class 1, use --set classes={listed}"
        )


def _class_number(cell: Any) -> float | None:
    """Return a class as a number, including "LABEL_1", the transformers name of an unnamed class."""
    match = re.fullmatch(r"LABEL_(\d+)", cell.strip()) if isinstance(cell, str) else None
    return number(cell) if match is None else float(match[1])


def settle_unlabelled(drafts: Sequence[Draft], choices: Choices) -> None:
    """Read -100 as no label, and -1 as no label or a class, as decided by all runs together.

    Raises:
        UserError: A label of -1 is ambiguous.
    """
    numbered = [
        found
        for found in drafts
        if not found.of.has_numbers and not found.texts and (found.names is None or found.numbered)
    ]
    labels, predicted = (_numbers(numbered, name) for name in ("labels", "predictions"))
    marks = labels & set(NO_LABEL)
    if -1 in predicted or (-1 in marks and choices.no_label == "never"):
        _number_anew(numbered, sorted((labels | predicted) - {-100}))
        marks -= {-1}
    elif -1 in marks and choices.no_label is None:
        widths = {width for found in numbered if (width := _width(found)) is not None}
        known = labels - set(NO_LABEL)
        # If every label is -1, there are no labels.
        if known and (widths == {len(known) + 1} or (not widths and predicted and known | predicted <= {0, 1})):
            first = next(found for found in numbered if -1 in _numbers([found], "labels"))
            raise UserError(
                f"{first.source.origin}: is -1 a class, or does it mean 'no label'?\n"
                "Use --set no_label=-1 to leave these examples out, or --set no_label=never if it is a class"
            )
    for found in numbered:
        array = found.arrays.get("labels")
        if array is not None and array.ndim == 1 and (none := np.isin(array, sorted(marks))).any():
            found.arrays["labels"] = np.where(none, np.nan, array)
            found.notes.append(
                f"A label of {' or '.join(f'{mark:g}' for mark in sorted(marks))} was read as 'no label'."
            )


def _numbers(drafts: Sequence[Draft], name: str) -> set[float]:
    arrays = [found.arrays[name] for found in drafts if name in found.arrays and found.arrays[name].ndim == 1]
    return {float(one) for array in arrays for one in np.unique(array) if np.isfinite(one)}


def _width(found: Draft) -> int | None:
    outputs = found.arrays.get("logits", found.arrays.get("probabilities"))
    return 2 if found.single is not None else None if outputs is None or outputs.ndim != 2 else int(outputs.shape[1])


def _number_anew(drafts: Sequence[Draft], classes: list[float]) -> None:
    """Renumber classes such as -1, 0, 1 as 0, 1, 2, keeping the original numbers as names."""
    for found in drafts:
        if (width := _width(found)) not in (None, len(classes)):
            listed = ", ".join(f"{one:g}" for one in classes)
            raise UserError(f"{found.source.origin}: {width} columns of outputs for {len(classes)} classes: {listed}")
        found.names, found.numbered = [f"{one:g}" for one in classes], False
        for name in ("labels", "predictions"):
            array = found.arrays.get(name)
            if array is not None and array.ndim == 1:
                known = np.isin(array, classes)
                moved = np.where(known, np.searchsorted(classes, np.where(known, array, classes[0])), np.nan)
                found.arrays[name] = moved.astype(np.int64) if known.all() else moved


def _label_words(found: Draft) -> set[str]:
    column = found.taken.fields.get("labels")
    if column is None or found.source.is_matrix(column):
        return set()
    return {spelled(cell) for cell in found.source.cells(column) if not is_no_word(cell)}


def class_columns(found: Draft, name: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the ordered (class, column) pairs of one kind of outputs; empty for a single column."""
    source = found.source
    numbered = sorted((pair for pair in pairs if pair[0].isdecimal()), key=lambda pair: int(pair[0]))
    named = sorted(pair for pair in pairs if not pair[0].isdecimal())
    if any(number(rest) is not None for rest, _ in named):
        # "prob_-1" and "prob_1".
        numbered, named = [], sorted(pairs, key=lambda pair: (number(pair[0]) or 0, pair[0]))
    if numbered:
        numbers = [int(rest) for rest, _ in numbered]
        if len(numbers) == 1 and numbers[0] in (0, 1):
            return []
        if numbers == list(range(len(numbers))):
            return numbered
        labels = set() if found.of.has_sets else _label_words(found)
        if numbers == list(range(1, len(numbers) + 1)) and (not labels or labels <= {str(one) for one in numbers}):
            _name_classes(found, [str(one) for one in numbers], source)
            return numbered
        listed = ", ".join(column for _, column in numbered)
        raise UserError(
            f"{source.origin}: columns {listed} must be {numbered[0][1][: -len(numbered[0][0])]}0 to "
            f"{numbered[0][1][: -len(numbered[0][0])]}{len(numbers) - 1}"
        )
    words = set() if found.of.has_sets else {label.casefold() for label in _label_words(found)}
    order = [word.casefold() for word in found.choices.classes]
    known = {*words, *order, *(known_labels(found, [rest.strip() for rest, _ in named]) if found.of.has_sets else ())}
    classes = [pair for pair in named if pair[0].strip().casefold() in known or not is_summary(pair[0])]
    if found.of.has_sets and not order and len(named) > 1 and (odd := [pair for pair in named if pair not in classes]):
        raise UserError(
            f"{source.origin}: is '{odd[0][1]}' the output of a label '{odd[0][0]}', which no example has, or a "
            f"statistic? If a label, list all of them with --set classes={','.join(rest for rest, _ in named)}; if "
            f"not, use --set ignore={odd[0][1]}"
        )
    if {rest.strip().casefold() for rest, _ in named} in _OPPOSITES:
        classes = named
    whole = name == "probabilities" and len(named) > 1 and _sum_to_one(source, named)
    if whole and not found.of.has_sets:
        classes = named
    if len(classes) < 2 or (not whole and all(is_bare(column) for _, column in classes)):
        return []
    if order:
        if sorted(order) != sorted(rest.strip().casefold() for rest, _ in classes):
            raise UserError(
                f"{source.origin}: its classes are {', '.join(rest for rest, _ in classes)}, not those of --set"
            )
        classes.sort(key=lambda pair: order.index(pair[0].strip().casefold()))
        found.names, found.numbered = [spelled(rest) for rest, _ in classes], True
        return classes
    _name_classes(found, [spelled(rest) for rest, _ in classes], source)
    unlabelled = [pair for pair in classes if words and pair[0].strip().casefold() not in words]
    if unlabelled:
        _check_unlabelled(found, classes, unlabelled, whole)
    return classes


def _sum_to_one(source: Source, pairs: list[tuple[str, str]]) -> bool:
    rows = np.stack([source.numbers(column) for _, column in pairs], axis=1)
    return bool(np.all(np.abs(np.nansum(rows, axis=1) - 1) < 0.02))


def _check_unlabelled(
    found: Draft, classes: list[tuple[str, str]], unlabelled: list[tuple[str, str]], whole: bool
) -> None:
    """Note classes without labelled examples, and ask about one that often has the highest output."""
    columns = ",".join(column for _, column in unlabelled)
    rows = np.stack([found.source.numbers(column) for _, column in classes], axis=1)
    odd = [at for at, pair in enumerate(classes) if pair in unlabelled]
    known = np.isfinite(rows).all(axis=1)
    share = float(np.isin(rows[known].argmax(axis=1), odd).mean()) if known.any() else 0.0
    sure = whole or find_kind(found.choices.kind).shared_classes
    if not sure and len(classes) - len(odd) > 1 and share > _OFTEN:
        raise UserError(
            f"{found.source.origin}: no example is labelled {columns}, yet it has the highest output in "
            f"{100 * share:.0f} % of the rows. Is it not a class (--set ignore={columns}), or is it one "
            "(--set kind=classification)?"
        )
    names = " or ".join(repr(rest) for rest, _ in unlabelled)
    found.notes.append(f"No example is labelled {names}. If it is not a class, use --set ignore={columns}.")


def _name_classes(found: Draft, names: list[str], source: Source) -> None:
    if found.names is not None and not found.numbered and found.names != names:
        raise UserError(
            f"{source.origin}: logits name the classes {', '.join(found.names)}, but probabilities {', '.join(names)}"
        )
    found.names, found.numbered = names, False
