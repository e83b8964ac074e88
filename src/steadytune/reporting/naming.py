"""Names and number formats in reports."""

from __future__ import annotations

import math

from steadytune.analysis.sentences import scored
from steadytune.measures import MEASURES
from steadytune.metrics import Scale

MISSING = "–"
_ELLIPSIS = "…"


def scale_of(measure: str) -> Scale | None:
    """Return the scale of a measure in the unit of the score or target; None for any other."""
    return Scale(measure) if measure in MEASURES and MEASURES[measure].in_units else None


def known(value: float | None) -> bool:
    """Return whether a number is known."""
    return value is not None and math.isfinite(value)


def number(value: float | None, scale: Scale | None = None) -> str:
    """Format a measure with three decimals, or a score or measure with a scale in its unit."""
    if value is None or not math.isfinite(value):
        return MISSING
    if scale is not None:
        return scored(value, scale)
    # Adding zero drops the sign of a rounded -0.
    return "<0.001" if 0 < value < 0.0005 else f"{round(value, 3) + 0.0:.3f}"


def interval(low: float, high: float, scale: Scale | None = None) -> str:
    """Format an interval, or "" if there is none."""
    return f"[{number(low, scale)}, {number(high, scale)}]" if known(low) and known(high) else ""


def seconds(value: float | None) -> str:
    """Format a duration."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def called(recipe: str) -> str:
    """Name a recipe; runs trained elsewhere may have none."""
    return recipe or "these runs"


def count(amount: int, noun: str) -> str:
    """Write "1 run", "2 runs"."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def shortened(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, between words if possible."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip() + _ELLIPSIS
