"""Numbers and names inside sentences: plain English, singular and plural right."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from steadytune.analysis.intervals import Interval
from steadytune.metrics import Scale

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


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts names by the numbers in them: seed1, seed2, seed10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


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


def scored(value: float, scale: Scale) -> str:
    """Write a score, its SD or an end of their intervals: a fraction in points, anything else as it is."""
    return points(value) if scale.unit == "points" else f"{value:.4g}"


def signed_score(value: float, scale: Scale) -> str:
    """Write a difference of scores, with its sign."""
    return f"{'+' if value > 0 else ''}{scored(value, scale)}"


def score_unit(scale: Scale) -> str:
    """Return what stands behind a difference or an SD of scores: " points", or nothing."""
    return f" {scale.unit}" if scale.unit else ""


def score_step(value: float, scale: Scale) -> str:
    """Write a difference that somebody looks for: "1 point", "0.5 points", "0.02"."""
    shown = f"{scale.factor * value:.4g}"
    return shown if not scale.unit else f"{shown} point{'' if shown == '1' else 's'}"


def score_range(interval: Interval, scale: Scale) -> str:
    """Write " [2.9, 6.6]", or nothing where there is no interval."""
    ends = (scored(end, scale) for end in (interval.low, interval.high))
    return f" [{', '.join(ends)}]" if interval.low == interval.low else ""


def times(ratio: float) -> str:
    """Write a ratio as "0.75", one beyond a thousand as "over 1000"."""
    return "over 1000" if ratio > 1000 else f"{ratio:.2f}"


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
