"""Figures of the studies: medians over data sets with quartiles as whiskers; for real tasks, one line each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steadytune.reporting.blocks import Panel
from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.figures import Look, axis_title, escaped, frame, looks
from steadytune.reporting.naming import count
from steadytune.theory.pages.claims import base, part
from steadytune.theory.studies.table import DESIGN, GENERATED
from steadytune.theory.studies.varied import HEADS, SCALED, ZERO

if TYPE_CHECKING:
    import pandas as pd

LOO_ZERO, LOO_DRAWN = "leave-one-out, zero start", "leave-one-out, drawn start"
SEED, ORDER = "seed (initial weights)", "seed (order)"
MAX_MARGIN, BOUND, SHARP = "leave-one-out, max-margin head", "its bound", "its bound, per example"
_LOOKS = looks([LOO_ZERO, SEED, LOO_DRAWN, ORDER, BOUND, MAX_MARGIN, SHARP])


class Line(NamedTuple):
    """One line of a figure: its name, its rows, the column of its values, its look."""

    name: str
    rows: pd.DataFrame
    column: str
    look: Look


def size_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw leave-one-out instability over n, with its bound, for comparable data at every n or by task."""
    geometry = part(table, "geometry", separable=True)
    at_end = part(table, "training", **base(table) | {"init_scale": 0.0})
    drawn = part(table, "training", **base(table))
    if task_names(table):
        quantities = {
            "Leave-one-out, max-margin head": (geometry, "max_margin_loo"),
            "Its bound": (geometry, "loo_bound"),
            "Leave-one-out, zero start": (at_end, "loo_directions"),
            "Leave-one-out, drawn start": (drawn, "loo_directions"),
            "Seed (initial weights)": (drawn, "seed_directions"),
        }
        return _by_task(table, "n", "examples n", quantities)
    others = [name for name in DESIGN if name != "n"]
    sizes = geometry.groupby(others, dropna=False)["n"].transform("nunique")
    whole = geometry[sizes == table["n"].nunique()]
    names = {MAX_MARGIN: "max_margin_loo", BOUND: "loo_bound", SHARP: "sharp_loo_bound"}
    lines = [Line(LOO_ZERO, at_end, "loo_directions", _LOOKS[LOO_ZERO])]
    lines += [Line(LOO_DRAWN, drawn, "loo_directions", _LOOKS[LOO_DRAWN])]
    lines += [Line(SEED, drawn, "seed_directions", _LOOKS[SEED])]
    return _panels(
        "n",
        "examples n",
        {
            "bound": (
                "Max-margin head, separable at every n",
                [Line(k, whole, v, _LOOKS[k]) for k, v in names.items()],
            ),
            "trained": ("Trained heads, all data sets", lines),
        },
    )


def step_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw both instabilities over the steps."""
    return _both(table, "steps", "steps", part(table, "training", rate=base(table)["rate"]))


def rate_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw both instabilities over the learning rate."""
    return _both(table, "rate", "learning rate, in 1/β", part(table, "training", steps=base(table)["steps"]))


def scale_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw both instabilities over the scale of the initial weights, including the zero start."""
    here = base(table)
    rows = part(table, "training", steps=here["steps"], rate=here["rate"])
    if task_names(table):
        quantities = {"Leave-one-out": (rows, "loo_directions"), "Seed (initial weights)": _seeds(rows)}
        return _by_task(table, "init_scale", "scale of the initial weights", quantities)
    panels = {}
    for name, separable in (("Separable", True), ("Not separable", False)):
        some = rows[rows["separable"] == separable]
        lines = [Line("leave-one-out", some, "loo_directions", _LOOKS[LOO_DRAWN])]
        lines += [Line(SEED, *_seeds(some), _LOOKS[SEED])]
        panels[str(separable).lower()] = (name, lines)
    return _panels("init_scale", "scale of the initial weights", panels)


def _seeds(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows with a seed instability: from a zero start there is none."""
    return rows[rows["init_scale"] > 0], "seed_directions"


