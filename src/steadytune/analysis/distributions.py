"""Tails and quantiles of the distributions that intervals and tests use, without `scipy.stats`.

That takes most of the start-up time of a command, for functions that `scipy.special` has; the numbers are the same.
Even that is imported when it is used: names and sentences stand on this module that need no number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def student_tail(t: Any, freedom: Any) -> Any:
    """Return P(T > t) of Student's distribution."""
    from scipy.special import stdtr

    return stdtr(freedom, -np.asarray(t))


def student_quantile(share: Any, freedom: Any) -> Any:
    """Return the t below which a share of Student's distribution lies."""
    from scipy.special import stdtrit

    return stdtrit(freedom, share)


def noncentral_student_tail(t: float, freedom: float, shift: float) -> float:
    """Return P(T > t) of the noncentral t distribution."""
    from scipy.special import nctdtr

    tail = float(1 - nctdtr(freedom, shift, t))
    if math.isnan(tail):
        # Of large shifts that function knows nothing.
        from scipy.stats import nct

        return float(nct.sf(t, freedom, shift))
    return min(max(tail, 0.0), 1.0)


def chi_square_quantile(share: Any, freedom: float) -> Any:
    """Return the number below which a share of the chi-square distribution lies."""
    from scipy.special import gammaincinv

    return 2 * gammaincinv(freedom / 2, share)


def chi_square_upper_quantile(share: Any, freedom: float) -> Any:
    """Return the number above which a share of the chi-square distribution lies."""
    from scipy.special import chdtri

    return chdtri(freedom, share)


def beta_quantile(share: float, a: float, b: float) -> float:
    """Return the number below which a share of the beta distribution lies."""
    from scipy.special import betaincinv

    return float(betaincinv(a, b, share))


def normal_upper_quantile(share: float) -> float:
    """Return the number above which a share of the standard normal distribution lies."""
    from scipy.special import ndtri

    return -float(ndtri(share))


def pearson_p(r: float, points: int) -> float:
    """Return the two-sided p-value of Pearson's correlation of n >= 3 independent normal points.

    The distribution of r without correlation is that of 2 B - 1 with B ~ Beta(n/2 - 1, n/2 - 1).
    """
    from scipy.special import betainc

    shape = points / 2 - 1
    return float(2 * betainc(shape, shape, (1 - abs(r)) / 2))


def pooled_t_p(one: Array, other: Array) -> Array:
    """Return the two-sided p-values of Student's t-test with pooled variance; (..., n) and (..., m) -> (...)."""
    n, m = one.shape[-1], other.shape[-1]
    freedom = n + m - 2.0
    pooled = ((n - 1) * one.std(axis=-1, ddof=1) ** 2 + (m - 1) * other.std(axis=-1, ddof=1) ** 2) / freedom
    return _two_sided(one, other, np.sqrt(pooled * (1.0 / n + 1.0 / m)), freedom)


def welch_p(one: Array, other: Array) -> Array:
    """Return the two-sided p-values of Welch's t-test; (..., n) and (..., m) -> (...)."""
    n, m = one.shape[-1], other.shape[-1]
    first, second = one.std(axis=-1, ddof=1) ** 2 / n, other.std(axis=-1, ddof=1) ** 2 / m
    freedom = (first + second) ** 2 / (first**2 / (n - 1) + second**2 / (m - 1))
    return _two_sided(one, other, np.sqrt(first + second), freedom)


def _two_sided(one: Array, other: Array, error: Any, freedom: Any) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (one.mean(axis=-1) - other.mean(axis=-1)) / error
    return np.asarray(2 * student_tail(np.abs(t), freedom))


def fisher_p(failed: int, runs: int, failed_other: int, runs_other: int) -> float:
    """Return the two-sided p-value of Fisher's exact test that two groups fail equally often.

    The share of all tables with these margins that are no likelier than the observed one, in whole numbers.

    Args:
        failed: How many of a group failed.
        runs: Of how many.
        failed_other: The same of the other group.
        runs_other: The same of the other group.
    """
    total = failed + failed_other
    tables = [
        math.comb(runs, count) * math.comb(runs_other, total - count)
        for count in range(max(0, total - runs_other), min(total, runs) + 1)
    ]
    observed = math.comb(runs, failed) * math.comb(runs_other, failed_other)
    return sum(table for table in tables if table <= observed) / math.comb(runs + runs_other, total)


def mean_ranks(values: ArrayLike) -> Array:
    """Return the ranks from 1 along the last axis; equal values share the mean of theirs."""
    given = np.asarray(values)
    one, other = given[..., :, None], given[..., None, :]
    result: Array = (one > other).sum(axis=-1) + ((one == other).sum(axis=-1) + 1) / 2
    return result
