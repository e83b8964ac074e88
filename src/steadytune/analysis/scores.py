"""The score of every run once examples carry weights: what a bootstrap over examples needs, for all resamples at once.

A weight v_n counts how often example n was drawn, so every score here equals the metric of `tasks.metrics` on the
examples repeated v_n times. Metrics that read groups of examples are not here: their examples cannot be drawn one by
one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.measures.text import chrf
from steadytune.records import Cohort

Scores = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Weights (R, N) -> scores (R, K)."""

# Scores may have been computed in single precision.
_TOLERANCE = 1e-6


def weighted_scores(cohort: Cohort) -> Scores | None:
    """Return what scores the runs of a cohort under weights on its examples.

    Args:
        cohort: K runs.

    Returns:
        Weights (R, N), not all zero in a row, -> scores (R, K). None where the scores of the cohort do not follow from
        its logits and labels by a metric that takes weights: there are none, the metric is unknown or reads groups, or
        the scores were taken on other examples.
    """
    metrics = _METRICS.get(cohort.kind, {})
    if cohort.metric not in metrics or not len(cohort):
        return None
    if cohort.kind == "generation":
        known = cohort.generations is not None and cohort.references is not None
    else:
        outputs = cohort.logits if cohort.kind == "regression" else cohort.predictions
        known = outputs is not None and cohort.labels is not None
    if not known:
        return None
    scores = metrics[cohort.metric](cohort)
    plain = scores(np.ones((1, count_examples(cohort))))[0]
    return scores if np.allclose(plain, cohort.scores, rtol=0, atol=_TOLERANCE) else None


def count_examples(cohort: Cohort) -> int:
    """Return N; 1 where nothing of the cohort says how many examples there are."""
    outputs = cohort.predictions if cohort.logits is None else cohort.logits
    if outputs is not None:
        return int(outputs.shape[1])
    if cohort.generations is not None:
        return len(cohort.generations[0])
    return 1 if cohort.token_counts is None else len(cohort.token_counts)


def _accuracy(cohort: Cohort) -> Scores:
    return _mean(np.asarray(cohort.predictions) == np.asarray(cohort.labels))


def _exact_match(cohort: Cohort) -> Scores:
    references: Any = cohort.references
    return _mean(
        [
            [text.strip() == right.strip() for text, right in zip(run, references, strict=True)]
            for run in cohort.generations or ()
        ]
    )


def _chrf(cohort: Cohort) -> Scores:
    references: Any = cohort.references
    return _mean([chrf(run, references) for run in cohort.generations or ()])


def _mean(worth: Any) -> Scores:
    """Score by the mean of what each example is worth, (K, N)."""
    table = np.asarray(worth, dtype=np.float64)
    return lambda weights: weights @ table.T / weights.sum(axis=1, keepdims=True)


def _f1(cohort: Cohort) -> Scores:
    return lambda weights: _ratio(*_f1_parts(*_class_counts(cohort, 1, weights)))


def _f1_macro(cohort: Cohort) -> Scores:
    def scores(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        total = present = np.zeros((1, 1))
        for label in _classes(cohort):
            hits, sizes = _f1_parts(*_class_counts(cohort, label, weights))
            total, present = total + _ratio(hits, sizes), present + (sizes > 0)
        return _ratio(total, present)

    return scores


def _f1_parts(*counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both, predicted, labelled = counts
    return 2 * both, predicted + labelled


def _matthews(cohort: Cohort) -> Scores:
    """Gorodkin's R_K for any number of classes, which is Matthews' coefficient for two."""

    def scores(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        size = weights.sum(axis=1, keepdims=True)
        correct = by_chance = predicted_squares = labelled_squares = np.zeros((1, 1))
        for label in _classes(cohort):
            both, predicted, labelled = _class_counts(cohort, label, weights)
            correct = correct + both
            by_chance = by_chance + predicted * labelled
            predicted_squares = predicted_squares + predicted**2
            labelled_squares = labelled_squares + labelled**2
        spread = np.sqrt((size**2 - predicted_squares) * (size**2 - labelled_squares))
        return _ratio(correct * size - by_chance, spread)

    return scores


def _pearson(cohort: Cohort) -> Scores:
    outputs, targets = _regression(cohort)
    return lambda weights: np.stack([_correlation(weights, run, targets) for run in outputs], axis=1)


def _spearman(cohort: Cohort) -> Scores:
    outputs, targets = _regression(cohort)

    def scores(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        target_ranks = _ranks(weights, targets)
        return np.stack([_correlation(weights, _ranks(weights, run), target_ranks) for run in outputs], axis=1)

    return scores


def _ranks(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-ranks (R, N) of values (N,) among themselves, each taken as often as its weight says."""
    order = np.argsort(values, kind="stable")
    _, starts, inverse = np.unique(values, return_index=True, return_inverse=True)
    starts = np.searchsorted(values[order], values[starts])
    tied = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks: NDArray[np.float64] = (np.cumsum(tied, axis=1) - tied / 2 + 0.5)[:, inverse]
    return ranks


def _correlation(
    weights: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pearson's correlation (R,) of values (N,) or (R, N) under weights (R, N); 0 where one of the two is constant."""
    share = weights / weights.sum(axis=1, keepdims=True)
    one, other = (values - (share * values).sum(axis=1, keepdims=True) for values in (first, second))
    spreads = (share * one**2).sum(axis=1), (share * other**2).sum(axis=1)
    # What rounding leaves of constant values is no spread.
    limits = ((1e-14 * np.abs(values).max()) ** 2 for values in (first, second))
    defined = np.logical_and(*(spread > limit for spread, limit in zip(spreads, limits, strict=True)))
    return _ratio((share * one * other).sum(axis=1), np.where(defined, np.sqrt(spreads[0] * spreads[1]), 0.0))


def _regression(cohort: Cohort) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    logits: Any = cohort.logits
    return logits[..., 0].astype(np.float64), np.asarray(cohort.labels, dtype=np.float64)


def _classes(cohort: Cohort) -> NDArray[Any]:
    return np.union1d(np.asarray(cohort.predictions), np.asarray(cohort.labels))


def _class_counts(cohort: Cohort, label: int, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Weight of the examples that are of a class and predicted as such (R, K), predicted (R, K), labelled (R, 1)."""
    predicted, labelled = np.asarray(cohort.predictions) == label, np.asarray(cohort.labels) == label
    tables = (predicted & labelled, predicted, np.atleast_2d(labelled))
    return tuple(weights @ table.T.astype(np.float64) for table in tables)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0/0 = 0 as `tasks.metrics` defines it."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


_OF_CLASSES: dict[str, Callable[[Cohort], Scores]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "f1_macro": _f1_macro,
    "matthews": _matthews,
}
_METRICS: dict[str, dict[str, Callable[[Cohort], Scores]]] = {
    "classification": _OF_CLASSES,
    "choice": {"accuracy": _accuracy},
    "regression": {"pearson": _pearson, "spearman": _spearman},
    "generation": {"exact_match": _exact_match, "chrf": _chrf},
}
