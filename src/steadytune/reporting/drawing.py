"""A figure as plain data for plotly's script, without plotly's Python objects, whose import and checks take seconds.

The methods and the attributes that they take are those of `plotly.graph_objects.Figure`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Figure = dict[str, Any]


class Drawing:
    """A figure that is being drawn.

    Attributes:
        data: Its traces.
        layout: Its layout.
    """

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {}

    def add_scatter(self, **attributes: Any) -> None:
        """Add points or lines."""
        self.data.append({"type": "scatter", **attributes})

    def add_heatmap(self, **attributes: Any) -> None:
        """Add a matrix of coloured cells."""
        self.data.append({"type": "heatmap", **attributes})

    def add_annotation(self, **attributes: Any) -> None:
        """Add a text."""
        self.layout.setdefault("annotations", []).append(attributes)

    def add_vline(self, x: float, **attributes: Any) -> None:
        """Add a vertical line from bottom to top."""
        place = {"type": "line", "x0": x, "x1": x, "xref": "x", "y0": 0, "y1": 1, "yref": "y domain"}
        self.layout.setdefault("shapes", []).append({**place, **attributes})

    def update_layout(self, layout: Mapping[str, Any] | None = None, **attributes: Any) -> None:
        """Change parts of the layout and leave the others as they are."""
        _update(self.layout, {**(layout or {}), **attributes})

    def plain(self) -> Figure:
        """Return the figure as data for JSON; numbers that are not finite become None."""
        figure: Figure = plain_data({"data": self.data, "layout": self.layout})
        return figure


def _update(old: dict[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, Mapping) and isinstance(old.get(name), dict):
            _update(old[name], value)
        else:
            old[name] = dict(value) if isinstance(value, Mapping) else value


def plain_data(value: Any) -> Any:
    """Return lists, mappings and numbers of any library as data for JSON; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {name: plain_data(part) for name, part in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "tolist"):
        # A number, array or column of NumPy or pandas.
        return plain_data(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [plain_data(part) for part in value]
