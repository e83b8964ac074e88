"""Numbers and names inside sentences: plain English, singular and plural right."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from steadytune.analysis.intervals import Interval

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SEED = re.compile(r"\d+(/\d+)*")
# More names than a sentence bears; the report lists every run anyway.
_MANY = 6


def spelled(number: int) -> str:
    """Spell a number up to twelve as running text does, "no" for 0."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def listed(items: Sequence[object]) -> str:
    """Write "a", "a and b", "a, b and c"."""
    names = [str(item) for item in items]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def runs_noun(seeds: Sequence[str]) -> str:
    """Return "seed" where runs are named by their seeds, "run" where they have other names or none."""
    return "seed" if seeds and all(map(_SEED.fullmatch, seeds)) else "run"


def counted(number: int, noun: str) -> str:
    """Write "one run", "five runs"."""
    return f"{spelled(number)} {noun}{'' if number == 1 else 's'}"


def named_runs(chosen: Sequence[str], seeds: Sequence[str]) -> str:
    """Name some runs of a cohort: "seed 3", "seeds 3 and 7", "all five seeds", "8 of 20 seeds".

    Args:
        chosen: Names of the runs that are meant.
        seeds: Names of all runs.
    """
    noun = runs_noun(seeds)
    if len(chosen) == len(seeds) > 2:
        return f"all {counted(len(seeds), noun)}"
    if len(chosen) > _MANY:
        return f"{len(chosen)} of {len(seeds)} {noun}s"
    return f"{noun}{'' if len(chosen) == 1 else 's'} {listed(chosen)}"


def points(value: float) -> str:
    """Write a fraction in points, one decimal, two where one would read 0.0."""
    value *= 100
    return f"{value:.2f}" if 0 < abs(value) < 0.095 else f"{value:.1f}"


def signed_points(value: float) -> str:
    """Write a difference of fractions in points, with its sign."""
    return f"{'+' if value > 0 else ''}{points(value)}"


def in_points(value: float) -> str:
    """Write "1 point", "0.5 points"."""
    return f"{100 * value:g} point{'' if 100 * value == 1 else 's'}"


def points_range(interval: Interval) -> str:
    """Write " [2.9, 6.6]" in points, or nothing where there is no interval."""
    return f" [{points(interval.low)}, {points(interval.high)}]" if interval.low == interval.low else ""


def chance(p: float) -> str:
    """Write "p = 0.03", or nothing for a p-value that is not known."""
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def percent(share: float) -> str:
    """Write a share as "12 %", with a decimal below one per cent."""
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def capital(sentence: str) -> str:
    """Begin a sentence, leaving the rest of its letters alone."""
    return sentence[:1].upper() + sentence[1:]