def _both(table: pd.DataFrame, x: str, title: str, rows: pd.DataFrame) -> list[Panel]:
    """Draw both instabilities from both starts, for separable and other data, or by task."""
    if task_names(table):
        drawn = rows[rows["init_scale"] == base(table)["init_scale"]]
        quantities = {
            "Leave-one-out, zero start": (rows[rows["init_scale"] == 0], "loo_directions"),
            "Leave-one-out, drawn start": (drawn, "loo_directions"),
            "Seed (initial weights)": (drawn, "seed_directions"),
        }
        if x == "rate":
            quantities["Seed (order of the examples)"] = (part(table, "order"), "seed_directions")
        return _by_task(table, x, title, quantities)
    panels = {}
    for name, separable in (("Separable", True), ("Not separable", False)):
        some = rows[rows["separable"] == separable]
        drawn = some[some["init_scale"] == base(table)["init_scale"]]
        lines = [
            Line(LOO_ZERO, some[some["init_scale"] == 0], "loo_directions", _LOOKS[LOO_ZERO]),
            Line(LOO_DRAWN, drawn, "loo_directions", _LOOKS[LOO_DRAWN]),
            Line(SEED, drawn, "seed_directions", _LOOKS[SEED]),
        ]
        if x == "rate":
            order = part(table, "order", separable=separable)
            lines.append(Line(ORDER, order, "seed_directions", _LOOKS[ORDER]))
        panels[str(separable).lower()] = (name, lines)
    return _panels(x, title, panels)


def head_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw MHLoss over H, and its controls."""
    import pandas as pd

    last = part(table, "heads", steps=base(table)["steps"])
    heads = sorted(last["heads"].unique())
    zero = last[last["kind"] == ZERO]
    kinds = {
        HEADS: last[last["kind"] == HEADS],
        SCALED: last[last["kind"] == SCALED],
        # It has no H: the same value throughout.
        ZERO: pd.concat([zero.assign(heads=number) for number in heads]),
    }
    styles = looks(list(kinds))
    columns = {
        "direction": ("Distance to the max-margin direction", "direction_error"),
        "seed": ("Seed instability (initial weights)", "seed_directions"),
        "loo": ("Leave-one-out instability", "loo_directions"),
    }
    panels = {
        key: (title, [Line(kind, rows, column, styles[kind]) for kind, rows in kinds.items()])
        for key, (title, column) in columns.items()
    }
    return _panels("heads", "heads H", panels)


def time_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw cosines between heads and to the max-margin direction over the steps, for separable data."""
    heads = part(table, "heads", separable=True)
    most = heads["heads"].max()
    several = heads[(heads["kind"] == HEADS) & (heads["heads"] == most)]
    one = heads[(heads["kind"] == HEADS) & (heads["heads"] == 1)]
    zero = heads[heads["kind"] == ZERO]
    lines = {
        "between two heads": (several, "cosine_between_heads"),
        "one head to max-margin": (one, "cosine_to_max_margin"),
        f"mean of {most:g} heads to max-margin": (several, "cosine_to_max_margin"),
        "zero start to max-margin": (zero, "cosine_to_max_margin"),
    }
    styles = looks(list(lines))
    drawn = [Line(name, rows, column, styles[name]) for name, (rows, column) in lines.items()]
    return _panels("steps", "steps", {"cosine": ("Cosine similarity, separable data", drawn)}, logarithmic=False)


def mmr_panels(table: pd.DataFrame) -> list[Panel]:
    """Draw MMR over alpha: its effect on the features and on both instabilities."""
    rows = part(table, "mmr").sort_values("alpha", kind="stable")
    columns = {"centre distance": "centre_distance", "margin γ": "margin", "norm B": "norm", "B/γ": "norm_over_margin"}
    relative = rows.copy()
    for column in columns.values():
        relative[column] = rows[column] / rows.groupby("dataset")[column].transform("first")
    styles = looks(list(columns))
    names = {MAX_MARGIN: "max_margin_loo", BOUND: "loo_bound", SEED: "seed_directions"}
    lines = [Line(name, rows, column, _LOOKS[name]) for name, column in names.items()]
    lines.append(Line("leave-one-out, adapter and head", rows, "loo_directions", _LOOKS[LOO_DRAWN]))
    return _panels(
        "alpha",
        "α",
        {
            "features": ("Relative to α = 0", [Line(k, relative, v, styles[k]) for k, v in columns.items()]),
            "stability": ("Instability", lines),
        },
    )


