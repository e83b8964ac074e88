"""How many seeds it takes: to see a difference of means, to see a ratio of spreads, to pin a spread down.

All answers assume normal scores and round up. Where runs collapse, the SD that goes in should contain the collapsed
runs; the answer is then a rough guide, since a test on skewed scores has less power than the formula says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from steadytune.errors import UserError

LEVEL, POWER = 0.05, 0.8
MOST = 1_000_000
"""Largest number of seeds that is looked for."""

# Mean and SD of |z| for a standard normal z: what the Brown-Forsythe test compares.
_HALF_NORMAL_MEAN = math.sqrt(2 / math.pi)
_HALF_NORMAL_SD = math.sqrt(1 - 2 / math.pi)


def seeds_to_detect_difference(
    difference: float,
    sd: float,
    baseline_sd: float | None = None,
    *,
    correlation: float | None = None,
    power: float = POWER,
    level: float = LEVEL,
) -> int:
    """Seeds that each of two recipes needs for a two-sided t-test to find a difference of their mean scores.

    Smallest K at which a noncentral t with noncentrality |difference| / e lies beyond the t quantile of the level with
    probability `power`. Seeds of their own: e^2 = (s^2 + s_0^2) / K with Welch's degrees of freedom
    (K-1)(s^2 + s_0^2)^2 / (s^4 + s_0^4). Shared seeds: e^2 = (s^2 + s_0^2 - 2 r s s_0) / K with K - 1. The permutation
    tests of `significance` need about as many. Source: Cohen, "Statistical power analysis for the behavioral sciences",
    1988, chapter 2; the form for unequal SDs is the obvious one and was checked by simulation.

    Args:
        difference: Difference of the means, in the unit of the scores; its sign does not matter.
        sd: SD of one recipe over seeds, s.
        baseline_sd: SD of the other, s_0; by default the same. One of the two may be 0.
        correlation: Correlation r of the two scores of a seed, where both recipes run on the same seeds and the test
            pairs them; None where it does not.
        power: Probability with which the difference is found.
        level: Error of the first kind. For m recipes under Holm's correction level / m is enough.

    Returns:
        K, at least 2.

    Raises:
        UserError: An argument has no meaning, or a million seeds are not enough.

    Example:
        >>> seeds_to_detect_difference(0.01, sd=0.02)
        64
    """
    base = sd if baseline_sd is None else baseline_sd
    _check(power, level)
    _positive("difference", abs(difference))
    _positive("larger SD", max(sd, base))
    if min(sd, base) < 0:
        raise UserError(f"SD must not be negative, not {min(sd, base)}")
    if correlation is not None and not -1 <= correlation <= 1:
        raise UserError(f"correlation must lie between -1 and 1, not {correlation}")
    variance = sd**2 + base**2 - 2 * (correlation or 0.0) * sd * base
    share = 1.0 if correlation is not None else (sd**2 + base**2) ** 2 / (sd**4 + base**4)
    if variance <= 0:
        # Every seed moves both recipes alike: the first pair shows the difference, the second that it is no accident.
        return 2

    def found(runs: int) -> float:
        freedom = share * (runs - 1)
        shift = abs(difference) / math.sqrt(variance / runs)
        # The other tail is the error of finding the difference the wrong way round, which is nothing to plan for.
        return float(stats.nct.sf(stats.t.isf(level / 2, freedom), freedom, shift))

    return _smallest(lambda runs: found(runs) >= power)


def seeds_to_detect_ratio(ratio: float, *, power: float = POWER, level: float = LEVEL) -> int:
    """Seeds that each of two recipes needs for the Brown-Forsythe test to find a ratio of their SDs.

    That test is a t-test on distances from the median, which for normal scores of SD s have mean s sqrt(2/pi) and SD
    s sqrt(1 - 2/pi): so the answer is that of `seeds_to_detect_difference` for those. The F test needs a
    fifth fewer at a ratio of 2, but takes one collapsed run for a difference of spreads. Derived here, checked by
    simulation.

    Args:
        ratio: Larger or smaller than 1; 2 and 1/2 need the same.
        power: Probability with which the ratio is found.
        level: Error of the first kind.

    Returns:
        K, at least 5, below which the test finds nothing.

    Raises:
        UserError: An argument has no meaning, or a million seeds are not enough.

    Example:
        >>> seeds_to_detect_ratio(2)
        24
    """
    _positive("ratio", ratio)
    if ratio == 1:
        raise UserError("a ratio of 1 is no difference: no number of seeds detects it")
    return max(
        5,
        seeds_to_detect_difference(
            (ratio - 1) * _HALF_NORMAL_MEAN, ratio * _HALF_NORMAL_SD, _HALF_NORMAL_SD, power=power, level=level
        ),
    )


def seeds_to_pin_sd(width: float, *, level: float = LEVEL) -> int:
    """Seeds after which the interval of an SD is no wider than a share of the SD itself.

    Smallest K with sqrt((K-1) / chi2_{K-1, level/2}) - sqrt((K-1) / chi2_{K-1, 1-level/2}) <= width: the chi-square
    interval of `intervals.spread_interval`, whose ends are proportional to the SD.

    Args:
        width: Upper minus lower end, divided by the SD: 0.5 is about -19 % to +30 %.
        level: One minus the coverage.

    Returns:
        K, at least 2.

    Raises:
        UserError: An argument has no meaning, or a million seeds are not enough.

    Example:
        >>> seeds_to_pin_sd(0.5)
        36
    """
    _check(POWER, level)
    _positive("width", width)

    def ends(runs: int) -> float:
        low, high = np.sqrt((runs - 1) / stats.chi2.isf((level / 2, 1 - level / 2), runs - 1))
        return float(high - low)

    return _smallest(lambda runs: ends(runs) <= width)


def _smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest number from 2 on that is enough, given that every larger one is."""
    low, high = 1, 2
    while not enough(high):
        if high > MOST:
            raise UserError(f"more than {MOST:,} seeds would be needed: ask for less")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(power: float, level: float) -> None:
    for name, share in (("power", power), ("level", level)):
        if not 0 < share < 1:
            raise UserError(f"{name} must lie between 0 and 1, not {share}")


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UserError(f"{name} must be a positive number, not {value}")
