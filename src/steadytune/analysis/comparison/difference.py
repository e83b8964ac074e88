"""By how much a recipe differs from a baseline: every difference with its interval and its test.

The question is always the same: do the recipes differ on other seeds and other examples? Interval and test are one
procedure, d -+ t e and the p-value at which its nearer end reaches equality, so that they cannot contradict each other.
The error e and its degrees of freedom come from the bootstrap over runs and examples, whose draws two recipes share as
far as they share seeds and examples, as `intervals` makes those of one cohort. Ratios are taken as logarithms.

**The mean score.** V_r is s^2 / K + s_0^2 / K_0 with Welch's degrees of freedom, and of shared seeds the variance of
the differences of their scores, with one degree of freedom less than there are pairs: without an error of examples this
is Welch's, or the paired, t-test.

**All others** take

    V_r = (Var(d*) + |Var(m*) - Var(m_0*)|) K / (K - 1)

over resampled runs, m* and m_0* being the values of the two and K the smaller number of runs. The second term takes the
larger of the two variances for both: of two recipes that collapse now and then, the one in which no run did so far
looks far more certain than it is.

**The ratio of SDs** must besides pass Brown and Forsythe's test, so that its p-value is the larger of the two and its
interval is made to hold 1 where that test does not reject: with tight runs of which one in seven collapses, the
bootstrap alone tells up to 10 % of equal recipes apart. It takes five runs.

**Failures** are compared by Fisher's exact test. The interval is Newcombe's (1998, method 10), made to hold 0 where the
test does not reject and there alone, as it would not always by itself.

What a permutation of scores says, which takes the examples as they are, stands beside as what it is: a claim about
these examples. No sentence is made of it.

How many per cent of pairs of recipes that differ by luck alone are told apart by these tests, each taken on its own,
that is by p < .05 and by the 95 % interval (300 pairs a line, 200 examples, so with standard errors up to 1.3; tight
runs of which one in seven collapses; `benchmarks/decisions.py`). Beside it what `compare` claims of any of the four:

                                  mean   SD ratio   failed   disagreement   any   any, adjusted
    own seeds         K = 5       4.3    0.0        0.0      0.7            5.0   1.3
                      K = 10      3.7    1.7        0.0      1.3            6.0   2.3
                      K = 20      5.0    1.3        0.0      2.7            8.0   1.3
    shared seeds      K = 5       3.3    0.3        0.0      1.3            5.0   1.3
                      K = 10      3.7    1.3        0.0      1.7            6.3   1.3
                      K = 20      4.0    1.0        0.0      2.3            6.0   2.3
    collapses, own    K = 5       0.3    0.0        0.3      0.0            0.3   0.3
                      K = 10      1.7    1.7        0.7      2.7            2.7   1.7
                      K = 20      2.7    2.7        0.7      1.7            4.0   0.7
    collapses, shared K = 5       0.3    0.0        0.3      0.0            0.3   0.3
                      K = 10      5.3    5.0        2.0      5.7            6.0   5.0
                      K = 20      7.7    5.0        3.3      5.3            8.7   2.0

The price of V_r's second term: with five runs hardly any difference of the measures but the mean is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from steadytune.analysis.comparison.significance import (
    Significance,
    failure_test,
    mean_test,
    shared_runs,
    spread_tests,
)
from steadytune.analysis.failures import wrong_runs
from steadytune.analysis.grouping import count_groups
from steadytune.analysis.half_sampling import SPLITS
from steadytune.analysis.intervals import FEWEST, SIGNIFICANT, UNKNOWN, Draws, Interval, resampled_error, unshrunk
from steadytune.analysis.profile import Profile, largest
from steadytune.analysis.scores import possible_scores
from steadytune.analysis.suspicion import copied_between
from steadytune.measures import MEASURES
from steadytune.records import Cohort

_ROUNDING = 1e-9
_LARGEST_EXPONENT = 100.0
_NEAREST = 1e-3
HERE = "_here"
"""Ending of the names under which `differences` has what is said of these examples alone."""
UNTESTED = Significance(math.nan, "", 1.0)


class Estimate(NamedTuple):
    """A difference with what its error is made of.

    Attributes:
        value: The difference; of a ratio its logarithm.
        error: Its standard error, over other runs and other examples.
        freedom: Degrees of freedom of the error.
        limit: Largest absolute value that it can have.
        per_run: V_r for one run a recipe, which K runs divide by K.
        from_examples: What the examples add to the squared error, however many runs there are.
        examples_freedom: Degrees of freedom of that.
        paired: Whether the runs share seeds, so that K of them have K - 1 degrees of freedom.
    """

    value: float
    error: float
    freedom: float
    limit: float = math.inf
    per_run: float = math.nan
    from_examples: float = 0.0
    examples_freedom: float = math.inf
    paired: bool = False

    @property
    def p(self) -> float:
        """Two-sided p-value of there being no difference."""
        return 2 * float(stats.t.sf(abs(self.value) / self.error, self.freedom))

    def ends(self, missed: float) -> Interval:
        """Return the interval that misses the truth with probability `missed`."""
        half = float(stats.t.isf(missed / 2, self.freedom)) * self.error
        low, high = max(-self.limit, self.value - half), min(self.limit, self.value + half)
        return Interval(self.value, min(low, self.value), max(high, self.value))


class Difference(NamedTuple):
    """One thing by which a recipe differs from the baseline.

    Attributes:
        measure: "mean", "failed" (share of the runs that went wrong), "sd_ratio", or the name of a measure.
        interval: Recipe minus baseline, for "sd_ratio" recipe divided by baseline, with its 95 % interval. It holds
            equality where p is .05 or more, and there alone.
        significance: Its test.
        ends: How often the truth may be missed -> the interval that misses it so often.
        estimate: What the interval is made of, where it is Student's.
        p_adjusted: Holm's p-value over all tests of which it is one, see `compare`.
        adjusted: The interval widened for them: it holds equality where `p_adjusted` is .05 or more, and there alone.
    """

    measure: str
    interval: Interval
    significance: Significance
    ends: Callable[[float], Interval] | None = None
    estimate: Estimate | None = None
    p_adjusted: float = math.nan
    adjusted: Interval = UNKNOWN

    def adjust(self, p_adjusted: float) -> Difference:
        """Return the same with a p-value that allows for other tests, and the interval that goes with it."""
        if self.ends is None or math.isnan(p_adjusted):
            return self._replace(p_adjusted=p_adjusted, adjusted=self.interval)
        # Below the level that the smallest of many p-values must pass the interval would hold equality where the test
        # rejects it; a p-value of 0 passes any.
        share = self.significance.p / p_adjusted if p_adjusted else 1.0
        return self._replace(p_adjusted=p_adjusted, adjusted=self.ends(SIGNIFICANT * share))


def differences(profile: Profile, baseline: Profile) -> dict[str, Difference]:
    """Compare two cohorts by everything that is measured of them; p-values are not adjusted yet.

    Args:
        profile: A recipe.
        baseline: The recipe that it is compared with.

    Returns:
        "mean", "sd_ratio", "failed", and the measures but for "sd", those of representations at the last layer. What
        permutation tests say of these examples is in "mean_here" and "sd_ratio_here", without interval. Where runs of
        a recipe are copies of one another, or of runs of the other, nothing is tested: they are no sample.
    """
    cohort, other = profile.cohort, baseline.cohort
    pairs = shared_runs(cohort.seeds, other.seeds)
    scored = bool(cohort.scored and other.scored and len(cohort) and len(other))
    found = {"mean": _difference("mean", profile.mean.value - baseline.mean.value, _mean(profile, baseline, pairs))}
    found["sd_ratio"] = _ratio(profile, baseline)
    found["failed"] = _failures(cohort, other)
    for measure in dict.fromkeys(value.measure for value in profile.values):
        # Those of scores are compared as ratios.
        if MEASURES[measure].level != "score" and measure in {value.measure for value in baseline.values}:
            value = profile.last(measure).value - baseline.last(measure).value
            found[measure] = _difference(measure, value, _estimate(value, measure, profile, baseline))
    if profile.copied or baseline.copied or copied_between(cohort, other):
        ends = {"low": math.nan, "high": math.nan}
        return {name: Difference(name, one.interval._replace(**ends), UNTESTED) for name, one in found.items()}
    if scored:
        here = {"mean": mean_test(cohort.scores, other.scores, pairs)}
        here["sd_ratio"] = spread_tests(cohort.scores, other.scores, pairs)[0]
        for measure, test in here.items():
            if not math.isnan(test.p):
                value = found[measure].interval.value
                named = test._replace(test=f"{test.test}, these examples")
                found[f"{measure}{HERE}"] = Difference(measure, Interval(value, math.nan, math.nan), named)
    return found


def _difference(measure: str, value: float, found: Estimate | None) -> Difference:
    if found is None:
        return Difference(measure, Interval(value, math.nan, math.nan), UNTESTED)
    # Student's t has no smallest p-value.
    return Difference(measure, found.ends(SIGNIFICANT), Significance(found.p, "bootstrap t", 0.0), found.ends, found)


def _mean(profile: Profile, baseline: Profile, pairs: NDArray[np.int64] | None) -> Estimate | None:
    """Estimate the difference of mean scores, as the module says; None where the runs do not determine its error."""
    scores = profile.cohort.scores, baseline.cohort.scores
    sizes = [len(group) for group in scores]
    drawn = _drawn("mean", profile, baseline)
    if drawn is None or (pairs is not None and len(pairs) < FEWEST):
        return None
    variances = [float(group.var(ddof=1)) for group in scores]
    parts = [variance / size for variance, size in zip(variances, sizes, strict=True)]
    from_runs, per_run = sum(parts), sum(variances)
    if pairs is not None:
        together = float(np.cov(scores[0][pairs[:, 0]], scores[1][pairs[:, 1]])[0, 1])
        from_runs = max(0.0, from_runs - 2 * together * len(pairs) / (sizes[0] * sizes[1]))
        per_run = max(0.0, per_run - 2 * together)
        freedom = len(pairs) - 1.0
    else:
        freedom = from_runs**2 / (sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)) or 1.0)
    lowest, highest = (
        max(ends) if place else min(ends)
        for place, ends in enumerate(zip(*(possible_scores(one.cohort) for one in (profile, baseline)), strict=True))
    )
    both, of_runs, of_examples = (one - other for one, other in zip(*drawn, strict=True))
    of_both = Draws(both, of_runs, of_examples, _examples_freedom(profile, baseline))
    if not max(from_runs, float(of_both.examples.var())) > _ROUNDING**2:
        return None
    error, freed = resampled_error(from_runs, freedom, of_both)
    if math.isnan(error):
        return None
    return Estimate(
        profile.mean.value - baseline.mean.value,
        error,
        freed,
        highest - lowest,
        per_run,
        max(0.0, error**2 - from_runs),
        of_both.freedom,
        pairs is not None,
    )


def _estimate(value: float, measure: str, profile: Profile, baseline: Profile) -> Estimate | None:
    """Estimate any other difference.

    Args:
        value: The difference; of the SD that of its logarithm.
        measure: Of the resampled values; of one with layers the last is meant.
        profile: A recipe.
        baseline: The other.
    """
    drawn = _drawn(measure, profile, baseline)
    if drawn is None or math.isnan(value):
        return None
    one, other = map(np.stack, drawn)
    if measure == "sd":
        # A resample without spread has no logarithm, and is left out.
        known = ~(np.minimum(one, other) <= _ROUNDING).any(axis=0)
        one, other = np.log(one[:, known]), np.log(other[:, known])
    both, of_runs, of_examples = one - other
    runs = min(len(profile.cohort), len(baseline.cohort))
    least = float(of_runs.var()) + abs(float(one[1].var() - other[1].var())) if of_runs.size else 0.0
    if not least > _ROUNDING**2:
        return None
    layered = profile.resampled.both[measure].ndim > 1
    freedom = _examples_freedom(profile, baseline)
    if layered:
        ungrouped = profile.cohort.groups is None
        freedom = SPLITS if ungrouped else min(SPLITS, freedom)
    error, freed = resampled_error(unshrunk(least, runs), runs - 1, Draws(both, of_runs, of_examples, freedom))
    most = math.inf if measure == "sd" else max(largest(measure, one.cohort) for one in (profile, baseline))
    return None if math.isnan(error) else Estimate(value, error, freed, most)


def _drawn(
    measure: str, profile: Profile, baseline: Profile
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...]] | None:
    """Return what was drawn of the two: runs and examples, runs, examples; None for too few runs."""
    if min(len(profile.cohort), len(baseline.cohort)) < FEWEST:
        return None
    if not all(measure in found.resampled.both for found in (profile, baseline)):
        return None
    one, other = (
        tuple(values[measure] if values[measure].ndim == 1 else values[measure][:, -1] for values in found.resampled)
        for found in (profile, baseline)
    )
    return one, other


def _examples_freedom(profile: Profile, baseline: Profile) -> int:
    return max(1, min(count_groups(profile.cohort), count_groups(baseline.cohort)) - 1)


def _ratio(profile: Profile, baseline: Profile) -> Difference:
    sd, baseline_sd = profile.last("sd").value, baseline.last("sd").value
    if not min(sd, baseline_sd) > 0:
        return Difference("sd_ratio", UNKNOWN, UNTESTED)
    found = _estimate(math.log(sd / baseline_sd), "sd", profile, baseline)
    robust = spread_tests(profile.cohort.scores, baseline.cohort.scores, None)[0]
    if found is None or math.isnan(robust.p):
        return Difference("sd_ratio", Interval(sd / baseline_sd, math.nan, math.nan), UNTESTED)

    def ends(missed: float) -> Interval:
        value, low, high = (math.exp(min(end, _LARGEST_EXPONENT)) for end in found.ends(missed))
        return Interval(value, low, high) if robust.p < missed else Interval(value, min(low, 1.0), max(high, 1.0))

    test = Significance(max(found.p, robust.p), "bootstrap t and Brown-Forsythe", 0.0)
    return Difference("sd_ratio", ends(SIGNIFICANT), test, ends, found)


def _failures(cohort: Cohort, baseline: Cohort) -> Difference:
    (wrong, total), (wrong_baseline, total_baseline) = wrong_runs(cohort), wrong_runs(baseline)
    test = failure_test(wrong, total, wrong_baseline, total_baseline)
    if not min(total, total_baseline) or cohort.failed is None or baseline.failed is None:
        return Difference("failed", UNKNOWN, test)

    def ends(missed: float) -> Interval:
        one, other = _wilson(wrong, total, missed), _wilson(wrong_baseline, total_baseline, missed)
        value = one.value - other.value
        low = value - math.hypot(one.value - one.low, other.high - other.value)
        high = value + math.hypot(one.high - one.value, other.value - other.low)
        # Most often the exact test rejects less than this interval does; in one table of 600 it is the other way round.
        if test.p >= missed:
            return Interval(value, min(low, 0.0), max(high, 0.0))
        nearest = _NEAREST * value
        return Interval(value, max(low, nearest), high) if value > 0 else Interval(value, low, min(high, nearest))

    return Difference("failed", ends(SIGNIFICANT), test, ends)


def _wilson(count: int, total: int, missed: float) -> Interval:
    """Share of `count` in `total` with Wilson's interval, which keeps its width where the share is 0 or 1."""
    z = float(stats.norm.isf(missed / 2))
    share = count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return Interval(share, centre - half, centre + half)
