"""One run of a file, as far as the file alone tells: which columns are what, and what their cells say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.columns import Choices, Taken, is_summary, squashed, take
from steadytune.external.source import Source, is_no_word, is_nothing, number, spelled
from steadytune.records.checks import Kind

# Written for an example without a label: by many corpora, and by PyTorch where a loss shall not look.
NO_LABEL = (-1, -100)
_WEAK = frozenset(["answer", "y", "true", "actual", "target", "targets"])
# More different texts than this, and nearly as many as examples, are no classes.
_MOST_CLASSES = 50


@dataclass
class Single:
    """One number per example that may be the probability of a class.

    Attributes:
        column: Its name.
        values: (N,).
        positive: The class that it belongs to, where its name or the user says so.
    """

    column: str
    values: NDArray[np.float64]
    positive: str | None


@dataclass
class Draft:
    """What is known of a run before the others are looked at.

    Attributes:
        source: Where it stands.
        taken: Its columns.
        choices: What the user said.
        regression: The user asked for a regression, or for a metric of one.
        arrays: Logits, probabilities and predictions.
        columns: What was read -> from which columns.
        names: Names of the classes, where labels and columns have any.
        numbered: The file numbers its classes itself.
        single: A column that may be a probability.
        texts: The run is one of generated texts.
        notes: What a reader should know.
    """

    source: Source
    taken: Taken
    choices: Choices
    regression: bool
    arrays: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    names: list[str] | None = None
    numbered: bool = True
    single: Single | None = None
    texts: bool = False
    kind: Kind | None = None
    notes: list[str] = field(default_factory=list)

    def use(self, what: str, *columns: str) -> None:
        """Remember that columns were read as something."""
        self.columns[what] = list(columns)

    @property
    def aside(self) -> list[str]:
        """Columns that were not read."""
        used = {column for columns in self.columns.values() for column in columns}
        return [name or "(no name)" for name in (*self.source.columns, *self.source.unread) if name not in used]


def draft(source: Source, choices: Choices, regression: bool) -> Draft:
    """Read the outputs and labels of one source.

    Raises:
        UserError: A cell is not what its column needs, or a column may be several things; names what settles it.
    """
    found = Draft(source, take(source.columns, choices, source.origin), choices, regression, kind=choices.kind)
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
        if column is not None and pairs:
            raise UserError(
                f"{source.origin} has '{column}' and '{pairs[0][1]}': leave one aside with --set ignore=NAME"
            )
        if column is not None:
            found.arrays[name] = _matrix(found, column)
            found.use(name, column)
        elif pairs and (classes := _classes(found, name, pairs)):
            found.arrays[name] = np.stack([_finite(source, column) for _, column in classes], axis=1)
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


def _finite(source: Source, column: str) -> NDArray[np.float64]:
    """Return a column of outputs; what is missing is NaN, which later shows a run that diverged or a cell at fault."""
    return source.numbers(column)


def _classes(found: Draft, name: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
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


def _label_words(found: Draft) -> set[str]:
    column = found.taken.fields.get("labels")
    if column is None or found.source.is_matrix(column):
        return set()
    return {spelled(cell) for cell in found.source.cells(column) if not is_no_word(cell)}


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
    return "" if cell is None or cell != cell else str(cell)


def _any_text(source: Source, column: str, row: int) -> str | tuple[str, ...]:
    """Return a reference, or several of which any will do."""
    cell = source.columns[column][row]
    if isinstance(cell, dict) and isinstance(cell.get("text"), (list, tuple)):
        cell = cell["text"]  # as SQuAD has its answers
    if isinstance(cell, (list, tuple, np.ndarray)):
        if not len(cell) or any(isinstance(one, (list, tuple, dict)) for one in cell):
            raise UserError(f"{source.where(row)}: '{column}' must be a text, or a list of texts of which any will do")
        return tuple(map(str, cell)) if len(cell) > 1 else str(cell[0])
    return "" if cell is None or cell != cell else str(cell)


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
    if prediction is not None and (prediction in sum(found.columns.values(), []) or source.is_matrix(prediction)):
        prediction = None
    if label is not None and source.empty(label):
        found.notes.append(f"'{label}' is empty: there are no labels.")
        found.use("labels", label)
        label = None
    if prediction is not None and source.empty(prediction):
        prediction = None
    if _regresses(found, label, prediction):
        return
    _annotated(found)
    cells = {name: source.cells(column) for name, column in (("labels", label), ("predictions", prediction)) if column}
    if label is not None and source.is_matrix(label):
        found.arrays["labels"] = _one_hot(source.array(label))
        found.use("labels", label)
        cells.pop("labels")
    outputs = found.arrays.get("logits", found.arrays.get("probabilities"))
    if found.names is None and outputs is None:
        _name_words(found, cells)
    for name, column in (("labels", label), ("predictions", prediction)):
        if column is not None and name in cells:
            found.arrays[name] = _encoded(found, name, column, cells[name])
            found.use(name, column)
    _drop_unlabelled_numbers(found, outputs)


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
    if logits is not None:
        single = logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)
        if not single or not (found.regression or real):
            return False
        values = np.asarray(logits).reshape(-1, 1)
    elif "probabilities" in found.arrays or prediction is None or not source.numeric(prediction):
        return False
    else:
        values = source.numbers(prediction)[:, None]
        whole = np.isfinite(values) & (values == np.floor(values))
        if not found.regression and not real:
            if np.all(whole | ~np.isfinite(values)):
                return False
            binary = targets is None or set(targets[np.isfinite(targets)]) <= {0.0, 1.0}
            if binary:
                raise UserError(
                    f"{source.origin}: '{prediction}' holds fractions. Are they probabilities of class 1 "
                    f"(--set probability={prediction}), or those of a regression (--set kind=regression)?"
                )
        found.use("predictions", prediction)
    if real and not found.regression:
        found.notes.append(f"'{label}' holds fractions: the runs are taken as those of a regression.")
    found.kind = "regression"
    found.arrays["logits"] = values
    found.arrays.pop("predictions", None)
    if label is not None and targets is not None:
        found.arrays["labels"] = targets
        found.use("labels", label)
    return True


def _annotated(found: Draft) -> None:
    """Take the names of the classes that a file of arrays lists in their order."""
    source, column = found.source, found.taken.fields.get("label_names")
    if column is None or source.table is not None:
        return
    values = source.columns[column]
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(listed, list) and not any(isinstance(one, (list, dict)) for one in listed):
        found.names, found.numbered = list(map(str, listed)), True
        found.use("label_names", column)


def _one_hot(values: NDArray[Any]) -> NDArray[Any]:
    """Return the classes of labels (N, C) with one 1 in each row, or the array as it is, which is refused later."""
    if values.ndim == 2 and values.shape[1] > 1 and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all():
        return np.asarray(values.argmax(axis=1))
    return values


def _name_words(found: Draft, cells: dict[str, list[Any]]) -> None:
    """Name the classes of labels and predictions in words; small and capital letters are one class."""
    predicted_words = {spelled(cell) for cell in cells.get("predictions", []) if cell is not None}
    given = {
        name: [
            cell for cell in listed if not is_no_word(cell) or (cell is not None and spelled(cell) in predicted_words)
        ]
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


def _encoded(found: Draft, name: str, column: str, cells: list[Any]) -> NDArray[Any]:
    """Return the numbers of classes (N,); NaN for an example without a label."""
    source, names = found.source, found.names
    words = {word.casefold(): at for at, word in enumerate(names or ())}
    values = []
    for row, cell in enumerate(cells):
        word = spelled(cell)
        if is_nothing(cell) and word.casefold() not in words:
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
            hint = "; name the columns of logits by class (logit_yes) for labels in words" if name == "labels" else ""
            raise UserError(f"{source.where(row)}: '{column}' is {cell!r}, which is no number{hint}")
    return np.array(values)


def _drop_unlabelled_numbers(found: Draft, outputs: NDArray[Any] | None) -> None:
    """Take -1 and -100 as no label, where no class is numbered so."""
    labels = found.arrays.get("labels")
    if labels is None or labels.ndim != 1 or labels.dtype.kind != "f" or (found.names and not found.numbered):
        return
    if outputs is None and "predictions" not in found.arrays:
        return
    found.arrays["labels"] = np.where(np.isin(labels, NO_LABEL), np.nan, labels)


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
