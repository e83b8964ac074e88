"""Validation of a run's arrays, shared by cohorts made from arrays and files of runs trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import DEFAULT, KINDS, Kind
from steadytune.measures.candidates import LOG_ROUNDING, check_candidates
from steadytune.measures.inputs import to_array
from steadytune.records.arrays import OF_TOKENS, RunArrays

# Probabilities stored as bfloat16 are off by up to 2^-8 = .0039 in their sum.
_SUM_TOLERANCE = 0.005
# More than the error of a softmax in single precision printed with a few decimals.
SAME = 0.011
EXACT = 1e-3
_MOST_DECIMALS = 4


def inferred_kind(run: Any) -> str:
    """Return the kind of a run or cohort that does not state it: "generation" with texts or arrays of tokens."""
    of_texts = any(getattr(run, name) is not None for name in ("generations", *OF_TOKENS))
    return "generation" if of_texts else DEFAULT


def check_kind(origin: str, kind: str) -> None:
    """Reject an unknown kind.

    Raises:
        UserError: The kind is unknown; names the origin and the closest kind.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{origin}: {KINDS.unknown(str(kind))}")


def check_facts(cohort: Any) -> None:
    """Reject names, lists and numbers of a cohort that are something else.

    Raises:
        UserError: One of them is; names it.
    """
    for name in ("model", "task", "recipe", "metric", "examples"):
        if not isinstance(getattr(cohort, name), str):
            raise UserError(f"{name} must be a text, not {getattr(cohort, name)!r:.60}")
    for name in ("notes", "lost", "label_names"):
        if getattr(cohort, name) is not None:
            read_list(getattr(cohort, name), name)
    if not isinstance(cohort.frozen_encoder, (bool, np.bool_)):
        raise UserError(f"frozen_encoder must be True or False, not {cohort.frozen_encoder!r:.60}")
    if not isinstance(cohort.read, Mapping):
        raise UserError(f"read must be a mapping, not {cohort.read!r:.60}")
    if cohort.majority_score is not None and not isinstance(cohort.majority_score, Real):
        raise UserError(f"majority_score must be a number, not {cohort.majority_score!r:.60}")


def read_list(values: Any, name: str) -> list[Any]:
    """Convert one value per run or example to a list.

    Raises:
        UserError: It is a single value, such as a text; the error calls it `name`.
    """
    try:
        if not isinstance(values, str):
            return list(values)
    except TypeError:
        pass
    raise UserError(f"{name} must be a list, not {values!r:.60}")


def read_array(values: Any, name: str) -> NDArray[Any]:
    """Convert anything array-like to a NumPy array of real numbers, without a copy if possible.

    True and false become 1 and 0.

    Raises:
        UserError: It is ragged or not of real numbers; the error calls it `name`.
    """
    try:
        array = to_array(values, name)
    except ValueError as error:
        raise UserError(str(error)) from None
    return array.astype(np.int8) if array.dtype == bool else array


def read_flags(values: Any, name: str) -> NDArray[np.bool_]:
    """Convert one truth value per run to an array; one of them is returned as it is.

    Raises:
        UserError: They are no list of True and False; the error calls it `name`.
    """
    if isinstance(values, np.ndarray) and values.dtype == bool and values.ndim == 1:
        return values
    listed = read_list(values, name)
    # Equality holds for 0, 1, NumPy's and torch's scalars, and for no text.
    wrong = [value for value in listed if isinstance(value, str) or np.ndim(value) or value not in (False, True)]
    if wrong:
        raise UserError(f"{name} must be True or False for each run, not {wrong[0]!r:.60}")
    return np.array([bool(value) for value in listed], dtype=bool)


def read_exact(value: Any, name: str) -> int:
    """Convert the number of words of the exact part.

    Raises:
        UserError: It is no whole number; the error calls it `name`.
    """
    number = read_array(value, name)
    if number.size != 1 or float(number.reshape(-1)[0]) % 1:
        raise UserError(
            f"{name} must be a whole number, that of the words whose probability is exact, not {value!r:.60}"
        )
    return int(number.reshape(-1)[0])


def read_groups(values: Any, name: str = "groups") -> NDArray[Any]:
    """Convert group numbers or names to an array of numbers; names are numbered in their order.

    Raises:
        UserError: As `read_array`.
    """
    listed = read_list(values, name)
    if listed and all(isinstance(one, str) for one in listed):
        return np.unique(np.array(listed, dtype=np.str_), return_inverse=True)[1].astype(np.int64)
    return read_array(values, name)


