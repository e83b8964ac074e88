"""95 % intervals that treat both the seeds and the evaluation examples as random: new runs, on new examples.

They are made of the bootstrap of `bootstrap`: the standard error of what it draws, around the value that was measured,
on the scale on which a measure varies evenly, with Student's or the chi-square quantile for so many runs. A percentile
interval would be simpler and is worse: at K = 5 that of a disagreement covers 88 to 99 %, that of a SD 54 to 100 %.

Two parts. V_r is the variance over resampled runs, times K/(K - 1), since drawing from K runs shows that much less than
drawing from all. V_e is the variance over resampled examples. What single runs do on single examples is in both, and in
the bootstrap of both three times (Owen 2007), so that V_r + V_e - (V_both - V_runs - V_e) counts it once. The degrees
of freedom are those of Satterthwaite (1946): K - 1 for V_r, N - 1 for V_e.

Coverage in per cent, nominally 95, of the mean accuracy, its SD, disagreement, 1 - kappa and Jensen-Shannon divergence
over N = 300 examples of two classes, simulated with 400 cohorts per number, whose standard error is 1.1:

    runs                                      K = 20               K = 10               K = 5
    flip examples independently               94  98 95 96 95      92 98 95 95 96      96 96 98 98 98
    the same, a few flips only                95 100 94 94 96      93 99 96 97 97      95 98 98 98 96
    move along a direction they share         96  96 92 92 92      96 96 94 94 90      94 94 94 94 92
    are biased towards one class              94  94 93 93 92      95 94 96 96 92      96 93 92 92 92
    differ in quality                         96  96 95 95 93      93 96 93 93 92      95 96 92 92 88
    move along a direction, 1 in 7 collapses  92  92 89 93 89      92 80 79 80 76      90 75 82 78 73

Matthews' correlation in the place of accuracy gives the same within 2 points, but where runs collapse: 91 and 89 at
K = 20, 80 and 63 at K = 5. The truth is the mean of the measure over all cohorts, for SD the root of the mean of its
square. Where runs are of one kind, 20 of them keep what they promise, and 5 fall short by up to 7 points. Where runs
collapse, few runs often hold none of those, and no interval can know. Those of SD are wider than they need to be where
flips are few. For representations see `halves`.

Where examples form groups, whole groups are drawn, and N is their number. Coverage where the examples of a group share
a part of their margin with an SD of 1.6 logits, and where tight runs collapse (400 cohorts per number):

    runs                                      K = 10               K = 5
    60 groups of 8                            95  96 96 96 96      95  96 97 97 96
    the same, taken as 480 examples           68  94 82 82 86      71  96 89 90 91
    20 groups of 8                            94  98 96 95 95      93  97 95 95 94
    10 groups of 16                           94  96 96 96 96      92  96 96 96 96
    480 examples                              95  96 97 97 94      95  96 98 98 95
    tight runs, 1 in 7 collapses              94  72 73 74 74      89  49 55 55 55

Of tight runs 20 give 95 90 90 92 90. In 46 % of cohorts of five none collapses: beside every interval of a small cohort
`failures.failure_words` therefore says how many runs may fail. `benchmarks/coverage.py` makes this table.

Of regressions, mean Pearson correlation, its SD, RMSE between runs, 1 - Pearson's r and 1 - ICC (400 cohorts each):

    runs                                      K = 20               K = 10               K = 5
    300 examples                              96  98  96 96 96     95  96  98 95 94     96  96 100 94 95
    60 groups of 8                            93  98  96 95 95     94  96  98 96 95     95  98  99 94 94
    tight runs, 1 in 7 collapses              92  94  93 93 95     80  78  76 76 77     55  53  55 52 52

If K runs show no spread at all there is no interval (NaN): an interval of zero width would claim too much. Nor is there
an interval for two runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
"""Nominal coverage of intervals."""
SIGNIFICANT = 0.05
"""Below it a p-value is significant: 1 - LEVEL, without what rounding would add to it."""
FEWEST = 3
"""Runs below which there is no interval: that of two would be 13 times as wide as their own spread."""

_ROUNDING = 1e-12
_LARGEST_EXPONENT = 100.0


class Interval(NamedTuple):
    """An estimate with the ends of its interval, at 95 % unless another level is said; NaN for what is not known."""

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
        both: Runs and examples drawn.
        runs: Runs drawn, on the examples as they are.
        examples: Examples drawn, for the runs as they are; all equal where nothing is known of other examples.
        freedom: Degrees of freedom that the variance over examples has.
    """

    both: NDArray[np.float64]
    runs: NDArray[np.float64]
    examples: NDArray[np.float64]
    freedom: int


def varies(values: ArrayLike) -> bool:
    """Tell whether values differ by more than rounding, which alone gives equal scores an SD of 1e-17."""
    return bool(np.ptp(np.asarray(values, dtype=np.float64)) > _ROUNDING)


