"""Correlations of few points: undefined if they are meaningless, otherwise with exact p-values where possible."""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytune.analysis.distributions import student_quantile
from steadytune.analysis.intervals import SIGNIFICANT, varies

# 7! = 5,040 orders are enumerated quickly; 8! takes ten times as long for a p-value that the normal limit gives, too.
_ENUMERATED = 7


class Association(NamedTuple):
    """The correlation of two measures.

    Attributes:
        measure: One of them.
        other: The other.
        value: Correlation in [-1, 1]; NaN if undefined.
        p: Two-sided p-value; NaN if there is none.
    """

    measure: str
    other: str
    value: float
    p: float = math.nan


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """Return Pearson's correlation of two vectors.

    Args:
        first: (n,) numbers.
        second: (n,) numbers.

    Returns:
        The correlation; NaN for fewer than three points (two always lie on a line), for a constant vector and for one
        that contains NaN.
    """
    vectors = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(vectors[0]) < 3 or not np.isfinite(vectors).all() or not all(map(varies, vectors)):
        return math.nan
    return float(np.corrcoef(*vectors)[0, 1])


def pearson_matrix(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (M, M) matrix of `pearson` for all pairs of M vectors (M, n), with 1 on the diagonal."""
    size = len(vectors)
    matrix = np.eye(size)
    for i in range(size):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = pearson(vectors[i], vectors[j])
    return matrix


def critical_pearson(points: int) -> float:
    """Return the smallest |r| that is significant at 5 % for n independent normal points, t / sqrt(n - 2 + t^2).

    Args:
        points: n.

    Returns:
        A value in (0, 1); 1 for fewer than three points.
    """
    if points < 3:
        return 1.0
    t = float(student_quantile(1 - SIGNIFICANT / 2, points - 2))
    return t / math.sqrt(points - 2 + t * t)


def kendall(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Return Kendall's tau-b of two rankings, and its two-sided p-value.

    p is the share of all orders of the second ranking with at least the same |tau|: exact up to 7 items; above
    that exact without ties, and by the normal limit with ties. A tie removes its pair from the
    numerator and half of it from the denominator (tau-b; Kendall, "The treatment of ties in ranking problems",
    Biometrika 33, 1945).

    Args:
        first: (n,) numbers to rank.
        second: (n,) numbers to rank.

    Returns:
        tau-b and p; NaN for fewer than two items, and if all items tie or one is unknown.
    """
    # Equal counts divided in two ways differ by a rounding error, but are a tie.
    one, other = (np.round(np.asarray(values, dtype=np.float64), 12) for values in (first, second))
    if len(one) < 2 or not np.isfinite([one, other]).all() or not np.ptp(one) or not np.ptp(other):
        return math.nan, math.nan
    if len(one) > _ENUMERATED:
        from scipy.stats import kendalltau

        result = kendalltau(one, other)
        return float(result.statistic), float(result.pvalue)
    low, high = np.triu_indices(len(one), 1)
    signs = np.sign(one[low] - one[high])
    orders = other[np.array(list(permutations(range(len(other)))))]
    agreement = np.sign(orders[:, low] - orders[:, high]) @ signs
    untied = np.count_nonzero(signs), np.count_nonzero(other[low] - other[high])
    tau = float(agreement[0] / np.sqrt(untied[0]) / np.sqrt(untied[1]))
    return min(1.0, max(-1.0, tau)), float(np.mean(np.abs(agreement) >= abs(agreement[0])))


def significant_tau(items: int) -> float | None:
    """Return the smallest |tau| of n items without ties whose exact p-value is below 5 %.

    Counts the permutations of n items with k inversions, whose generating function is prod_{i<=n} (1 + ... + x^{i-1}).

    Args:
        items: n, at least 2.

    Returns:
        That tau, which is 1 at n = 5; None for smaller n, where no order is rare enough.
    """
    inversions = np.ones(1)
    for size in range(2, items + 1):
        inversions = np.convolve(inversions, np.ones(size) / size)
    rare = np.count_nonzero(2 * np.cumsum(inversions) < SIGNIFICANT)
    return 1 - 2 * (rare - 1) / (items * (items - 1) / 2) if rare else None