def are_probabilities(logits: NDArray[Any], of: Kind) -> bool:
    """Return whether the logits of a run are actually probabilities: in [0, 1] and summing to 1 in every row.

    Those of sets of labels need not sum to 1; logits, which are negative where a label is absent, never lie there.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or not values.size or not np.isfinite(values).all():
        return False
    if (within := of.shares(values)) is not None:
        return bool(within.all())
    sums = np.abs(values.sum(axis=1) - 1)
    return bool(((values >= 0) & (values <= 1)).all() and (sums <= max(EXACT, rounding(values))).all())


def rounding(values: NDArray[np.float64]) -> float:
    """Return the rounding error that a row's sum may have, given the decimals of its values; 0 if not rounded."""
    for decimals in range(1, _MOST_DECIMALS + 1):
        if np.all(np.abs(values - np.round(values, decimals)) < 1e-9):
            return float(values.shape[1] * 0.5 * 10.0**-decimals + 1e-9)
    return 0.0


def check_agreement(logits: NDArray[Any] | None, probabilities: NDArray[Any], of: Kind) -> None:
    """Reject probabilities that do not follow from the accompanying logits (N, C).

    Raises:
        ValueError: They are not; names the first row.
    """
    if logits is None or not np.isfinite(logits).all():
        return
    if logits.shape != probabilities.shape:
        raise ValueError(f"logits have shape {logits.shape}, but probabilities have shape {probabilities.shape}")
    followed = of.probabilities(logits)
    if followed is None:
        return
    if (wrong := np.flatnonzero(np.abs(followed - probabilities).max(axis=1) > SAME)).size:
        row = wrong[0]
        raise ValueError(
            f"logits and probabilities contradict each other, first in row {row}: the logits give "
            f"{_row(followed[row])}, not {_row(probabilities[row])}. Leave one of them out"
        )


def _row(values: NDArray[np.float64]) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values[:4])
    return f"({shown}{', ...' if len(values) > 4 else ''})"


def check_run(run: RunArrays, kind: str) -> None:
    """Reject arrays of one run that are inconsistent or cannot be measured.

    Whether representations are finite is checked by `check_finite`.

    Raises:
        UserError: They are; names the origin, the array and the axis.
    """
    check_kind(run.origin, kind)
    of = KINDS[kind]
    try:
        of_texts = [name for name in ("generations", *OF_TOKENS) if getattr(run, name) is not None]
        if of_texts and not of.has_texts:
            raise ValueError(f"{' and '.join(of_texts)} belong to kind 'generation', not '{kind}'")
        if run.labels is not None:
            _check_labels(run.labels, of)
        for name, outputs in (("logits", run.logits), ("probabilities", run.probabilities)):
            if outputs is not None:
                of.check_outputs(name, outputs)
                _check_finite_outputs(name, outputs)
                if run.labels is not None and len(run.labels) != len(outputs):
                    raise ValueError(
                        f"labels must have shape ({len(outputs)},), one for each row of {name}, not {run.labels.shape}"
                    )
                of.check_labels(run.labels, run.label_names, name, outputs)
                _check_rows(name, outputs, run.representations, of)
        if run.probabilities is not None:
            _check_probabilities(run.probabilities, of)
            check_agreement(run.logits, run.probabilities, of)
        if run.predictions is not None:
            _check_predictions(run, of)
        _check_groups(run.groups, run.questions)
        if run.credit is not None and (run.credit.ndim != 1 or not np.isfinite(run.credit).all()):
            raise ValueError("credit must be finite numbers of shape (examples,)")
        states = run.representations
        if states is not None and (states.ndim != 3 or not states.size):
            raise ValueError(f"representations must have shape (layers, examples, width), not {states.shape}")
        if run.generations is not None:
            _check_texts(run.generations, run.references)
        _check_tokens(run)
        _check_number_of_examples(run, of)
        if run.ids is not None:
            _check_ids(run.ids)
    except ValueError as error:
        raise UserError(f"{run.origin}: {error}") from None


def check_finite(origin: str, representations: NDArray[Any]) -> None:
    """Reject representations (L, rows, D) that are not finite, one layer at a time so that a mapped file stays on disk.

    Raises:
        UserError: They are not; names the origin and the layer, counted from 1.
    """
    for layer, states in enumerate(representations, start=1):
        if not np.isfinite(states).all():
            raise UserError(
                f"{origin}: representations contain NaN or infinity at layer {layer}. Half precision ends at 65504: "
                "store them in single precision, or leave out a run that diverged"
            )


def _check_finite_outputs(name: str, outputs: NDArray[Any]) -> None:
    if not np.isfinite(outputs).all():
        row = np.argwhere(~np.isfinite(outputs))[0][0]
        raise ValueError(f"{name} contain NaN or infinity, first in row {row}: a diverged run cannot be measured")


