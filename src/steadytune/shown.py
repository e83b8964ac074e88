"""Display of results: a short text in a terminal, a table in a notebook, a data frame for further work."""

from __future__ import annotations

import html
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

LINES, WIDTH = 20, 200
"""Most lines of a `repr`, and most characters of each."""

_ROWS, _COLUMNS = 16, 12


# Control characters, which would steer a terminal, and marks that change the direction of text.
_UNSEEN = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}"
)


def plural(number: int, noun: str) -> str:
    """Write "1 run", "5 runs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Shown:
    """A result that describes itself: `summary()` is the full text, and `repr` its beginning."""

    def summary(self) -> str:
        """Return the full description as lines of text."""
        raise NotImplementedError

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a data frame."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return at most 20 lines of the summary."""
        lines = [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in self.summary().splitlines()]
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], f"... and {len(lines) - LINES + 1} more lines: see summary()"]
        return "\n".join(line.translate(_UNSEEN) for line in lines)

    def remarks(self) -> list[str]:
        """Return what must be read beside the numbers, a sentence or a few each."""
        return []

    def _repr_html_(self) -> str:
        """Return the first line of the summary, the data frame and the remarks, for a notebook."""
        title = html.escape(self.summary().partition("\n")[0])
        frame = self.to_frame()
        frame = frame.astype(object).where(frame.notna(), "")
        table = frame.to_html(
            max_rows=_ROWS,
            max_cols=_COLUMNS,
            float_format="{:.4g}".format,
            na_rep="",
            index=frame.index.name is not None,
        )
        return f"<p><b>{title}</b></p>{table}" + "".join(f"<p>{html.escape(one)}</p>" for one in self.remarks())


class Drawn(Shown):
    """A result that can be plotted as in the report."""

    def plot(self, what: str | None = None) -> go.Figure:
        """Plot a figure of the report.

        Args:
            what: Its name; by default the first one available. An unknown name raises an error that lists them.

        Returns:
            A plotly figure; `figure.show()` opens it, and a notebook displays it.

        Raises:
            UserError: There is no such figure, or nothing to plot.
        """
        # Plotting is implemented in a higher room: this is the only call that points up.
        plots: Any = import_module("steadytune.reporting.plots")
        figure: go.Figure = plots.plot(self, what)
        return figure
