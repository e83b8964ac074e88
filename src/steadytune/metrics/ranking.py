"""Metrics of probabilities. With labels of only one class, a ranking has no value: NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics.base import (
    CLASSES,
    DISCRETE,
    ERROR,
    Answers,
    Float64Array,
    Scores,
    mean_of,
    ratio,
    share,
)

_OfClass = Callable[[Float64Array, NDArray[np.bool_], Float64Array], Float64Array]


def roc_auc(answers: Answers) -> Scores:
    """Probability that a positive example ranks above a negative one, ties count half; for many classes the mean."""
    return _per_class(answers, _area)


def average_precision(answers: Answers) -> Scores:
    """Mean precision at each positive example, ties taken together; for many classes the mean over them."""
    return _per_class(answers, _precision)


def log_loss(answers: Answers) -> Scores:
    """Mean negative log-probability of the right class."""
    logs: Any = answers.log_probabilities
    labels = np.asarray(answers.labels, dtype=np.int64)
    return mean_of(-logs[:, np.arange(len(labels)), labels])


def _per_class(answers: Answers, function: _OfClass) -> Scores:
    probabilities: Any = answers.probabilities
    # Two logits are ranked by their difference, because the probability may be rounded to 1.
    values = probabilities if answers.logits is None or answers.classes != 2 else _margins(answers)
    one = answers.classes == 2 or answers.positive is not None
    chosen = [answers.positive_class] if one else range(answers.classes)
    labels = np.asarray(answers.labels)

    def scores(weights: Float64Array) -> Float64Array:
        runs = [
            np.mean([function(run[:, label], labels == label, weights) for label in chosen], axis=0) for run in values
        ]
        return np.stack(runs, axis=1)

    return scores


def _margins(answers: Answers) -> Float64Array:
    logits = np.asarray(answers.logits, dtype=np.float64)
    margin = logits[..., 1] - logits[..., 0]
    return np.stack([-margin, margin], axis=-1)


def _steps(
    values: Float64Array, positive: NDArray[np.bool_], weights: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Weights of positives and negatives (R, S) at each of S distinct values (N,), highest first."""
    _, place = np.unique(-values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(place.max() + 1))
    sorted_weights, sorted_positive = weights[:, order], positive[order]
    ups = np.add.reduceat(sorted_weights * sorted_positive, starts, axis=1)
    downs = np.add.reduceat(sorted_weights * ~sorted_positive, starts, axis=1)
    return ups, downs


def _area(values: Float64Array, positive: NDArray[np.bool_], weights: Float64Array) -> Float64Array:
    ups, downs = _steps(values, positive, weights)
    above = np.cumsum(ups, axis=1) - ups / 2
    return _divided((above * downs).sum(axis=1), ups.sum(axis=1) * downs.sum(axis=1))


def _precision(values: Float64Array, positive: NDArray[np.bool_], weights: Float64Array) -> Float64Array:
    ups, downs = _steps(values, positive, weights)
    found = np.cumsum(ups, axis=1)
    taken = found + np.cumsum(downs, axis=1)
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    return _divided((ups * precision).sum(axis=1), ups.sum(axis=1))


def _divided(above: Float64Array, below: Float64Array) -> Float64Array:
    return np.where(below > 0, ratio(above, below), np.nan)


_RANKED = ("probabilities", "labels", "positive_class")
ROC_AUC = share("roc_auc", roc_auc, CLASSES, *_RANKED, title="ROC AUC")
AVERAGE_PRECISION = share("average_precision", average_precision, CLASSES, *_RANKED)
LOG_LOSS = share("log_loss", log_loss, DISCRETE, "log_probabilities", "labels", **ERROR, constant="shares")