def mean_interval(
    scores: ArrayLike, draws: Draws, lowest: float = -math.inf, highest: float = math.inf, *, level: float = LEVEL
) -> Interval:
    """Mean of K scores with Student's interval, m -+ t sqrt(V), in which V_r = s^2 / K.

    Args:
        scores: (K,) task metric.
        draws: The mean on resampled cohorts.
        lowest: Smallest score that there can be. The interval ends there: no truth lies beyond.
        highest: Largest one.
        level: Nominal coverage of the interval.

    Returns:
        The mean; without interval for fewer than three runs or identical scores.
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
    """SD of K scores with a chi-square interval, s sqrt(f / chi2_f), whose f matches the variance V of s^2.

    For a chi-square distribution V / s^4 = 2 / f. V_r is that of normal scores, f = K - 1, or the larger one that the
    bootstrap over runs finds, as it does where runs collapse. With A = s^2, and A + B its mean over resampled examples,

        V_e = (Var_e(s^2) - (4 A B + 2 B^2) / (K - 1)) (A / (A + B)), at least 0.

    What is taken away is the luck of each run of its own, of variance B, which drawing examples adds to the runs and
    which s^2 and V_r hold already; what is left is the luck that the runs share. The last factor brings a variance
    around A + B back to A. This is our derivation, for runs that are normal, and a choice among several by simulation.

    Args:
        sd: Sample standard deviation, with K - 1 in the denominator.
        runs: K.
        draws: The SD on resampled cohorts.
        upper: Largest SD that there can be, half of the range of the scores.
        level: Nominal coverage of the interval.

    Returns:
        The SD; without interval for fewer than three runs or an SD of zero.
    """
    if runs < FEWEST or not sd > _ROUNDING or not np.isfinite(draws.examples).all():
        return Interval(sd, math.nan, math.nan)
    square = sd**2
    from_runs = max(unshrunk(float(np.var(draws.runs**2)), runs) / square**2, 2 / (runs - 1))
    drawn = draws.examples**2
    own = max(0.0, float(drawn.mean()) - square)
    shared = max(0.0, float(drawn.var()) - (4 * square * own + 2 * own**2) / (runs - 1))
    # With one degree of freedom the upper end is 32 times the value, with two it is six times and holds as often.
    freedom = max(2, 2 / (from_runs + shared / (square * (square + own))))
    low, high = sd * np.sqrt(freedom / stats.chi2.ppf(((1 + level) / 2, (1 - level) / 2), freedom))
    return Interval(sd, float(low), max(sd, min(upper, float(high))))


def pair_interval(value: float, runs: int, upper: float, draws: Draws, *, level: float = LEVEL) -> Interval:
    """Mean over pairs of runs, or kappa, with Student's interval for its logarithm, m exp(-+ t sqrt(V) / m).

    Args:
        value: The measure on all K runs.
        runs: K.
        upper: Largest value that the measure can take.
        draws: The measure on resampled cohorts.
        level: Nominal coverage of the interval.

    Returns:
        The value; without interval for fewer than three runs, where all pairs are alike, and where the examples are too
        few to say how much they matter.
    """
    if runs < FEWEST or not value > 0 or not varies(draws.runs):
        return Interval(value, math.nan, math.nan)
    if not np.isfinite(draws.examples).all():
        return Interval(value, math.nan, math.nan)
    relative = _half_width(unshrunk(float(draws.runs.var()), runs), runs, draws, level) / value
    # Few runs that hardly differ leave the value open by more than any factor.
    factor = math.exp(min(relative, _LARGEST_EXPONENT))
    # The value itself may lie a rounding error outside its range, and must not lie outside its interval.
    return Interval(value, value / factor, max(value, min(upper, value * factor)))


def resampled_error(from_runs: float, runs_freedom: float, draws: Draws) -> tuple[float, float]:
    """Standard error sqrt(V) and its degrees of freedom, from V_r, its own degrees of freedom, and the draws.

    NaN where nothing is known of other examples because all are one group.
    """
    if not np.isfinite(draws.examples).all():
        return math.nan, math.nan
    from_examples = float(draws.examples.var())
    counted_again = max(0.0, float(draws.both.var() - draws.runs.var()) - from_examples)
    variance = max(from_runs, from_examples, from_runs + from_examples - counted_again)
    freedom = variance**2 / (from_runs**2 / runs_freedom + from_examples**2 / draws.freedom)
    return math.sqrt(variance), freedom


def _half_width(from_runs: float, runs: int, draws: Draws, level: float) -> float:
    """Half the width of Student's interval: t sqrt(V)."""
    error, freedom = resampled_error(from_runs, runs - 1, draws)
    return float(stats.t.ppf((1 + level) / 2, freedom)) * error


def unshrunk(variance: float, runs: int) -> float:
    """Variance over resampled runs times K/(K - 1), since drawing from K runs shows that much less than from all."""
    return variance * runs / (runs - 1)