def task_names(table: pd.DataFrame) -> dict[str, str]:
    """Return the display name of each real task: the end of its name, if that is unique."""
    tasks = [str(task) for task in table["task"].unique() if task != GENERATED]
    short = [task.rstrip("/").rpartition("/")[2] for task in tasks]
    return dict(zip(tasks, short if len(set(short)) == len(tasks) else tasks, strict=True))


def _by_task(
    table: pd.DataFrame, x: str, title: str, quantities: Mapping[str, tuple[pd.DataFrame, str]]
) -> list[Panel]:
    """Draw a panel per quantity with a line per task: medians over its subsamples."""
    names = task_names(table)
    styles = looks(list(names))
    panels = {}
    for place, (above, (rows, column)) in enumerate(quantities.items()):
        lines = [Line(name, rows[rows["task"] == task], column, styles[task]) for task, name in names.items()]
        panels[f"tasks{place}"] = (above, lines)
    return _panels(x, title, panels)


def _panels(
    x: str, title: str, panels: Mapping[str, tuple[str, Sequence[Line]]], *, logarithmic: bool = True
) -> list[Panel]:
    drawn = []
    for key, (above, lines) in panels.items():
        sets = {dataset for _, rows, column, _ in lines for dataset in rows.dropna(subset=[x, column])["dataset"]}
        figure = draw(x, title, lines, logarithmic=logarithmic)
        if figure:
            drawn.append(Panel(f"{x}-{key}", f"{above} ({count(len(sets), 'data set')})", figure))
    return drawn


def draw(x: str, title: str, lines: Sequence[Line], *, logarithmic: bool = True) -> Figure | None:
    """Draw the median of each line at every value of x, with quartiles.

    Args:
        x: Column of the horizontal axis.
        title: Title of that axis.
        lines: What to draw; a line without values is left out.
        logarithmic: Whether the values are drawn on a logarithmic axis.

    Returns:
        The figure, or None if there is nothing to draw.
    """
    figure = Drawing()
    settings: set[float] = set()
    values: list[float] = []
    for name, rows, column, look in lines:
        known = rows.dropna(subset=[x, column])
        if known.empty:
            continue
        quartiles = known.groupby(x)[column].quantile(np.array([0.25, 0.5, 0.75])).unstack()
        if logarithmic:
            quartiles = quartiles[quartiles[0.5] > 0]
        if quartiles.empty:
            continue
        settings.update(quartiles.index)
        middle = quartiles[0.5]
        values.extend(middle)
        figure.add_scatter(
            x=[f"{setting:g}" for setting in quartiles.index],
            y=[float(f"{value:.4g}") for value in middle],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (quartiles[0.75] - middle).tolist(),
                "arrayminus": (middle - quartiles[0.25]).tolist(),
                "color": look.colour,
                "thickness": 1,
                "width": 0,
            },
            mode="lines+markers",
            line={"color": look.colour, "width": 2},
            marker={"symbol": look.symbol, "size": 8},
            hovertext=[
                f"<b>{escaped(name)}</b><br>{title} {setting:g}<br>{row[0.5]:.3g} [{row[0.25]:.3g}, {row[0.75]:.3g}]"
                for setting, row in quartiles.iterrows()
            ],
            hoverinfo="text",
            name=escaped(name),
        )
    if not figure.data:
        return None
    figure.update_layout(
        {**frame(height=380, top=8), "showlegend": True},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        xaxis={
            "title": axis_title(title),
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [f"{setting:g}" for setting in sorted(settings)],
            "zeroline": False,
        },
        yaxis={"zeroline": False, "automargin": True, **(_decades(values) if logarithmic else {})},
    )
    return figure.plain()


def _decades(values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis with a tick per decade, and more ticks for a smaller range."""
    spread = max(values) / min(values)
    marks = (1,) if spread > 30 else (1, 2, 5) if spread > 4 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    decades = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    # Written out, as plotly shows only the first digit of ticks within a decade.
    ticks = [float(f"{mark}e{decade}") for decade in decades for mark in marks]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
