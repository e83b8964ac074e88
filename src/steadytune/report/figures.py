"""Figures with a fixed content: every run's score, and instability by layer.

The colours of text and grid are the page's, so that one drawing serves light, dark and paper.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.profile import REPRESENTATION_MEASURES, Profile, Value
from steadytune.analysis.wording import runs_noun
from steadytune.report.words import MEASURES, count, interval, known, number, shortened

Figure = dict[str, Any]

# Okabe-Ito, darkened where 3:1 against white and against the dark page would be missed. Two cycles of lengths without a
# common factor, so that no two of 35 recipes share colour and symbol.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C466A0", "#A67C00", "#7B5EA7", "#767C84")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
_GLYPHS = dict(zip(_SYMBOLS, "●■◆▲★", strict=True))
_DARK = "#1c2126"
_BAND_LIMIT = 6
_ROW = 58
_SWARM = 0.3


class Look(NamedTuple):
    """How one recipe is drawn in every figure of a section."""

    colour: str
    symbol: str

    @property
    def glyph(self) -> str:
        """The symbol as a character, for the legend."""
        return _GLYPHS[self.symbol]


def looks(recipes: Sequence[str]) -> dict[str, Look]:
    """Give each recipe a colour and a symbol."""
    return {name: Look(_COLOURS[i % len(_COLOURS)], _SYMBOLS[i % len(_SYMBOLS)]) for i, name in enumerate(recipes)}


def scores_figure(profiles: Sequence[Profile], styles: dict[str, Look]) -> Figure:
    """Draw every finished run as a point, a row per recipe, over mean and SD, beside the majority-class score."""
    figure = go.Figure()
    _draw_majority(figure, profiles)
    for row, profile in enumerate(profiles):
        cohort = profile.cohort
        look = styles[cohort.recipe]
        failed, noun = failed_runs(cohort), runs_noun(cohort.seeds)
        places = row + _swarm(cohort.scores)
        hover = [
            f"<b>{escaped(cohort.recipe)}</b><br>{noun} {escaped(seed)}<br>"
            f"{escaped(cohort.metric)} {number(score, points=True)}<br>"
            + ("failed: no better than the majority class" if bad else "finished")
            for seed, score, bad in zip(cohort.seeds, cohort.scores, failed, strict=True)
        ]
        for bad, symbol, size in ((False, "circle", 9), (True, "x", 10)):
            chosen = np.flatnonzero(failed == bad)
            if len(chosen):
                figure.add_scatter(
                    x=_points(cohort.scores[chosen]),
                    y=[round(float(place), 3) for place in places[chosen]],
                    mode="markers",
                    marker={"color": look.colour, "symbol": symbol, "size": size, "opacity": 0.85},
                    hovertext=[hover[i] for i in chosen],
                    hoverinfo="text",
                    meta={"recipe": cohort.recipe},
                    name="failed" if bad else "finished",
                )
        _draw_mean(figure, row, profile, look)
    figure.update_layout(
        _layout(height=_ROW * len(profiles) + 78, top=26),
        xaxis={"title": _axis_title(f"{profiles[0].cohort.metric}, points"), "zeroline": False, "automargin": True},
        yaxis={
            "tickvals": list(range(len(profiles))),
            "ticktext": [_row_label(profile) for profile in profiles],
            "range": [len(profiles) - 0.4, -0.5],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "ticks": "",
        },
    )
    return _plain(figure)


def _draw_majority(figure: go.Figure, profiles: Sequence[Profile]) -> None:
    """One dashed line, in pieces where recipes were measured on other halves and so have other majorities."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, profile in enumerate(profiles):
        score = profile.cohort.majority_score
        if score is None or not known(score):
            continue
        place = round(100 * score, 3)
        if x and x[-1] != place:
            x, y = [*x, None], [*y, None]
        x, y = [*x, place, place], [*y, row - 0.5, row + 0.5]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"dash": "dash", "width": 1.5, "color": "#767C84"},
            hovertemplate="always the most frequent label: %{x:.1f}<extra></extra>",
            name="majority class",
        )
        # Anchored by the side on which there is room: an annotation does not widen the axis.
        scores = np.concatenate([profile.cohort.scores for profile in profiles])
        right = bool(len(scores)) and float(x[0] or 0) > 100 * float(scores.min() + scores.max()) / 2
        figure.add_annotation(
            x=x[0],
            y=1,
            yref="paper",
            yanchor="bottom",
            xanchor="right" if right else "left",
            text="majority class",
            showarrow=False,
            font={"size": 12},
        )


