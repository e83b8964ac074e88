"""p-values of the tests in `significance`, for one pair of recipes or a stack; see there for which test is used."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.distributions import mean_ranks, pooled_t_p

Array = NDArray[np.float64]

# Above this, arrangements are sampled, not enumerated: p-values of .05 are then accurate to .004.
_ARRANGEMENTS = 10_000


def sign_flip_p(differences: Array) -> Array:
    """Return the share of sign assignments in which |sum of the differences| is at least as large.

    Args:
        differences: (..., K).

    Returns:
        (...): out of all 2^K assignments, or of 10,000 sampled ones including the observed one.
    """
    sums = np.abs(differences @ _signs(differences.shape[-1]).T)
    rounding = 1e-12 * np.abs(differences).sum(axis=-1, keepdims=True)
    return np.asarray((sums >= sums[..., :1] - rounding).mean(axis=-1))


def shuffled_p(scores: Array, baseline: Array) -> Array:
    """Return the share of assignments of all runs to two recipes in which |Welch's t| is at least as large.

    Args:
        scores: (..., K).
        baseline: (..., K_0).

    Returns:
        (...): out of all assignments, or of 10,000 sampled ones including the observed one.
    """
    sizes = scores.shape[-1], baseline.shape[-1]
    values = np.concatenate([scores, baseline], axis=-1)
    values = values - values.mean(axis=-1, keepdims=True)
    groups = _groups(*sizes)
    means, errors = [], []
    for size, group in zip(sizes, (groups, 1 - groups), strict=True):
        mean = values @ group.T / size
        means.append(mean)
        errors.append(((values**2) @ group.T / size - mean**2) / max(size - 1, 1))
    # Preserves the order of t even if both groups are constant in some arrangement.
    least = 1e-12 * np.square(values).sum(axis=-1, keepdims=True) + np.finfo(np.float64).tiny
    t = np.square(means[0] - means[1]) / (np.maximum(sum(errors), 0) + least)
    return np.asarray((t >= t[..., :1] * (1 - 1e-9)).mean(axis=-1))


def brown_forsythe_p(scores: Array, baseline: Array) -> Array:
    """Return p of a pooled-variance t-test on the distances from the medians; (..., K), (..., K_0) -> (...)."""
    distances = (np.abs(group - np.median(group, axis=-1, keepdims=True)) for group in (scores, baseline))
    return pooled_t_p(*distances)


def paired_spread_p(scores: Array, baseline: Array) -> Array:
    """Return p of the paired permutation test of spread in `significance`; (..., K) twice -> (...)."""
    middle = scores.shape[-1] // 2
    near, far = (np.abs(group - np.sort(group, axis=-1)[..., [middle]]) for group in (scores, baseline))
    differences = near - far
    # Equal steps between scores must remain ties.
    sizes = np.round(np.abs(differences), 12)
    return sign_flip_p(np.sign(differences) * (sizes > 0) * mean_ranks(sizes))


@lru_cache(maxsize=8)
def _signs(runs: int) -> Array:
    """Return (A, K) of 1 and -1, the first row all 1; the other half of the arrangements gives the same |sums|."""
    if 2 ** (runs - 1) <= _ARRANGEMENTS:
        rest = list(itertools.product((1.0, -1.0), repeat=max(runs - 1, 0)))
        return np.concatenate([np.ones((len(rest), min(runs, 1))), np.reshape(rest, (len(rest), -1))], axis=1)
    drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(_ARRANGEMENTS, runs))
    drawn[0] = 1
    return drawn


@lru_cache(maxsize=8)
def _groups(size: int, other: int) -> Array:
    """Return (A, size + other) with 1 for the runs of the first recipe; the first row is the observed arrangement."""
    runs = size + other
    if math.comb(runs, size) <= _ARRANGEMENTS:
        chosen = np.array(list(itertools.combinations(range(runs), size)))
    else:
        chosen = np.random.default_rng(0).random((_ARRANGEMENTS, runs)).argsort(axis=1)[:, :size]
        chosen[0] = np.arange(size)
    groups = np.zeros((len(chosen), runs))
    np.put_along_axis(groups, chosen, 1, axis=1)
    return groups
