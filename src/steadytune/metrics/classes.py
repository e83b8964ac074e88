"""Metrics of predicted classes.

Where a formula divides by zero its value is 0: an F1 of a class neither predicted nor present, Matthews'
coefficient where predictions or labels are constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics import sets
from steadytune.metrics.base import (
    CLASSES,
    CORRELATION,
    DISCRETE,
    PREDICTED,
    Answers,
    Float64Array,
    Scores,
    mean_of,
    ratio,
    share,
)


def accuracy(answers: Answers) -> Scores:
    """Share of the examples that are answered correctly."""
    return mean_of(np.asarray(answers.predictions) == np.asarray(answers.labels))


def f1(answers: Answers) -> Scores:
    """F1 of the positive class."""
    return lambda weights: ratio(*_f1_parts(*_counts(answers, answers.positive_class, weights)))


def f1_macro(answers: Answers) -> Scores:
    """Mean F1 of the classes that are predicted or present, as in the official script of CB; of sets of all labels."""
    if answers.sets is not None:
        return sets.f1_macro(answers)

    def scores(weights: Float64Array) -> Float64Array:
        total = present = np.zeros((1, 1))
        for label in _classes(answers):
            hits, sizes = _f1_parts(*_counts(answers, label, weights))
            total, present = total + ratio(hits, sizes), present + (sizes > 0)
        return ratio(total, present)

    return scores


def f1_micro(answers: Answers) -> Scores:
    """Accuracy: with one label per example each false positive is another class's false negative. Of sets their F1."""
    return accuracy(answers) if answers.sets is None else sets.f1_micro(answers)


def f1_weighted(answers: Answers) -> Scores:
    """Mean F1 of the classes, weighted by their frequency."""

    def scores(weights: Float64Array) -> Float64Array:
        total = np.zeros((1, 1))
        for label in _classes(answers):
            both, predicted, labelled = _counts(answers, label, weights)
            total = total + labelled * ratio(*_f1_parts(both, predicted, labelled))
        return ratio(total, weights.sum(axis=1, keepdims=True))

    return scores


def balanced_accuracy(answers: Answers) -> Scores:
    """Mean recall of the classes that are present."""

    def scores(weights: Float64Array) -> Float64Array:
        total = present = np.zeros((1, 1))
        for label in _classes(answers):
            both, _, labelled = _counts(answers, label, weights)
            total, present = total + ratio(both, labelled), present + (labelled > 0)
        return ratio(total, present)

    return scores


def matthews(answers: Answers) -> Scores:
    """Gorodkin's R_K for any number of classes, which equals Matthews' coefficient for two."""

    def scores(weights: Float64Array) -> Float64Array:
        size = weights.sum(axis=1, keepdims=True)
        correct = by_chance = predicted_squares = labelled_squares = np.zeros((1, 1))
        for label in _classes(answers):
            both, predicted, labelled = _counts(answers, label, weights)
            correct = correct + both
            by_chance = by_chance + predicted * labelled
            predicted_squares = predicted_squares + predicted**2
            labelled_squares = labelled_squares + labelled**2
        spread = np.sqrt((size**2 - predicted_squares) * (size**2 - labelled_squares))
        return ratio(correct * size - by_chance, spread)

    return scores


def _f1_parts(*counts: Float64Array) -> tuple[Float64Array, Float64Array]:
    both, predicted, labelled = counts
    return 2 * both, predicted + labelled


def _classes(answers: Answers) -> NDArray[Any]:
    return np.union1d(np.asarray(answers.predictions), np.asarray(answers.labels))


def _counts(answers: Answers, label: int, weights: Float64Array) -> tuple[Float64Array, ...]:
    """Weights of the true positives (R, K), predicted positives (R, K) and labelled positives (R, 1) of a class."""
    predicted, labelled = np.asarray(answers.predictions) == label, np.asarray(answers.labels) == label
    tables = (predicted & labelled, predicted, np.atleast_2d(labelled))
    return tuple(weights @ table.T.astype(np.float64) for table in tables)


_POSITIVE = (*PREDICTED, "positive_class")
ACCURACY = share("accuracy", accuracy, DISCRETE, *PREDICTED)
F1 = share("f1", f1, CLASSES, *_POSITIVE, binary=True, title="F1")
_EACH = {"needs": {"classes": PREDICTED, "sets": sets.SETS}}
F1_MACRO = share("f1_macro", f1_macro, (*CLASSES, "multilabel"), **_EACH, title="macro F1")
F1_WEIGHTED = share("f1_weighted", f1_weighted, CLASSES, *PREDICTED, title="weighted F1")
F1_MICRO = share("f1_micro", f1_micro, (*CLASSES, "multilabel"), **_EACH, title="micro F1")
BALANCED_ACCURACY = share("balanced_accuracy", balanced_accuracy, CLASSES, *PREDICTED)
MATTHEWS = share("matthews", matthews, CLASSES, *PREDICTED, **CORRELATION, title="Matthews' correlation")
# MultiRC's F1 over all answers is the binary F1; the name is the one used in its papers.
F1A = share("f1a", f1, CLASSES, *_POSITIVE, "questions", binary=True, title="F1 of answers")
