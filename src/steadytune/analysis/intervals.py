"""95 % intervals that treat both the seeds and the evaluation examples as random: new runs, on new examples.

They are based on `bootstrap`: the standard error of its draws, around the measured value, on a scale on which the
measure varies evenly, with Student's or the chi-square quantile for the number of runs. Percentile intervals would be
simpler but are worse: at K = 5 that of a disagreement covers 88 to 99 %, that of an SD 54 to 100 %.

The variance has two parts. V_r is the variance over resampled runs times K/(K - 1), since drawing from K runs
understates the variance of new runs by that factor. V_e is the variance over resampled examples. The variation of
single runs on single examples is in both, and three times in the bootstrap of both (Owen 2007), so that
V_r + V_e - (V_both - V_runs - V_e) counts it once. The degrees of freedom are those of Satterthwaite (1946), from K - 1
for V_r and N - 1 for V_e.

Coverage in per cent, nominally 95, of the mean accuracy, its SD, disagreement, 1 - kappa and Jensen-Shannon divergence
over N = 300 examples of two classes, simulated with 400 cohorts per number (standard error 1.1):

    runs                                      K = 20               K = 10               K = 5
    flip examples independently               94  98 95 96 95      92 98 95 95 96      96 96 98 98 98
    the same, a few flips only                95 100 94 94 96      93 99 96 97 97      95 98 98 98 96
    move along a direction they share         96  96 92 92 92      96 96 94 94 90      94 94 94 94 92
    are biased towards one class              94  94 93 93 92      95 94 96 96 92      96 93 92 92 92
    differ in quality                         96  96 95 95 93      93 96 93 93 92      95 96 92 92 88
    move along a direction, 1 in 7 collapses  92  92 89 93 89      92 80 79 80 76      90 75 82 78 73

Matthews' correlation in place of accuracy gives the same within 2 points, except if runs collapse: 91 and 89 at K = 20,
80 and 63 at K = 5. The true value is the mean of the measure over all cohorts, for SD the root of the mean of its
square. If runs are of one kind, intervals from 20 runs have nearly nominal coverage, and those from 5 fall short by up
to 7 points. If runs collapse, few runs often include no collapsed one, and no interval can account for that. Intervals
of the SD are wider than necessary if flips are few. For representations see `half_sampling`.

If examples form groups, whole groups are drawn, and N is their number. Coverage if the examples of a group share a part
of their margin with an SD of 1.6 logits, and if tight runs collapse (400 cohorts per number):

    runs                                      K = 10               K = 5
    60 groups of 8                            95  96 96 96 96      95  96 97 97 96
    the same, taken as 480 examples           68  94 82 82 86      71  96 89 90 91
    20 groups of 8                            94  98 96 95 95      93  97 95 95 94
    10 groups of 16                           94  96 96 96 96      92  96 96 96 96
    480 examples                              95  96 97 97 94      95  96 98 98 95
    tight runs, 1 in 7 collapses              94  72 73 74 74      89  49 55 55 55

With 20 tight runs the coverage is 95 90 90 92 90. In 46 % of cohorts of five no run collapses; for small cohorts
`failures.failure_words` therefore states how many runs may fail. `benchmarks/coverage.py` computes this table.

For regressions: mean Pearson correlation, its SD, RMSE between runs, 1 - Pearson's r and 1 - ICC (400 cohorts each):

    runs                                      K = 20               K = 10               K = 5
    300 examples                              96  98  96 96 96     95  96  98 95 94     96  96 100 94 95
    60 groups of 8                            93  98  96 95 95     94  96  98 96 95     95  98  99 94 94
    tight runs, 1 in 7 collapses              92  94  93 93 95     80  78  76 76 77     55  53  55 52 52

If K runs show no spread there is no interval (NaN): an interval of zero width would claim too much. Nor is there an
interval for two runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytune.analysis.distributions import chi_square_quantile, student_quantile

LEVEL = 0.95
"""Nominal coverage of intervals."""
SIGNIFICANT = 0.05
"""A p-value below it is significant: 1 - LEVEL, written out to avoid rounding errors."""
FEWEST = 3
"""Fewest runs for an interval: that of two would be 13 times as wide as their own spread."""

_ROUNDING = 1e-12
_LARGEST_EXPONENT = 100.0


class Interval(NamedTuple):
    """An estimate with the ends of its interval, at 95 % unless another level is stated; NaN if unknown."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Return whether the interval excludes a value; an unknown interval excludes nothing."""
        return self.low > value or self.high < value


UNKNOWN = Interval(math.nan, math.nan, math.nan)


class Draws(NamedTuple):
    """One measure on R resampled cohorts, each of shape (R,).

    Attributes:
        both: Runs and examples resampled.
        runs: Runs resampled, on the original examples.
        examples: Examples resampled, for the original runs; all equal if nothing is known about other examples.
        freedom: Degrees of freedom of the variance over examples.
    """

    both: NDArray[np.float64]
    runs: NDArray[np.float64]
    examples: NDArray[np.float64]
    freedom: int


def varies(values: ArrayLike) -> bool:
    """Return whether values differ by more than rounding errors, which give equal scores an SD of 1e-17."""
    return bool(np.ptp(np.asarray(values, dtype=np.float64)) > _ROUNDING)