def _check_predictions(run: RunArrays, of: Kind) -> None:
    """Reject predictions that are not classes, or that contradict logits or probabilities."""
    predictions, outputs = np.asarray(run.predictions), run.outputs
    if of.has_sets:
        raise ValueError(
            f"predictions of kind '{of.name}' say nothing of how sure a run is: give logits or probabilities of shape "
            "(examples, labels)"
        )
    if not of.has_classes:
        raise ValueError(
            f"predictions must be classes, and kind '{of.name}' has none: give its outputs as logits of shape "
            "(examples, 1)"
        )
    if predictions.ndim != 1 or not len(predictions):
        raise ValueError(f"predictions must have shape (examples,), one class for each, not {predictions.shape}")
    # NaN fails both comparisons.
    if len(wrong := np.flatnonzero(~((predictions >= 0) & (predictions == np.floor(predictions))))):
        raise ValueError(f"predictions must be class numbers from 0, but row {wrong[0]} has {predictions[wrong[0]]:g}")
    if outputs is None:
        labels = run.labels
        if labels is not None and len(wrong := np.flatnonzero((labels < 0) | (labels != np.floor(labels)))):
            raise ValueError(f"labels must be class numbers from 0, but row {wrong[0]} has {labels[wrong[0]]:g}")
        largest = max(predictions.max(), -1 if labels is None else labels.max(initial=-1))
        if run.label_names is not None and largest >= len(run.label_names):
            raise ValueError(
                f"{len(run.label_names)} label_names, but there is a class {largest:g}: give one per class"
            )
        return
    if len(predictions) != len(outputs):
        raise ValueError(f"{len(outputs)} rows of outputs but {len(predictions)} predictions: give one per example")
    # In case of ties any of the classes may have been predicted.
    inside = predictions < outputs.shape[1]
    chosen = outputs[np.arange(len(outputs)), np.where(inside, predictions, 0).astype(np.int64)]
    if len(wrong := np.flatnonzero(~(inside & (chosen >= outputs.max(axis=1))))):
        row = wrong[0]
        raise ValueError(
            f"predictions contradict the outputs, first in row {row}: class {predictions[row]:g} is predicted, "
            f"but class {outputs[row].argmax()} has the highest output. Leave one of them out"
        )


def _check_groups(groups: NDArray[Any] | None, questions: NDArray[Any] | None) -> None:
    for name, found in (("questions", questions), ("groups", groups)):
        if found is not None and (found.ndim != 1 or not np.isfinite(found).all() or (found != np.floor(found)).any()):
            raise ValueError(f"{name} must be integers of shape (examples,), equal for examples that belong together")
    if groups is None or questions is None or len(groups) != len(questions):
        return
    _, first, question = np.unique(questions, return_index=True, return_inverse=True)
    if len(wrong := np.flatnonzero(groups != groups[first][question])):
        row = wrong[0]
        raise ValueError(
            f"rows {first[question[row]]} and {row} belong to one question ({questions[row]:g}) but to two groups: "
            "what is scored together must be resampled together"
        )


def _check_labels(labels: NDArray[Any], of: Kind) -> None:
    if labels.ndim != 1 + of.has_sets:
        shape = "(examples, labels), 0 or 1" if of.has_sets else "(examples,)"
        sets = labels.ndim == 2 and not of.has_sets and np.isin(labels, (0, 1)).all()
        way = ": if each example has any number of labels, say kind=multilabel" if sets else ""
        raise ValueError(f"labels must have shape {shape}, not {labels.shape}{way}")
    if not np.isfinite(labels).all():
        raise ValueError(f"labels contain NaN or infinity, first in row {np.argwhere(~np.isfinite(labels))[0][0]}")


def _check_rows(name: str, outputs: NDArray[Any], representations: NDArray[Any] | None, of: Kind) -> None:
    if representations is None or representations.ndim != 3:
        return
    rows, examples = representations.shape[1], len(outputs)
    if rows != examples * (outputs.shape[1] if of.candidates else 1):
        raise ValueError(
            f"representations must have shape (layers, {examples}, width), with a row for each row of {name}, "
            f"not {representations.shape}"
        )


def _check_probabilities(probabilities: NDArray[Any], of: Kind) -> None:
    if (within := of.shares(probabilities)) is not None:
        if not within.all():
            row = np.flatnonzero(~within)[0]
            raise ValueError(f"probabilities must lie within [0, 1], but those of row {row} do not: are they logits?")
        return
    if (negative := np.argwhere(probabilities < 0)).size:
        row, column = negative[0]
        raise ValueError(
            f"probabilities must be at least 0, but row {row}, class {column} has {probabilities[row, column]:g}: "
            "are they logits?"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if (wrong := np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)).size:
        raise ValueError(
            f"probabilities must sum to 1 over the classes (axis 1), but row {wrong[0]} sums to {sums[wrong[0]]:.4g}: "
            "are they logits?"
        )


