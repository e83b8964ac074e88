"""Metrics of a regression. A correlation is 0 if outputs or targets are constant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics.base import (
    CORRELATION,
    ERROR,
    TARGETS,
    Answers,
    Float64Array,
    Scores,
    mean_of,
    ratio,
    share,
)


def mse(answers: Answers) -> Scores:
    """Mean squared error, in squared units of the targets."""
    outputs, targets = answers.targets
    return mean_of((outputs - targets) ** 2)


def rmse(answers: Answers) -> Scores:
    """Root of the mean squared error, in units of the targets."""
    squares = mse(answers)
    return lambda weights: np.sqrt(squares(weights))


def mae(answers: Answers) -> Scores:
    """Mean absolute error, in units of the targets."""
    outputs, targets = answers.targets
    return mean_of(np.abs(outputs - targets))


def r2(answers: Answers) -> Scores:
    """Share of the targets' variance that is explained; for constant ones 1 if predicted exactly, else 0."""
    squares = mse(answers)
    _, targets = answers.targets

    def scores(weights: Float64Array) -> Float64Array:
        share = weights / weights.sum(axis=1, keepdims=True)
        centred = targets - (share @ targets)[:, None]
        spread = (share * centred**2).sum(axis=1)[:, None]
        error = squares(weights)
        constant = spread <= _no_spread(targets)
        return np.where(constant, (error == 0).astype(np.float64), 1 - ratio(error, spread))

    return scores


def pearson(answers: Answers) -> Scores:
    """Pearson's correlation."""
    outputs, targets = answers.targets
    return lambda weights: np.stack([_correlation(weights, run, targets) for run in outputs], axis=1)


def spearman(answers: Answers) -> Scores:
    """Spearman's correlation."""
    outputs, targets = answers.targets

    def scores(weights: Float64Array) -> Float64Array:
        target_ranks = _ranks(weights, targets)
        return np.stack([_correlation(weights, _ranks(weights, run), target_ranks) for run in outputs], axis=1)

    return scores


def _ranks(weights: Float64Array, values: Float64Array) -> Float64Array:
    """Mid-ranks (R, N) of values (N,), each repeated as often as its weight."""
    order = np.argsort(values, kind="stable")
    _, starts, inverse = np.unique(values, return_index=True, return_inverse=True)
    starts = np.searchsorted(values[order], values[starts])
    tied = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks: Float64Array = (np.cumsum(tied, axis=1) - tied / 2 + 0.5)[:, inverse]
    return ranks


def _correlation(weights: Float64Array, first: Float64Array, second: Float64Array) -> NDArray[np.float64]:
    """Pearson's correlation (R,) of values (N,) or (R, N) under weights (R, N); 0 if either is constant."""
    share = weights / weights.sum(axis=1, keepdims=True)
    one, other = (values - (share * values).sum(axis=1, keepdims=True) for values in (first, second))
    spreads = (share * one**2).sum(axis=1), (share * other**2).sum(axis=1)
    limits = (_no_spread(values) for values in (first, second))
    defined = np.logical_and(*(spread > limit for spread, limit in zip(spreads, limits, strict=True)))
    return ratio((share * one * other).sum(axis=1), np.where(defined, np.sqrt(spreads[0] * spreads[1]), 0.0))


def _no_spread(values: Float64Array) -> float:
    """Treat a spread that is only rounding error of constant values as 0."""
    return float((1e-14 * np.abs(values).max()) ** 2)


_NUMBERS = ("logits", "labels")
PEARSON = share("pearson", pearson, TARGETS, *_NUMBERS, **CORRELATION, title="Pearson's correlation")
SPEARMAN = share("spearman", spearman, TARGETS, *_NUMBERS, **CORRELATION, title="Spearman's correlation")
MSE = share("mse", mse, TARGETS, *_NUMBERS, **ERROR, title="mean squared error")
RMSE = share("rmse", rmse, TARGETS, *_NUMBERS, **ERROR, title="RMSE")
MAE = share("mae", mae, TARGETS, *_NUMBERS, **ERROR, title="mean absolute error", constant="median")
R2 = share("r2", r2, TARGETS, *_NUMBERS, lowest=None, title="R2")