def _draw_mean(figure: go.Figure, row: int, profile: Profile, look: Look) -> None:
    spread = next((value.value for value in profile.values if value.measure == "sd"), float("nan"))
    if not known(profile.mean.value):
        return
    text = f"<b>{escaped(profile.cohort.recipe)}</b><br>mean {_described(profile.mean, points=True)}"
    if known(spread):
        text += f"<br>SD {number(spread, points=True)} (the bar)"
    figure.add_scatter(
        x=[round(100 * profile.mean.value, 3)],
        y=[row + 0.36],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": look.colour, "line": {"width": 3}},
        error_x={
            "type": "constant",
            "value": round(100 * spread, 3) if known(spread) else 0,
            "color": look.colour,
            "thickness": 2.5,
            "width": 0,
        },
        hovertext=[text],
        hoverinfo="text",
        meta={"recipe": profile.cohort.recipe},
        name="mean and SD",
    )


def layer_figures(profiles: Sequence[Profile], styles: dict[str, Look]) -> dict[str, Figure]:
    """Draw each representation measure over the blocks, with its intervals and the permutation null.

    Returns:
        Measure -> figure; a measure that no cohort determines is absent.
    """
    figures = {}
    for measure in REPRESENTATION_MEASURES:
        lines = [(profile, _by_layer(profile, measure)) for profile in profiles]
        lines = [(profile, values) for profile, values in lines if values]
        if not lines:
            continue
        figure = go.Figure()
        for profile, values in lines:
            _draw_line(figure, profile.cohort.recipe, measure, values, styles, bands=len(lines) <= _BAND_LIMIT)
        deepest = max(value.layer or 0 for _, values in lines for value in values)
        figure.update_layout(
            _layout(height=300, top=12),
            xaxis={
                "title": _axis_title("block"),
                "range": [0.6, deepest + 0.4],
                "dtick": 1 if deepest <= 12 else 4,
                "zeroline": False,
            },
            yaxis={"rangemode": "tozero", "zeroline": False, "automargin": True},
        )
        figures[measure] = _plain(figure)
    return figures


def _draw_line(
    figure: go.Figure, recipe: str, measure: str, values: list[Value], styles: dict[str, Look], *, bands: bool
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
            f"<b>{escaped(recipe)}</b>, block {value.layer}<br>{MEASURES[measure].title} {_described(value)}"
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


def _axis_title(text: str) -> dict[str, Any]:
    return {"text": escaped(text), "font": {"size": 13}, "standoff": 8}


def _by_layer(profile: Profile, measure: str) -> list[Value]:
    values = [value for value in profile.values if value.measure == measure and value.layer is not None]
    return sorted((value for value in values if known(value.value)), key=lambda value: value.layer or 0)


def _described(value: Value, points: bool = False) -> str:
    return f"{number(value.value, points)} {interval(value.low, value.high, points)}".strip()


def _row_label(profile: Profile) -> str:
    cohort = profile.cohort
    runs = count(len(cohort), "run") + (f", {len(cohort.lost)} lost" if cohort.lost else "")
    lines = [""]
    for part in cohort.recipe.replace("+", "+ ").split():
        joined = lines[-1] + part if lines[-1].endswith("+") else f"{lines[-1]} {part}".strip()
        lines = [*lines[:-1], joined] if len(joined) <= 15 or not lines[-1] else [*lines, part]
    name = "<br>".join(escaped(shortened(line, 16)) for line in lines[:2]) + ("…" if len(lines) > 2 else "")
    return f'{name}<br><span style="font-size:11px">{runs}</span>'


def _swarm(scores: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Move points that would cover one another apart, alternately up and down, by at most `_SWARM` of a row."""
    offsets = np.zeros(len(scores))
    if not len(scores):
        return offsets
    width = max(float(np.ptp(scores)), 0.01) / 40
    bins = np.round((scores - scores.min()) / width).astype(int)
    for place in np.unique(bins):
        members = np.flatnonzero(bins == place)
        steps = np.array([(i + 1) // 2 * (-1) ** i for i in range(len(members))])
        offsets[members] = steps * min(0.13, 2 * _SWARM / len(members))
    return offsets - 0.08


def _points(scores: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [round(100 * float(score), 3) for score in scores]


def _rounded(values: Sequence[float]) -> list[float | None]:
    return [round(value, 5) if known(value) else None for value in values]


def _layout(height: int, top: int) -> dict[str, Any]:
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 44, "r": 12, "t": top, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 13},
        "hoverlabel": {"align": "left", "bgcolor": _DARK, "bordercolor": _DARK, "font": {"color": "#ffffff"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#767C84", "activecolor": "#0072B2"},
        "hovermode": "closest",
        # A finger that scrolls the page over a figure must not zoom it.
        "dragmode": False,
        "showlegend": False,
    }


def _plain(figure: go.Figure) -> Figure:
    content: Figure = figure.to_plotly_json()
    return content
