"""By how much a recipe differs from a baseline: every difference with its interval and its test.

**Intervals** come from the bootstrap over runs and examples, whose draws two recipes share as far as they share seeds
and examples: d -+ t e, with the error e and its degrees of freedom made of the difference of the resampled values as
`intervals` makes those of one cohort, but for

    V_r = (Var(d*) + |Var(m*) - Var(m_0*)|) K / (K - 1)

over resampled runs, m* and m_0* being the values of the two and K the smaller number of runs. The second term takes the
larger of the two variances for both: of two recipes that collapse now and then, the one in which no run did so far
looks far more certain than it is. The **p-value** of a measure without a test of its own is where t reaches 0. Ratios
are taken as logarithms.

The tests of `significance` speak of other seeds on the same examples; the intervals speak of other seeds and other
examples, and so may hold equality where a test rejects it.

How many per cent of pairs of recipes that differ by luck alone are told apart by these intervals, that is by p <= .05
(500 pairs a line, 1500 where runs collapse, 200 examples, so with standard errors up to 1; one run in seven collapses):

                               mean   SD ratio   disagreement   1 - kappa   Jensen-Shannon
    own seeds      K = 5       0.6    0.0        0.0            0.0         0.0
                   K = 20      1.4    3.8        1.4            1.4         0.2
    shared seeds   K = 20      1.4    0.8        0.8            1.0         0.0
    collapses      K = 5       0.0    0.0        0.0            0.0         0.0
    (own seeds)    K = 10      0.1    7.7        4.3            0.3         4.0
                   K = 20      0.8    4.8        3.9            2.4         4.2

Without the second term, 5 to 8 % of the collapsing pairs are told apart by disagreement or Jensen-Shannon divergence at
K = 7 to 20. The price: with five runs hardly any difference of these measures is found.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from steadytune.analysis.comparison.significance import Significance, failure_test, mean_test, shared_runs, spread_tests
from steadytune.analysis.failures import wrong_runs
from steadytune.analysis.halves import SPLITS
from steadytune.analysis.intervals import LEVEL, UNKNOWN, Draws, Interval, resampled_error, unshrunk
from steadytune.analysis.profile import Profile
from steadytune.analysis.scores import count_examples
from steadytune.records import Cohort

# Two runs resample to themselves alone, which would leave their own error out.
_FEWEST = 3
_SIDES = (1 + LEVEL) / 2
_ROUNDING = 1e-9


class Difference(NamedTuple):
    """One thing by which a recipe differs from the baseline.

    Attributes:
        measure: "mean", "failed" (share of the runs that went wrong), "sd_ratio", or one of `MEASURES`.
        interval: Recipe minus baseline, for "sd_ratio" recipe divided by baseline, with its 95 % interval.
        significance: Its test.
        p_adjusted: Holm's p-value over all recipes that are compared with the baseline by this measure.
    """

    measure: str
    interval: Interval
    significance: Significance
    p_adjusted: float = math.nan


def differences(profile: Profile, baseline: Profile, comparisons: int) -> dict[str, Difference]:
    """Compare two cohorts by everything that is measured of them; p-values are not adjusted yet.

    Args:
        profile: A recipe.
        baseline: The recipe that it is compared with.
        comparisons: How many recipes are compared with the baseline.

    Returns:
        "mean", "sd_ratio" with the test to go by, "sd_ratio_other" with the other test where there is one, "failed",
        and the measures but for "sd", those of representations at the last layer.
    """
    cohort, other = profile.cohort, baseline.cohort
    pairs = shared_runs(cohort.seeds, other.seeds)
    scored = cohort.scored and other.scored and len(cohort) and len(other)
    means = mean_test(cohort.scores, other.scores, pairs, comparisons) if scored else Significance(math.nan, "", 1.0)
    spreads = spread_tests(cohort.scores, other.scores, pairs, comparisons) if scored else (means,)
    mean = _estimate(profile.mean.value - baseline.mean.value, "mean", profile, baseline)[0]
    ratio = _ratio(profile, baseline)
    found = {"mean": Difference("mean", mean, means)}
    for name, test in zip(("sd_ratio", "sd_ratio_other"), spreads, strict=False):
        found[name] = Difference("sd_ratio", ratio, test)
    found["failed"] = _failures(cohort, other)
    for measure in dict.fromkeys(value.measure for value in profile.values):
        if measure != "sd" and measure in {value.measure for value in baseline.values}:
            value = profile.last(measure).value - baseline.last(measure).value
            interval, p = _estimate(value, measure, profile, baseline)
            test = Significance(p, "bootstrap", 1.0 if math.isnan(p) else 0.0)
            found[measure] = Difference(measure, interval, test)
    return found


def _estimate(value: float, measure: str, profile: Profile, baseline: Profile) -> tuple[Interval, float]:
    """Return a difference with its interval, and the p-value of there being none.

    Args:
        value: The difference; of the SD that of its logarithm.
        measure: Of the resampled values; of one with layers the last is meant.
        profile: A recipe.
        baseline: The other.
    """
    unknown = Interval(value, math.nan, math.nan), math.nan
    runs = min(len(profile.cohort), len(baseline.cohort))
    drawn = profile.resampled.both, baseline.resampled.both
    if runs < _FEWEST or math.isnan(value) or not all(measure in values for values in drawn):
        return unknown
    layered = drawn[0][measure].ndim > 1
    examples = min(count_examples(profile.cohort), count_examples(baseline.cohort))
    freedom, layer = (SPLITS, -1) if layered else (max(1, examples - 1), None)
    one, other = (np.stack(found.resampled.of(measure, freedom, layer)[:3]) for found in (profile, baseline))
    if measure == "sd":
        # A resample without spread has no logarithm, and is left out.
        known = (np.minimum(one, other) > _ROUNDING).all(axis=0)
        one, other = np.log(one[:, known]), np.log(other[:, known])
    both, of_runs, of_examples = one - other
    least = float(of_runs.var()) + abs(float(one[1].var() - other[1].var())) if of_runs.size else 0.0
    if not least > _ROUNDING**2:
        return unknown
    error, freed = resampled_error(unshrunk(least, runs), runs, Draws(both, of_runs, of_examples, freedom))
    half = float(stats.t.ppf(_SIDES, freed)) * error
    return Interval(value, value - half, value + half), 2 * float(stats.t.sf(abs(value) / error, freed))


def _ratio(profile: Profile, baseline: Profile) -> Interval:
    sd, baseline_sd = profile.last("sd").value, baseline.last("sd").value
    if not min(sd, baseline_sd) > 0:
        return UNKNOWN
    interval, _ = _estimate(math.log(sd / baseline_sd), "sd", profile, baseline)
    return Interval(*(math.exp(end) for end in interval))


def _failures(cohort: Cohort, baseline: Cohort) -> Difference:
    """Compare the shares of runs that went wrong, with the interval of Newcombe, 1998 (method 10)."""
    (wrong, total), (wrong_baseline, total_baseline) = wrong_runs(cohort), wrong_runs(baseline)
    test = failure_test(wrong, total, wrong_baseline, total_baseline)
    if not min(total, total_baseline):
        return Difference("failed", UNKNOWN, test)
    one, other = _wilson(wrong, total), _wilson(wrong_baseline, total_baseline)
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Difference("failed", Interval(value, low, high), test)


def _wilson(count: int, total: int) -> Interval:
    """Share of `count` in `total` with Wilson's interval, which keeps its width where the share is 0 or 1."""
    z = float(stats.norm.ppf(_SIDES))
    share = count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return Interval(share, centre - half, centre + half)
