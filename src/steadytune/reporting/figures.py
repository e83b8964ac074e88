"""Helpers for all figures, and instability by layer.

Text and grid take the page's colours, so that one drawing works in light mode, dark mode and print.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

from steadytune.analysis.profile import Profile
from steadytune.analysis.value import Value
from steadytune.measures import MEASURES, layer_measures
from steadytune.metrics import Scale
from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.naming import called, interval, known, number

# Okabe-Ito, darkened where contrast would be below 3:1 on white or on the dark page. The two cycles have coprime
# lengths, so that no two of 35 recipes share colour and symbol.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C466A0", "#A67C00", "#7B5EA7", "#767C84")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
_GLYPHS = dict(zip(_SYMBOLS, "●■◆▲★", strict=True))
_DARK = "#1c2126"
_BAND_LIMIT = 6


class Look(NamedTuple):
    """The appearance of one recipe in every figure of a section."""

    colour: str
    symbol: str

    @property
    def glyph(self) -> str:
        """The symbol as a character, for the legend."""
        return _GLYPHS[self.symbol]


def looks(recipes: Sequence[str]) -> dict[str, Look]:
    """Assign each recipe a colour and a symbol."""
    return {name: Look(_COLOURS[i % len(_COLOURS)], _SYMBOLS[i % len(_SYMBOLS)]) for i, name in enumerate(recipes)}


def layer_figures(profiles: Sequence[Profile], styles: dict[str, Look]) -> dict[str, Figure]:
    """Draw each representation measure over the blocks, with its intervals and the permutation null.

    Returns:
        Measure -> figure; a measure unknown for all cohorts is absent.
    """
    figures = {}
    for measure in (one.name for one in layer_measures()):
        lines = [(profile, _by_layer(profile, measure)) for profile in profiles]
        lines = [(profile, values) for profile, values in lines if values]
        if not lines:
            continue
        figure = Drawing()
        for profile, values in lines:
            _draw_line(figure, profile.cohort.recipe, measure, values, styles, bands=len(lines) <= _BAND_LIMIT)
        deepest = max(value.layer or 0 for _, values in lines for value in values)
        figure.update_layout(
            frame(height=300, top=12),
            xaxis=block_axis(deepest),
            yaxis={"rangemode": "tozero", "zeroline": False, "automargin": True},
        )
        figures[measure] = figure.plain()
    return figures


def _draw_line(
    figure: Drawing, recipe: str, measure: str, values: list[Value], styles: dict[str, Look], *, bands: bool
) -> None:
    look, meta, layers = styles[recipe], {"recipe": recipe}, [value.layer for value in values]
    sure = [value for value in values if known(value.low) and known(value.high)]
    if bands and len(sure) > 1:
        figure.add_scatter(
            x=[value.layer for value in sure] + [value.layer for value in reversed(sure)],
            y=_rounded([value.high for value in sure] + [value.low for value in reversed(sure)]),
            fill="toself",
            fillcolor=look.colour,
            opacity=0.15,
            mode="none",
            hoverinfo="skip",
            meta=meta,
        )
    if any(known(value.null) for value in values):
        figure.add_scatter(
            x=layers,
            y=_rounded([value.null for value in values]),
            mode="lines",
            line={"color": look.colour, "dash": "dash", "width": 1.2},
            hoverinfo="skip",
            meta=meta,
            name="null",
        )
    figure.add_scatter(
        x=layers,
        y=_rounded([value.value for value in values]),
        mode="lines+markers",
        line={"color": look.colour, "width": 2},
        marker={"symbol": look.symbol, "size": 8},
        hovertext=[
            f"<b>{escaped(called(recipe))}</b>, block {value.layer}<br>{MEASURES[measure].title} {described(value)}"
            + (f"<br>shuffled rows: {number(value.null)}" if known(value.null) else "")
            for value in values
        ],
        hoverinfo="text",
        meta=meta,
        name="value",
    )


def escaped(text: str) -> str:
    """Escape a text for plotly, which reads a subset of HTML in labels."""
    return html.escape(text, quote=False)


def axis_title(text: str) -> dict[str, Any]:
    """Return the title of an axis."""
    return {"text": escaped(text), "font": {"size": 13}, "standoff": 8}


def block_axis(deepest: int) -> dict[str, Any]:
    """Return the axis of the blocks 1 to `deepest`."""
    return {
        "title": axis_title("block"),
        "range": [0.6, deepest + 0.4],
        "dtick": 1 if deepest <= 12 else 4,
        "zeroline": False,
    }


def whiskers(intervals: Sequence[tuple[float, float, float]], colour: str) -> dict[str, Any]:
    """Return error bars for (value, low, high) triples, drawn in per cent."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (high - value) for value, _, high in intervals],
        "arrayminus": [100 * (value - low) for value, low, _ in intervals],
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def _by_layer(profile: Profile, measure: str) -> list[Value]:
    values = [value for value in profile.values if value.measure == measure and value.layer is not None]
    return sorted((value for value in values if known(value.value)), key=lambda value: value.layer or 0)


def described(value: Value, scale: Scale | None = None) -> str:
    """Format a value with its interval."""
    return f"{number(value.value, scale)} {interval(value.low, value.high, scale)}".strip()


def _rounded(values: Sequence[float]) -> list[float | None]:
    return [round(value, 5) if known(value) else None for value in values]


def frame(height: int, top: int) -> dict[str, Any]:
    """Return the layout shared by all figures; colours set by the page are left out or transparent."""
    return {
        "height": height,
        "margin": {"l": 44, "r": 12, "t": top, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 13},
        "hoverlabel": {"align": "left", "bgcolor": _DARK, "bordercolor": _DARK, "font": {"color": "#ffffff"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#767C84", "activecolor": "#0072B2"},
        "hovermode": "closest",
        # Scrolling the page by touch over a figure must not zoom it.
        "dragmode": False,
        "showlegend": False,
    }
