"""The classes of one run: which columns are classes, what they are called, and labels and predictions as numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.columns import is_summary
from steadytune.external.draft import Draft
from steadytune.external.source import Source, is_no_word, is_nothing, number, spelled

# Written for an example without a label: by many corpora, and by PyTorch where a loss shall not look.
NO_LABEL = (-1, -100)
# For labels in words: in a file of arrays, and in a table.
_WAYS = ("give label_names", "name the columns of logits by class (logit_yes)")


def annotated(found: Draft) -> None:
    """Take the names of the classes that a file of arrays lists in their order."""
    source, column = found.source, found.taken.fields.get("label_names")
    if column is None or source.table is not None:
        return
    values = source.columns[column]
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(listed, list) and not any(isinstance(one, (list, dict)) for one in listed):
        found.names, found.numbered = list(map(str, listed)), True
        found.use("label_names", column)


def one_hot(values: NDArray[Any]) -> NDArray[Any]:
    """Return the classes of labels (N, C) with one 1 in each row, or the array as it is, which is refused later."""
    if values.ndim == 2 and values.shape[1] > 1 and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all():
        return np.asarray(values.argmax(axis=1))
    return values


def name_words(found: Draft, cells: dict[str, list[Any]]) -> None:
    """Name the classes of labels and predictions in words; small and capital letters are one class."""
    predicted_words = {spelled(cell) for cell in cells.get("predictions", []) if cell is not None}
    given = {
        name: [cell for cell in listed if not is_no_word(cell) or spelled(cell) in predicted_words]
        for name, listed in cells.items()
    }
    every = [cell for listed in given.values() for cell in listed]
    numeric = {name: all(number(cell) is not None for cell in listed) for name, listed in given.items()}
    predicted = {number(cell) for cell in given.get("predictions", [])}
    if all(numeric.values()) and not any(value is not None and value < 0 for value in predicted):
        return
    if any(numeric.values()) and not all(numeric.values()):
        column = {name: found.columns.get(name, [found.taken.fields.get(name, name)])[0] for name in cells}
        raise UserError(
            f"{found.source.origin}: '{column['labels']}' and '{column['predictions']}' name the classes differently "
            f"({_some(given['labels'])}; {_some(given['predictions'])}): one of them must be translated"
        )
    words = dict.fromkeys(map(spelled, every))
    folded: dict[str, str] = {}
    counts = Counter(map(spelled, every))
    for word in sorted(words, key=lambda one: (-counts[one], one)):
        first = folded.setdefault(word.casefold(), word)
        if first != word:
            found.notes.append(f"'{word}' is read as '{first}', from which it differs in capital letters alone.")
    found.names, found.numbered = sorted(folded.values()), False


def _some(cells: list[Any]) -> str:
    words = list(dict.fromkeys(map(str, cells)))
    return ", ".join(words[:4]) + (", ..." if len(words) > 4 else "")


def encoded(found: Draft, name: str, column: str, cells: list[Any]) -> NDArray[Any]:
    """Return the numbers of classes (N,); NaN for an example without a label."""
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
        elif found.numbered and (value := number(cell)) is not None:
            values.append(value)
        elif names and not found.numbered:
            if number(cell) in NO_LABEL and name == "labels":
                values.append(np.nan)
                continue
            raise UserError(
                f"{source.where(row)}: '{column}' is {cell!r}, which is none of the classes {', '.join(names)}"
            )
        else:
            hint = "" if name != "labels" else "; for labels in words "
            hint += "" if name != "labels" else _WAYS[source.table is not None]
            raise UserError(f"{source.where(row)}: '{column}' is {cell!r}, which is no number{hint}")
    numbers = np.array(values, dtype=np.float64)
    whole = np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()
    return numbers.astype(np.int64) if whole else numbers


def drop_unlabelled_numbers(found: Draft, outputs: NDArray[Any] | None) -> None:
    """Take -1 and -100 as no label, where no class is numbered so."""
    labels = found.arrays.get("labels")
    if labels is None or labels.ndim != 1 or (found.names and not found.numbered):
        return
    if outputs is None and "predictions" not in found.arrays:
        return
    if np.isin(labels, NO_LABEL).any():
        found.arrays["labels"] = np.where(np.isin(labels, NO_LABEL), np.nan, labels)


def _label_words(found: Draft) -> set[str]:
    column = found.taken.fields.get("labels")
    if column is None or found.source.is_matrix(column):
        return set()
    return {spelled(cell) for cell in found.source.cells(column) if not is_no_word(cell)}


def class_columns(found: Draft, name: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the (class, column) pairs of one kind of outputs in their order; none for a single column."""
    source = found.source
    numbered = sorted((pair for pair in pairs if pair[0].isdecimal()), key=lambda pair: int(pair[0]))
    named = sorted(pair for pair in pairs if not pair[0].isdecimal())
    if numbered:
        numbers = [int(rest) for rest, _ in numbered]
        if len(numbers) == 1 and name == "probabilities":
            return []
        if numbers == list(range(len(numbers))):
            return numbered
        labels = _label_words(found)
        if numbers == list(range(1, len(numbers) + 1)) and (not labels or labels <= {str(one) for one in numbers}):
            _name_classes(found, [str(one) for one in numbers], source)
            return numbered
        listed = ", ".join(column for _, column in numbered)
        raise UserError(
            f"{source.origin}: columns {listed} must be {numbered[0][1][: -len(numbered[0][0])]}0 to "
            f"{numbered[0][1][: -len(numbered[0][0])]}{len(numbers) - 1}"
        )
    labels = _label_words(found)
    classes = [pair for pair in named if spelled(pair[0]) in labels or not is_summary(pair[0])]
    if name == "probabilities" and len(classes) < len(named):
        rows = np.stack([source.numbers(column) for _, column in named], axis=1)
        if np.all(np.abs(np.nansum(rows, axis=1) - 1) < 0.02):
            classes = named
    if len(classes) < 2:
        return []
    _name_classes(found, [spelled(rest) for rest, _ in classes], source)
    if unlabelled := [rest for rest, _ in classes if labels and spelled(rest) not in labels]:
        found.notes.append(f"No example is labelled {' or '.join(map(repr, unlabelled))}.")
    return classes


def _name_classes(found: Draft, names: list[str], source: Source) -> None:
    if found.names is not None and not found.numbered and found.names != names:
        raise UserError(
            f"{source.origin}: logits name the classes {', '.join(found.names)}, probabilities {', '.join(names)}"
        )
    found.names, found.numbered = names, False
