"""Instability of the score: how far the task metric moves between runs that differ in their seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import Definition, check_definition, to_float64


def score_spread(scores: Any, definition: Definition = "corrected") -> float:
    """Return the standard deviation of the task metric over K runs.

    Formula: sqrt( sum_k (s_k - mean s)^2 / (K - 1) ), the sample standard deviation; its square estimates the variance
    over all seeds without bias. "published" divides by K instead: the printed accuracies of Du & Nguyen (2023) are
    counts over N, and only a division by K makes the sum of their squares an integer. With 10 runs that is 5 % less.

    Range: at least 0, where all runs score the same; for a metric within [0, 1] at most .71, two runs at 0 and at 1.

    Do not trust it alone: runs may score the same and yet be wrong on different examples, which the prediction and
    representation measures see. With 5 runs its own relative standard error is about 35 %.

    Source: Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023 (SD).

    Args:
        scores: The metric of every run, shape (K,), in any unit; the result has the same unit.
        definition: "corrected" divides by K - 1, "published" by K.

    Returns:
        The standard deviation; NaN for a single run, which shows no spread at all.

    Raises:
        ValueError: If the shape is another one, a score is NaN or infinite, or the definition is unknown.

    Example:
        >>> round(score_spread([0.70, 0.72, 0.74]), 4)
        0.02
    """
    check_definition(definition)
    values = to_float64(scores, "scores", "(K,)")
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1 if definition == "corrected" else 0))
