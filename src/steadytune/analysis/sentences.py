"""Format numbers and names for sentences, with correct singular and plural."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from steadytune.analysis.intervals import Interval
from steadytune.metrics import Scale

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SEED = re.compile(r"\d+(/\d+)*")
# Too many names for one sentence; the report lists every run anyway.
_MANY = 6


def spelled(number: int) -> str:
    """Spell out a number up to twelve, "no" for 0."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def listed(items: Sequence[object]) -> str:
    """Write "a", "a and b", "a, b and c"."""
    names = [str(item) for item in items]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names by the numbers in them: seed1, seed2, seed10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def runs_noun(seeds: Sequence[str]) -> str:
    """Return "seed" if runs are named by their seeds, "run" otherwise."""
    return "seed" if seeds and all(map(_SEED.fullmatch, seeds)) else "run"


def counted(number: int, noun: str) -> str:
    """Write "one run", "five runs"."""
    return f"{spelled(number)} {noun}{'' if number == 1 else 's'}"


def named_runs(chosen: Sequence[str], seeds: Sequence[str]) -> str:
    """Name some runs of a cohort: "seed 3", "seeds 3 and 7", "all five seeds", "8 of 20 seeds".

    Args:
        chosen: Names of the chosen runs.
        seeds: Names of all runs.
    """
    noun = runs_noun(seeds)
    if len(chosen) == len(seeds) > 2:
        return f"all {counted(len(seeds), noun)}"
    if len(chosen) > _MANY:
        return f"{len(chosen)} of {len(seeds)} {noun}s"
    return f"{noun}{'' if len(chosen) == 1 else 's'} {listed(chosen)}"


def points(value: float) -> str:
    """Format a fraction in points with one decimal, or two if one decimal would give 0.0."""
    value *= 100
    return f"{value:.2f}" if 0 < abs(value) < 0.095 else f"{value:.1f}"


def scored(value: float, scale: Scale) -> str:
    """Format a score, its SD or an interval end: fractions in points, anything else unchanged."""
    return points(value) if scale.unit == "points" else f"{value:.4g}"


def signed_score(value: float, scale: Scale) -> str:
    """Format a difference of scores with its sign."""
    return f"{'+' if value > 0 else ''}{scored(value, scale)}"


def score_unit(scale: Scale) -> str:
    """Return the unit after a difference or an SD of scores: " points", or ""."""
    return f" {scale.unit}" if scale.unit else ""


def score_step(value: float, scale: Scale) -> str:
    """Format a difference to be detected: "1 point", "0.5 points", "0.02"."""
    shown = f"{scale.factor * value:.4g}"
    return shown if not scale.unit else f"{shown} point{'' if shown == '1' else 's'}"


def score_range(interval: Interval, scale: Scale) -> str:
    """Return " [2.9, 6.6]", or "" if there is no interval."""
    ends = (scored(end, scale) for end in (interval.low, interval.high))
    return f" [{', '.join(ends)}]" if interval.low == interval.low else ""


def times(ratio: float) -> str:
    """Format a ratio as "0.75", or "over 1000" above a thousand."""
    return "over 1000" if ratio > 1000 else f"{ratio:.2f}"


def chance(p: float) -> str:
    """Return "p = 0.03", or "" for an unknown p-value."""
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def percent(share: float) -> str:
    """Format a share as "12 %", with one decimal below one per cent."""
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def capital(sentence: str) -> str:
    """Capitalize the first letter and leave the rest unchanged."""
    return sentence[:1].upper() + sentence[1:]
