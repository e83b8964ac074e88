"""Results in the hand: a short text in a terminal, a table in a notebook, a data frame for one's own work."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LINES = 20
"""Most lines of a `repr`."""

_ROWS = 60


class Shown(ABC):
    """A result that says what it holds; `summary()` is the whole text, of which `repr` shows the beginning."""

    @abstractmethod
    def summary(self) -> str:
        """Return what a reader should know, in lines."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a data frame."""

    def __repr__(self) -> str:
        """Return at most 20 lines of the summary."""
        lines = self.summary().splitlines()
        if len(lines) <= LINES:
            return "\n".join(lines)
        return "\n".join([*lines[: LINES - 1], f"... {len(lines) - LINES + 1} more lines: summary()"])

    def _repr_html_(self) -> str:
        """Return the summary's first line and the data frame, as a notebook shows them."""
        title = html.escape(self.summary().partition("\n")[0])
        return f"<p><b>{title}</b></p>" + self.to_frame().to_html(max_rows=_ROWS, float_format="{:.4g}".format)