def mean_interval(
    scores: ArrayLike, draws: Draws, lowest: float = -math.inf, highest: float = math.inf, *, level: float = LEVEL
) -> Interval:
    """Return the mean of K scores with Student's interval, m -+ t sqrt(V), where V_r = s^2 / K.

    Args:
        scores: (K,) task metric.
        draws: The mean on resampled cohorts.
        lowest: Smallest possible score. The interval is cut off there.
        highest: Largest possible score.
        level: Nominal coverage of the interval.

    Returns:
        The mean; without an interval for fewer than three runs or identical scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        return UNKNOWN
    mean = float(values.mean())
    if len(values) < FEWEST or not varies(values) or not np.isfinite(draws.examples).all():
        return Interval(mean, math.nan, math.nan)
    half = _half_width(float(values.var(ddof=1)) / len(values), len(values), draws, level)
    return Interval(mean, min(mean, max(lowest, mean - half)), max(mean, min(highest, mean + half)))


def spread_interval(sd: float, runs: int, draws: Draws, upper: float = math.inf, *, level: float = LEVEL) -> Interval:
    """Return the SD of K scores with a chi-square interval, s sqrt(f / chi2_f), where f matches the variance V of s^2.

    For a chi-square distribution V / s^4 = 2 / f. V_r is that of normal scores, f = K - 1, or that of the bootstrap
    over runs if larger, as it is if runs collapse. With A = s^2, and A + B its mean over resampled examples,

        V_e = (Var_e(s^2) - (4 A B + 2 B^2) / (K - 1)) (A / (A + B)), at least 0.

    The subtracted term is the example noise of single runs, of variance B, which resampling adds to the runs and which
    s^2 and V_r already include; what remains is the example noise that the runs share. The last factor rescales a
    variance around A + B to A. This is our derivation, for normal scores, chosen among several by simulation.

    Args:
        sd: Sample standard deviation, with K - 1 in the denominator.
        runs: K.
        draws: The SD on resampled cohorts.
        upper: Largest possible SD, half of the range of the scores.
        level: Nominal coverage of the interval.

    Returns:
        The SD; without an interval for fewer than three runs or an SD of zero.
    """
    if runs < FEWEST or not sd > _ROUNDING or not np.isfinite(draws.examples).all():
        return Interval(sd, math.nan, math.nan)
    square = sd**2
    from_runs = max(unshrunk(float(np.var(draws.runs**2)), runs) / square**2, 2 / (runs - 1))
    drawn = draws.examples**2
    own = max(0.0, float(drawn.mean()) - square)
    shared = max(0.0, float(drawn.var()) - (4 * square * own + 2 * own**2) / (runs - 1))
    # With one degree of freedom the upper end is 32 times the value, with two only six times, at the same coverage.
    freedom = max(2, 2 / (from_runs + shared / (square * (square + own))))
    low, high = sd * np.sqrt(freedom / chi_square_quantile(((1 + level) / 2, (1 - level) / 2), freedom))
    return Interval(sd, float(low), max(sd, min(upper, float(high))))


def pair_interval(value: float, runs: int, upper: float, draws: Draws, *, level: float = LEVEL) -> Interval:
    """Return a mean over pairs of runs, or kappa, with Student's interval for its logarithm, m exp(-+ t sqrt(V) / m).

    Args:
        value: The measure on all K runs.
        runs: K.
        upper: Largest value that the measure can take.
        draws: The measure on resampled cohorts.
        level: Nominal coverage of the interval.

    Returns:
        The value; without an interval for fewer than three runs, if all pairs are equal, or if there are too few
        examples to estimate their effect.
    """
    if runs < FEWEST or not value > 0 or not varies(draws.runs):
        return Interval(value, math.nan, math.nan)
    if not np.isfinite(draws.examples).all():
        return Interval(value, math.nan, math.nan)
    relative = _half_width(unshrunk(float(draws.runs.var()), runs), runs, draws, level) / value
    # With few runs that hardly differ, the factor may overflow.
    factor = math.exp(min(relative, _LARGEST_EXPONENT))
    # A rounding error may put the value outside its range, but it must lie within its interval.
    return Interval(value, value / factor, max(value, min(upper, value * factor)))


def resampled_error(from_runs: float, runs_freedom: float, draws: Draws) -> tuple[float, float]:
    """Return the standard error sqrt(V) and its degrees of freedom, from V_r, its degrees of freedom, and the draws.

    NaN if nothing is known about other examples because all form one group.
    """
    if not np.isfinite(draws.examples).all():
        return math.nan, math.nan
    from_examples = float(draws.examples.var())
    counted_again = max(0.0, float(draws.both.var() - draws.runs.var()) - from_examples)
    variance = max(from_runs, from_examples, from_runs + from_examples - counted_again)
    freedom = variance**2 / (from_runs**2 / runs_freedom + from_examples**2 / draws.freedom)
    return math.sqrt(variance), freedom


def _half_width(from_runs: float, runs: int, draws: Draws, level: float) -> float:
    """Return half the width of Student's interval: t sqrt(V)."""
    error, freedom = resampled_error(from_runs, runs - 1, draws)
    return float(student_quantile((1 + level) / 2, freedom)) * error


def unshrunk(variance: float, runs: int) -> float:
    """Return the variance over resampled runs times K/(K - 1): drawing from K runs understates it by that factor."""
    return variance * runs / (runs - 1)
