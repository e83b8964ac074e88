"""One number about a cohort, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steadytune.analysis.intervals import Interval


@dataclass(frozen=True)
class Value:
    """One measure of one cohort.

    Attributes:
        measure: A name in `measures.MEASURES`, or "mean" for the mean score.
        layer: Block, counted from 1, of a representation measure; None for the others.
        value: Higher is less stable; NaN if the cohort does not determine it.
        low: Lower end of the 95 % interval; NaN if there is none.
        high: Upper end.
        null: For a representation measure, its value on shuffled rows; NaN otherwise.
    """

    measure: str
    layer: int | None
    value: float
    low: float
    high: float
    null: float = math.nan

    @property
    def interval(self) -> Interval:
        """The value with its ends."""
        return Interval(self.value, self.low, self.high)
