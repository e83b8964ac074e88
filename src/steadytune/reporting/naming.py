"""What the report calls things, and how it writes numbers."""

from __future__ import annotations

import math

from steadytune.analysis.sentences import scored
from steadytune.measures import MEASURES
from steadytune.metrics import Scale

MISSING = "–"
_ELLIPSIS = "…"


def scale_of(measure: str) -> Scale | None:
    """Return the scale of a measure that has a unit, which is shown as it is; None for any other."""
    return Scale(measure) if measure in MEASURES and MEASURES[measure].in_units else None


def known(value: float | None) -> bool:
    """Whether a number is there to be shown."""
    return value is not None and math.isfinite(value)


def number(value: float | None, scale: Scale | None = None) -> str:
    """Write a measure with three decimals, or on its scale a score, or a measure that has one."""
    if value is None or not math.isfinite(value):
        return MISSING
    if scale is not None:
        return scored(value, scale)
    # Plus zero, which has no sign once it is rounded.
    return "<0.001" if 0 < value < 0.0005 else f"{round(value, 3) + 0.0:.3f}"


def interval(low: float, high: float, scale: Scale | None = None) -> str:
    """Write an interval, or nothing where there is none."""
    return f"[{number(low, scale)}, {number(high, scale)}]" if known(low) and known(high) else ""


def seconds(value: float | None) -> str:
    """Write a duration."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def called(recipe: str) -> str:
    """Name a recipe; runs that were trained elsewhere may have none."""
    return recipe or "these runs"


def count(amount: int, noun: str) -> str:
    """Write "1 run", "2 runs"."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def shortened(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, between words where that is possible."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip() + _ELLIPSIS