def _check_texts(generations: Sequence[str], references: Sequence[str | tuple[str, ...]] | None) -> None:
    if not len(generations):
        raise ValueError("generations must be one text per example, but there are none")
    for name, texts in (("generations", generations), ("references", references or ())):
        wrong = [row for row, text in enumerate(texts) if not _is_text(text, several=name == "references")]
        if wrong:
            raise ValueError(f"{name} must be texts, but row {wrong[0]} has {texts[wrong[0]]!r}")


def _is_text(text: Any, several: bool) -> bool:
    if several and isinstance(text, tuple):
        return len(text) > 0 and all(isinstance(one, str) for one in text)
    return isinstance(text, str)


def _check_tokens(run: RunArrays) -> None:
    counts = run.token_counts
    if counts is not None and (counts.ndim != 1 or ((counts < 0) | (counts != np.floor(counts))).any()):
        raise ValueError("token_counts must have shape (examples,), the number of tokens of each example")
    for name in OF_TOKENS:
        if (held := getattr(run, name)) is None:
            continue
        if counts is None:
            raise ValueError(f"{name} need token_counts of shape (examples,), the number of tokens of each example")
        axes = ("tokens", "words") if name in ("token_logits", "token_log_probabilities") else ("tokens",)
        if held.ndim != len(axes) or not held.size or counts.sum() != len(held):
            raise ValueError(
                f"{name} must have shape ({', '.join(axes)}{',' if len(axes) == 1 else ''}), all examples' tokens one "
                f"after another, as many as token_counts sum to, not {held.shape}"
            )
    if run.token_logits is not None:
        # NaN if any logit is NaN; minus infinity, a word of probability 0, is allowed unless all are.
        _check_finite_tokens("token_logits", run.token_logits.max(axis=1))
    if (targets := run.target_log_probabilities) is not None:
        _check_finite_tokens("target_log_probabilities", targets)
        if (wrong := np.flatnonzero(targets > LOG_ROUNDING)).size:
            raise ValueError(
                f"target_log_probabilities must be at most 0, but that of token {wrong[0]} is {targets[wrong[0]]:.4g}"
            )
    if run.token_choices is not None:
        _check_choices(run.token_choices)
    weighed = {"token_weights": run.token_weights, "token_exact": run.token_exact}
    if run.token_log_probabilities is None:
        if extra := [name for name, value in weighed.items() if value is not None]:
            raise ValueError(f"{extra[0]} belongs to token_log_probabilities, which are not given")
        return
    if run.token_weights is None or run.token_exact is None:
        lacking = [name for name, value in weighed.items() if value is None]
        raise ValueError(f"token_log_probabilities need {' and '.join(lacking)}")
    check_candidates(run.token_log_probabilities, run.token_weights, run.token_exact, "token_log_probabilities")


def _check_choices(words: NDArray[Any]) -> None:
    if words.dtype.kind not in "iu":
        raise ValueError(f"token_choices must be integers, the number of a word for each token, not {words.dtype}")
    if len(wrong := np.flatnonzero(words < 0)):
        raise ValueError(f"token_choices must be numbers of words, from 0, but token {wrong[0]} has {words[wrong[0]]}")


def _check_finite_tokens(name: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        token = np.flatnonzero(~np.isfinite(values))[0]
        raise ValueError(f"{name} contain NaN or infinity, first at token {token} (axis 0)")


def _check_number_of_examples(run: RunArrays, of: Kind) -> None:
    """Reject arrays whose number of examples differs from that of the first one present."""
    counts = {
        "rows of logits": run.logits,
        "rows of probabilities": run.probabilities,
        "predictions": run.predictions,
        "generations": run.generations,
        "references": run.references,
        "labels": run.labels,
        "questions": run.questions,
        "groups": run.groups,
        "credit": run.credit,
        "token_counts": run.token_counts,
        "ids": run.ids,
        "texts": run.texts,
    }
    found = [(name, len(values)) for name, values in counts.items() if values is not None]
    if run.representations is not None and not of.candidates:
        found.append(("rows of representations", run.representations.shape[-2]))
    for name, examples in found[1:]:
        first, expected = found[0]
        if examples != expected:
            raise ValueError(f"{expected} {first} but {examples} {name}: give one per example")


def _check_ids(ids: Sequence[str]) -> None:
    rows: dict[str, int] = {}
    for row, name in enumerate(ids):
        if rows.setdefault(name, row) != row:
            raise ValueError(f"ids must be unique, but rows {rows[name]} and {row} are both {name!r:.60}")
