"""Plan the number of seeds: to detect a difference of means or a ratio of SDs, or to estimate an SD.

The power is that of the deciding tests, those of `difference`. All answers assume normal scores and round up. If runs
collapse, the SD should include the collapsed runs; the answer is then a rough guide, since a test on skewed scores has
less power than the formula says.

Seeds planned for a power of .80, and the share of 300 pairs of normal scores in which `compare` then found the
difference, by the unadjusted p-value of that test; means differ by 1 to 3 SDs, SDs by a ratio; standard errors are .02
(`benchmarks/decisions.py`):

    means, own seeds         1: 17  .82     2: 6   .89     3: 4   .91
    means, shared seeds      1: 18  .82     2: 7   .87     3: 5   .93     (scores of a seed that do not correlate)
    SDs, own seeds           2: 29  .89     3: 15  .84     5: 10  .88
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import numpy as np

from steadytune.analysis.distributions import (
    chi_square_upper_quantile,
    noncentral_student_tail,
    student_quantile,
)
from steadytune.analysis.intervals import LEVEL, SIGNIFICANT
from steadytune.errors import UserError, door

POWER = 0.8
MOST = 1_000_000
"""Largest number of seeds considered."""

# Mean and SD of |z| for a standard normal z: what the Brown-Forsythe test compares.
_HALF_NORMAL_MEAN = math.sqrt(2 / math.pi)
_HALF_NORMAL_SD = math.sqrt(1 - 2 / math.pi)
# Two runs have no interval and no test. With four, the resampled spread is not a reliable error.
_FEWEST, _FEWEST_FOR_RATIO = 3, 5


@door
def seeds_to_detect_difference(
    difference: float,
    sd: float,
    baseline_sd: float | None = None,
    *,
    correlation: float | None = None,
    examples_error: float = 0.0,
    power: float = POWER,
    significance: float = SIGNIFICANT,
) -> int:
    """Return the seeds that each of two recipes needs to detect a difference of their mean scores.

    Smallest K at which a noncentral t with noncentrality |difference| / e lies beyond the t quantile of `significance`
    with probability `power`. Separate seeds: e^2 = (s^2 + s_0^2) / K with Welch's degrees of freedom
    (K-1)(s^2 + s_0^2)^2 / (s^4 + s_0^4). Shared seeds: e^2 = (s^2 + s_0^2 - 2 r s s_0) / K with K - 1. No
    number of seeds reduces what the evaluation set adds to e^2. Source: Cohen, "Statistical power analysis for the
    behavioral sciences", 1988, chapter 2; the form for unequal SDs is ours, checked by simulation.

    Args:
        difference: Difference of the means, in the unit of the scores; its sign does not matter.
        sd: SD of one recipe over seeds, s.
        baseline_sd: SD of the other, s_0; by default the same. One of the two may be 0.
        correlation: Correlation r of the two scores of a seed, if both recipes run on the same seeds and are paired: 0
            if they are unrelated. None for separate seeds.
        examples_error: Standard error of the difference due to the evaluation set, in the unit of the scores.
        power: Probability of detecting the difference.
        significance: Type I error rate. For m tests under Holm's correction, significance / m is enough.

    Returns:
        K, at least 3; with fewer there is no test.

    Raises:
        UserError: An argument is invalid, or a million seeds are not enough.

    Example:
        >>> seeds_to_detect_difference(0.01, sd=0.02)
        64
    """
    base = sd if baseline_sd is None else baseline_sd
    for name, given in (("difference", difference), ("sd", sd), ("baseline_sd", base)):
        if not isinstance(given, Real):
            raise UserError(f"{name} must be a number, not {given!r:.60}")
    _check(power=power, significance=significance)
    _positive("difference", abs(difference))
    _positive("larger SD", max(sd, base))
    for name, number in (("SD", min(sd, base)), ("examples_error", examples_error)):
        if number < 0:
            raise UserError(f"{name} must not be negative, not {number}")
    if correlation is not None and not -1 <= correlation <= 1:
        raise UserError(f"correlation must lie between -1 and 1, not {correlation}")
    variance = max(0.0, sd**2 + base**2 - 2 * (correlation or 0.0) * sd * base)
    share = 1.0 if correlation is not None else (sd**2 + base**2) ** 2 / (sd**4 + base**4)
    needed = seeds_to_reach(difference, variance, share, examples_error**2, power=power, significance=significance)
    if needed is None:
        raise UserError(
            "no number of seeds can detect that difference: the evaluation set's error is too large, so add examples"
        )
    return needed


def seeds_to_reach(
    difference: float,
    per_run: float,
    share: float,
    from_examples: float = 0.0,
    examples_freedom: float = math.inf,
    *,
    power: float = POWER,
    significance: float = SIGNIFICANT,
) -> int | None:
    """Return the seeds per recipe that detect a difference of means with probability `power`.

    Args:
        difference: Of the means.
        per_run: Squared error with one run per recipe; K runs have a K-th of it.
        share: Degrees of freedom of that error, divided by K - 1.
        from_examples: Squared error that the examples add.
        examples_freedom: Its degrees of freedom.
        power: As for `seeds_to_detect_difference`.
        significance: As for `seeds_to_detect_difference`.

    Returns:
        K; None if the error from the examples alone is too large.
    """

    def found(runs: int) -> float:
        from_runs, own = per_run / runs, share * (runs - 1)
        variance = from_runs + from_examples
        if variance <= 0:
            # Every seed shifts both recipes equally.
            return 1.0
        freedom = variance**2 / (from_runs**2 / own + from_examples**2 / examples_freedom)
        # The other tail is finding a difference of the wrong sign, which nobody plans for.
        return noncentral_student_tail(
            -student_quantile(significance / 2, freedom), freedom, abs(difference) / math.sqrt(variance)
        )

    if from_examples > 0 and found(MOST) < power:
        return None
    return _smallest(lambda runs: runs >= _FEWEST and found(runs) >= power)


@door
def seeds_to_detect_ratio(ratio: float, *, power: float = POWER, significance: float = SIGNIFICANT) -> int:
    """Return the seeds that each of two recipes needs to detect a ratio of their SDs.

    The test in `difference` combines two, and its power is at least the product of theirs. Brown and Forsythe's is a
    t-test on distances from the median, which for normal scores of SD s have mean s sqrt(2/pi) and SD s sqrt(1 -
    2/pi). For the other the logarithm of the ratio has an SD of about 1 / sqrt(K - 1), and is compared with Student's
    quantile times an error that is larger by a factor 1.04 + 1.4 / (K - 3.6): for its second term, and since few runs
    resample to logarithms that scatter much. The factor is fitted to simulations of that test with K = 5 to 80, ratios
    of 1.5 to 10 and levels of .05 to .004. Seeds that are shared and move both recipes alike need fewer.

    Args:
        ratio: Larger or smaller than 1; 2 and 1/2 need the same.
        power: Probability of detecting the ratio.
        significance: Type I error rate.

    Returns:
        K, at least 5; with fewer the test detects almost nothing.

    Raises:
        UserError: An argument is invalid, or a million seeds are not enough.

    Example:
        >>> seeds_to_detect_ratio(2)
        29
    """
    _check(power=power, significance=significance)
    _positive("ratio", ratio)
    if ratio == 1:
        raise UserError("a ratio of 1 is not a difference: no number of seeds detects it")

    def found(runs: int) -> float:
        if runs < _FEWEST_FOR_RATIO:
            return 0.0
        wider = 1.04 + 1.4 / (runs - 3.6)
        shift = abs(math.log(ratio)) * math.sqrt(runs - 1)
        resampled = noncentral_student_tail(-wider * student_quantile(significance / 2, runs - 1), runs - 1, shift)
        squares = larger**2 + 1
        freedom = (runs - 1) * squares**2 / (larger**4 + 1)
        shift = (larger - 1) * _HALF_NORMAL_MEAN / (_HALF_NORMAL_SD * math.sqrt(squares / runs))
        return resampled * noncentral_student_tail(-student_quantile(significance / 2, freedom), freedom, shift)

    larger = max(ratio, 1 / ratio)
    return _smallest(lambda runs: found(runs) >= power)


@door
def seeds_to_pin_sd(width: float, *, level: float = LEVEL) -> int:
    """Return the seeds after which the interval of an SD is no wider than a given share of the SD.

    Smallest K with sqrt((K-1) / chi2_{K-1, (1-level)/2}) - sqrt((K-1) / chi2_{K-1, (1+level)/2}) <= width: the
    chi-square interval of `intervals.spread_interval`, whose ends are proportional to the SD.

    Args:
        width: Upper minus lower end, divided by the SD: 0.5 is about -19 % to +30 %.
        level: The coverage.

    Returns:
        K, at least 2.

    Raises:
        UserError: An argument is invalid, or a million seeds are not enough.

    Example:
        >>> seeds_to_pin_sd(0.5)
        36
    """
    _check(level=level)
    _positive("width", width)

    def ends(runs: int) -> float:
        low, high = np.sqrt((runs - 1) / chi_square_upper_quantile(((1 - level) / 2, (1 + level) / 2), runs - 1))
        return float(high - low)

    return _smallest(lambda runs: ends(runs) <= width)


def _smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest sufficient number from 2 up, given that every larger one is also sufficient."""
    low, high = 1, 2
    while not enough(high):
        if high > MOST:
            raise UserError(f"more than {MOST:,} seeds would be needed: use a less demanding target")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"{name} must lie between 0 and 1, not {share}")


def _positive(name: str, value: float) -> None:
    if not isinstance(value, Real):
        raise UserError(f"{name} must be a number, not {value!r:.60}")
    if not 0 < value < math.inf:
        raise UserError(f"{name} must be a positive number, not {value}")
