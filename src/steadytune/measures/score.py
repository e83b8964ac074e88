"""Instability of the score: how much the task metric varies between runs that differ only in their seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Draw, SpreadMeasure
from .inputs import Definition, Float64Array, check_definition, to_float64


def score_spread(scores: Any, definition: Definition = "corrected") -> float:
    """Return the standard deviation of the task metric over K runs.

    Formula: sqrt( sum_k (s_k - mean s)^2 / (K - 1) ), the sample standard deviation; its square estimates the variance
    over all seeds without bias. "published" divides by K instead: the printed accuracies of Du & Nguyen (2023) are
    counts over N, and only a division by K makes the sum of their squares an integer. With 10 runs that is 5 % less.

    Range: at least 0, when all runs score the same; for a metric in [0, 1] at most .71, for two runs at 0 and 1.

    Do not trust it alone: runs may score the same yet be wrong on different examples, which the prediction and
    representation measures see. With 5 runs its own relative standard error is about 35 %.

    Source: Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023 (SD).

    Args:
        scores: The metric of every run, shape (K,), in any unit; the result has the same unit.
        definition: "corrected" divides by K - 1, "published" by K.

    Returns:
        The standard deviation; NaN for a single run, which has no spread.

    Raises:
        ValueError: If the shape is wrong, a score is NaN or infinite, or the definition is unknown.

    Example:
        >>> round(score_spread([0.70, 0.72, 0.74]), 4)
        0.02
    """
    check_definition(definition)
    values = to_float64(scores, "scores", "(K,)")
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1 if definition == "corrected" else 0))


def drawn_spread(scores: Float64Array, draw: Draw) -> Float64Array:
    """Return the standard deviation of resampled runs.

    The pairs of a run with its own copy are left out: with s^2 the mean of (s_i - s_j)^2 / 2 over the other pairs, it
    is s. "published" divides by K, with these pairs.

    Args:
        scores: (R, K), or (1, K).
        draw: R draws of the K runs.

    Returns:
        (R,).
    """
    counts, runs = draw.counts, draw.runs
    mean = (counts * scores).sum(axis=1) / runs
    squares = (counts * (scores - mean[:, None]) ** 2).sum(axis=1)
    if draw.published:
        return np.asarray(np.sqrt(squares / runs))
    return np.asarray(np.sqrt(runs * squares / (runs**2 - (counts**2).sum(axis=1))))


SD = SpreadMeasure(
    name="sd",
    title="Score SD",
    short="SD",
    called="score SD",
    meaning="Standard deviation of the score across runs, in its unit. 0: every run scores the same, which does not "
    "mean that they give the same answers.",
    preference=0,
    published="the variance is divided by K, not K - 1",
    spread=score_spread,
    drawn=drawn_spread,
)
