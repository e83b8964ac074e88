"""Differences between a recipe and a baseline, each with its interval and its test.

The question is always the same: do the recipes differ on new seeds and new examples? Interval and test are one
procedure, d -+ t e and the p-value at which its nearer end reaches equality, so that they cannot contradict each other.
The error e and its degrees of freedom come from the bootstrap over runs and examples, as in `intervals` for one cohort;
two recipes share its draws as far as they share seeds and examples. Ratios are compared as logarithms.

**The mean score.** V_r is s^2 / K + s_0^2 / K_0 with Welch's degrees of freedom; for shared seeds it is the variance of
the differences of their scores, with one degree of freedom less than there are pairs. Without an error from examples
this is Welch's t-test, or the paired one.

**All others** take

    V_r = (Var(d*) + |Var(m*) - Var(m_0*)|) K / (K - 1)

over resampled runs, where m* and m_0* are the values of the two and K is the smaller number of runs. The second term
uses the larger of the two variances for both: if two recipes collapse now and then, the one without a collapsed run so
far looks far more certain than it is.

**The ratio of SDs** must also pass Brown and Forsythe's test: its p-value is the larger of the two, and its interval is
extended to 1 if that test does not reject. With tight runs of which one in seven collapses, the bootstrap alone would
claim a difference for up to 10 % of equal recipes. It needs five runs.

**Failures** are compared by Fisher's exact test. The interval is Newcombe's (1998, method 10), adjusted to include 0 if
and only if the test does not reject.

Permutation tests of the scores, which treat the examples as fixed, are listed separately: they are claims about these
examples only, and no sentence is based on them.

Percentage of pairs of equal recipes for which these tests, each taken separately, find a difference, that is by p < .05
and by the 95 % interval (300 pairs per line, 200 examples, so with standard errors up to 1.3; tight runs of which one
in seven collapses; `benchmarks/decisions.py`). The last columns show what `compare` claims for any of the four:

                                  mean   SD ratio   failed   disagreement   any   any, adjusted
    separate seeds    K = 5       4.3    0.0        0.0      0.7            5.0   1.3
                      K = 10      3.7    1.7        0.0      1.3            6.0   2.3
                      K = 20      5.0    1.3        0.0      2.7            8.0   1.3
    shared seeds      K = 5       3.3    0.3        0.0      1.3            5.0   1.3
                      K = 10      3.7    1.3        0.0      1.7            6.3   1.3
                      K = 20      4.0    1.0        0.0      2.3            6.0   2.3
    collapses, sep.   K = 5       0.3    0.0        0.3      0.0            0.3   0.3
                      K = 10      1.7    1.7        0.7      2.7            2.7   1.7
                      K = 20      2.7    2.7        0.7      1.7            4.0   0.7
    collapses, shared K = 5       0.3    0.0        0.3      0.0            0.3   0.3
                      K = 10      5.3    5.0        2.0      5.7            6.0   5.0
                      K = 20      7.7    5.0        3.3      5.3            8.7   2.0

The price of V_r's second term: with five runs hardly any difference except that of the mean is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.comparison.significance import (
    Significance,
    failure_test,
    mean_test,
    shared_runs,
    spread_tests,
)
from steadytune.analysis.distributions import normal_upper_quantile, student_quantile, student_tail
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
"""Suffix of the names in `differences` for tests that apply to these examples only."""
UNTESTED = Significance(math.nan, "", 1.0)


class Estimate(NamedTuple):
    """A difference with the components of its error.

    Attributes:
        value: The difference; for a ratio, its logarithm.
        error: Its standard error, over new runs and new examples.
        freedom: Degrees of freedom of the error.
        limit: Largest absolute value that it can have.
        per_run: V_r for one run per recipe; with K runs it is divided by K.
        from_examples: Contribution of the examples to the squared error, whatever the number of runs.
        examples_freedom: Degrees of freedom of that contribution.
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
        """Two-sided p-value of the null hypothesis of no difference."""
        return 2 * float(student_tail(abs(self.value) / self.error, self.freedom))

    def ends(self, missed: float) -> Interval:
        """Return the interval that misses the truth with probability `missed`."""
        half = -float(student_quantile(missed / 2, self.freedom)) * self.error
        low, high = max(-self.limit, self.value - half), min(self.limit, self.value + half)
        return Interval(self.value, min(low, self.value), max(high, self.value))


