"""Test whether two recipes differ in mean score, spread and failure rate; Holm's correction.

The tests of mean and spread treat the examples as fixed, and so apply to these examples only. Claims about recipes
follow from `difference`, which uses Fisher's and Brown and Forsythe's tests from here.

A permutation test swaps what is exchangeable under the null hypothesis; the p-value is the share of arrangements at
least as extreme as the observed one. Few runs have few arrangements: `Significance.smallest` is the smallest p-value
that any result could have given.

**Shared seeds** pair the runs. If the recipes do not differ, the two scores of a seed may be swapped, which flips the
sign of their difference: exact, whatever the distribution. With **separate seeds** all runs are shuffled, and the
statistic is Welch's t: exact if the recipes are equal in distribution, and asymptotically valid if the means are equal
but the spreads are not (Janssen, "Studentized permutation tests for non-i.i.d. hypotheses", 1997; from memory). If
there are too few runs for significance, Student's paired or Welch's t-test is used instead. It assumes normal scores
and is not used for fewer than three runs: with two, equal steps between scores occur too often by accident.

**Spread.** Brown & Forsythe, "Robust tests for the equality of variances", 1974: a t-test on distances from the median,
not for fewer than five runs (with four its false positive rate is 6 to 11 %). With enough shared seeds a paired
permutation test takes its place: the distance of each score from the centre of its recipe, the difference of the two
distances of a seed, and its sign flipped; the statistic is Wilcoxon's sum of signed ranks. If the spreads are equal,
distances from the true centres may be swapped. Ours are estimated, so this test is approximate. The centre is the
median, of an even number the upper middle score: with the mean of both, which failed runs pull, the false positive
rate is up to 6 %.

Percentage of pairs of equal recipes with p <= .05, which is the false positive rate (20,000 and more simulated;
scores are normal, or one run in seven collapses by 13 SDs; the two scores of a shared seed correlate at .8):

                                      own seeds               shared seeds
                                 normal     collapses      normal     collapses
    test                         5   20     5   20         5   20     5   20    runs a recipe
    permutation, own seeds       5.1  5.0   4.6  5.0
    permutation, shared seeds                              0    4.8   0    4.9
    Welch                        4.5  4.9   1.4  4.4
    paired t                                               5.0  5.0   3.0  2.0
    Brown-Forsythe               0.6  4.0   0.2  5.0       0.1  0.3   0.0  0.0
    paired permutation, spread                             0    3.1   0    3.0

With shared seeds whose scores do not correlate, the last row has 3.4 and 4.5 at K = 20. Paired permutation tests need
six seeds to reach .05 at all, those of spread seven. With separate seeds, equal means and one SD five times the
other, the permutation test has a false positive rate of 8 % at K = 5 and of 6 % at K = 20.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytune.analysis.comparison.permutation import brown_forsythe_p, paired_spread_p, shuffled_p, sign_flip_p
from steadytune.analysis.distributions import fisher_p, student_tail, welch_p
from steadytune.analysis.intervals import SIGNIFICANT, varies

Array = NDArray[np.float64]

_FEWEST_FOR_T = 3
FEWEST_FOR_SPREAD = 5


class Significance(NamedTuple):
    """The result of a test.

    Attributes:
        p: Two-sided p-value; NaN if there are too few runs for a test.
        test: Its name.
        smallest: The smallest p-value possible with so many runs; 1 if they are too few for a test.
        attainable: The smallest p-value possible given the total number of failures (Tarone).
    """

    p: float
    test: str
    smallest: float
    attainable: float = 0.0


def mean_test(scores: Array, baseline: Array, pairs: NDArray[np.int64] | None, comparisons: int = 1) -> Significance:
    """Test whether two recipes have the same mean score.

    Args:
        scores: (K,) task metric of one recipe.
        baseline: (K_0,) of the other.
        pairs: (P, 2) indices of the runs that share a seed, the only ones used then; None for separate seeds. See
            `shared_runs`.
        comparisons: How many recipes are compared: Holm's correction multiplies p-values by up to this number, so the
            permutation test is used only if its smallest p-value remains significant.

    Returns:
        The test; without a p-value for fewer than three runs.
    """
    if pairs is not None:
        x, y = scores[pairs[:, 0]], baseline[pairs[:, 1]]
        smallest, name, stand_in, varied = 2.0 ** (1 - len(pairs)), "paired permutation", "paired t", varies(x - y)
    else:
        x, y = scores, baseline
        arrangements = math.comb(len(x) + len(y), len(x))
        smallest, name, stand_in = (2 if len(x) == len(y) else 1) / arrangements, "permutation", "Welch"
        varied = varies(x) or varies(y)
    if min(len(x), len(y)) < _FEWEST_FOR_T and smallest * comparisons >= SIGNIFICANT:
        return Significance(math.nan, stand_in, 1.0)
    # A t-test on constant scores would be certain.
    if smallest * comparisons < SIGNIFICANT or not varied:
        return Significance(float(sign_flip_p(x - y) if pairs is not None else shuffled_p(x, y)), name, smallest)
    if pairs is not None:
        t = np.mean(x - y) / np.std(x - y, ddof=1) * math.sqrt(len(pairs))
        return Significance(2 * float(student_tail(abs(t), len(pairs) - 1)), stand_in, 0.0)
    return Significance(float(welch_p(x, y)), stand_in, 0.0)


def spread_tests(
    scores: Array, baseline: Array, pairs: NDArray[np.int64] | None, comparisons: int = 1
) -> tuple[Significance, ...]:
    """Test whether two recipes have the same spread of scores.

    Args:
        scores: As for `mean_test`.
        baseline: As for `mean_test`.
        pairs: As for `mean_test`.
        comparisons: As for `mean_test`.

    Returns:
        The deciding test, followed by the other one if there is one: with enough shared seeds the paired permutation
        test, which loses less power to collapsed runs, and otherwise Brown & Forsythe's. If all scores of a recipe are
        equal there is no p-value.
    """
    enough = min(len(scores), len(baseline)) >= FEWEST_FOR_SPREAD
    tested = enough and varies(scores) and varies(baseline)
    by_distance = Significance(
        float(brown_forsythe_p(scores, baseline)) if tested else math.nan, "Brown-Forsythe", 0.0 if enough else 1.0
    )
    if pairs is None or len(pairs) < 3:
        return (by_distance,)
    x, y = scores[pairs[:, 0]], baseline[pairs[:, 1]]
    # The run at the centre has distance 0, so one sign of each recipe is fixed.
    paired = Significance(
        float(paired_spread_p(x, y)) if varies(x) and varies(y) else math.nan,
        "paired permutation",
        min(1.0, 2.0 ** (2 - len(pairs))),
    )
    return (paired, by_distance) if paired.smallest * comparisons < SIGNIFICANT else (by_distance, paired)


def failure_test(failed: int, runs: int, failed_baseline: int, runs_baseline: int) -> Significance:
    """Test whether runs of two recipes fail equally often, by Fisher's exact test.

    Seeds are treated as independent; if they are shared and fail together, the test is conservative.

    Args:
        failed: How many runs of one recipe failed.
        runs: Of how many.
        failed_baseline: The same of the other.
        runs_baseline: The same of the other.

    Returns:
        The test; without a p-value if a recipe has no runs.
    """
    name = "Fisher"
    if not min(runs, runs_baseline):
        return Significance(math.nan, name, 1.0, 1.0)
    total = failed + failed_baseline
    extremes = (min(total, runs), max(0, total - runs_baseline))
    attainable = min(fisher_p(one, runs, total - one, runs_baseline) for one in extremes)
    smallest = fisher_p(runs, runs, 0, runs_baseline)
    return Significance(fisher_p(failed, runs, failed_baseline, runs_baseline), name, smallest, attainable)


def shared_runs(seeds: Sequence[str], baseline: Sequence[str]) -> NDArray[np.int64] | None:
    """Find the runs of two recipes that share a seed.

    Args:
        seeds: Names of the K runs of one recipe.
        baseline: Names of the K_0 runs of the other.

    Returns:
        (P, 2) indices into the two; None unless three quarters of all runs have a partner, since a paired test would
        discard the others.
    """
    places = {seed: place for place, seed in enumerate(baseline)}
    pairs = [(place, places[seed]) for place, seed in enumerate(seeds) if seed in places]
    if not pairs or 2 * len(pairs) < 0.75 * (len(seeds) + len(baseline)):
        return None
    return np.array(pairs)


def holm(p_values: ArrayLike) -> Array:
    """Adjust p-values so that the family-wise error rate stays at the level.

    The i-th smallest of m is multiplied by m - i + 1, and none may come out below a smaller one. Source: Holm, "A
    simple sequentially rejective multiple test procedure", 1979.

    Args:
        p_values: (m,) raw p-values. NaN (no test) stays NaN and does not count.

    Returns:
        (m,) adjusted p-values, at most 1, in the order given.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known])]
    adjusted = raw.copy()
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.arange(len(order), 0, -1)))
    return adjusted