class Difference(NamedTuple):
    """One difference between a recipe and the baseline.

    Attributes:
        measure: "mean", "failed" (share of failed runs), "sd_ratio", or the name of a measure.
        interval: Recipe minus baseline, for "sd_ratio" recipe divided by baseline, with its 95 % interval. It includes
            equality if and only if p is .05 or more.
        significance: Its test.
        ends: Miss probability -> the interval that misses the truth with that probability.
        estimate: The components of the interval, if it is Student's.
        p_adjusted: Holm's p-value over the family of tests, see `compare`.
        adjusted: The interval widened accordingly: it includes equality if and only if `p_adjusted` is .05 or more.
    """

    measure: str
    interval: Interval
    significance: Significance
    ends: Callable[[float], Interval] | None = None
    estimate: Estimate | None = None
    p_adjusted: float = math.nan
    adjusted: Interval = UNKNOWN

    def adjust(self, p_adjusted: float) -> Difference:
        """Return a copy with an adjusted p-value and the matching interval."""
        if self.ends is None or math.isnan(p_adjusted):
            return self._replace(p_adjusted=p_adjusted, adjusted=self.interval)
        # Without scaling, the interval would include equality although the adjusted test rejects it; a p-value of 0
        # passes any level.
        share = self.significance.p / p_adjusted if p_adjusted else 1.0
        return self._replace(p_adjusted=p_adjusted, adjusted=self.ends(SIGNIFICANT * share))


def differences(profile: Profile, baseline: Profile) -> dict[str, Difference]:
    """Compare two cohorts by all their measures; p-values are not adjusted yet.

    Args:
        profile: A recipe.
        baseline: The recipe that it is compared with.

    Returns:
        "mean", "sd_ratio", "failed", and all measures except "sd", those of representations at the last layer. The
        permutation tests, which apply to these examples only, are "mean_here" and "sd_ratio_here", without interval. If
        runs are duplicates, within or across the recipes, nothing is tested: they are not a sample.
    """
    cohort, other = profile.cohort, baseline.cohort
    pairs = shared_runs(cohort.seeds, other.seeds)
    scored = bool(cohort.scored and other.scored and len(cohort) and len(other))
    found = {"mean": _difference("mean", profile.mean.value - baseline.mean.value, _mean(profile, baseline, pairs))}
    found["sd_ratio"] = _ratio(profile, baseline)
    found["failed"] = _failures(cohort, other)
    for measure in dict.fromkeys(value.measure for value in profile.values):
        # Measures of scores are compared as ratios.
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
    """Estimate the difference of mean scores, as described above; None if the runs do not determine its error."""
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
        value: The difference; for the SD, that of its logarithm.
        measure: Name of the measure; for one with layers, the last layer is used.
        profile: A recipe.
        baseline: The other.
    """
    drawn = _drawn(measure, profile, baseline)
    if drawn is None or math.isnan(value):
        return None
    one, other = map(np.stack, drawn)
    if measure == "sd":
        # A resample without spread has no logarithm and is left out.
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
    """Return the resampled values of the two over runs and examples, runs, examples; None for too few runs."""
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
        # The exact test usually rejects less often than this interval does; in one table of 600 it rejects more.
        if test.p >= missed:
            return Interval(value, min(low, 0.0), max(high, 0.0))
        nearest = _NEAREST * value
        return Interval(value, max(low, nearest), high) if value > 0 else Interval(value, low, min(high, nearest))

    return Difference("failed", ends(SIGNIFICANT), test, ends)


def _wilson(count: int, total: int, missed: float) -> Interval:
    """Return the share of `count` in `total` with Wilson's interval, which has width even for shares of 0 or 1."""
    z = normal_upper_quantile(missed / 2)
    share = count / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return Interval(share, centre - half, centre + half)
