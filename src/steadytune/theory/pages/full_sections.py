"""Predictions of the theory for full fine-tuning, compared with the cohorts of a study: figures and claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from steadytune.analysis.sentences import listed, percent
from steadytune.reporting.blocks import Claim, Panel, Section
from steadytune.reporting.drawing import Drawing
from steadytune.reporting.figures import Look, axis_title, escaped, frame, looks
from steadytune.theory.pages.claims import ABSTRACT, OURS
from steadytune.theory.pages.figures import Line, draw
from steadytune.theory.pages.full_series import longest, series
from steadytune.theory.pages.page import study
from steadytune.theory.pages.trends import FLAT, Trend, Way, claim, ranked, trend

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "loo_weights": "leave-one-out instability of the weights",
    "seed_weights": "seed instability of the weights",
    "loo_relative": "leave-one-out instability of the weights over the distance travelled",
    "seed_relative": "seed instability of the weights over the distance travelled",
    "loo_predictions": "leave-one-out instability of the predictions",
    "seed_predictions": "seed instability of the predictions",
}
"""Column -> display name. Leave-one-out and seed instability are different quantities."""
_RANKED = 5
"""Fewest cohorts that are ranked."""


def full_sections(table: pd.DataFrame) -> list[Section]:
    """Return the sections for which the table from `design` has suitable cohorts."""
    made: tuple[Callable[[pd.DataFrame], Section | None], ...] = (
        partial(_section, key="epochs", title="Sample size, at equal epochs", x="n", free=("steps",)),
        partial(_section, key="size", title="Sample size, at equal steps", x="n", free=("epochs",)),
        partial(_section, key="rate", title="Learning rate", x="learning_rate", free=()),
        partial(_section, key="steps", title="Steps", x="steps", free=("epochs",)),
        _distance,
        partial(_section, key="frozen", title="Frozen layers", x="frozen", free=()),
    )
    return [section for make in made if (section := make(table)) is not None]


_AXES = {"n": "examples n", "learning_rate": "learning rate", "steps": "steps", "frozen": "frozen blocks"}
_SETTINGS = {"n": "n =", "learning_rate": "a rate of", "steps": "step", "frozen": "frozen blocks ="}
_WORDS: dict[str, tuple[str, str, Way, str]] = {
    "epochs": ("More examples make fine-tuning more stable", ABSTRACT, "falls", "The number of epochs is the same."),
    "size": (
        "More examples make fine-tuning more stable at equal steps",
        ABSTRACT,
        "falls",
        "More examples mean fewer epochs.",
    ),
    "rate": (
        "A smaller learning rate makes fine-tuning more stable",
        ABSTRACT,
        "rises",
        "The rate is the peak of the schedule.",
    ),
    "steps": ("More iterations make fine-tuning more stable", ABSTRACT, "falls", "More epochs on the same examples."),
    "frozen": (
        "Frozen lower blocks make fine-tuning more stable",
        OURS,
        "falls",
        "Freeze keeps the embeddings and the lowest blocks fixed. Weights that do not move have distance 0, so the "
        "instability of the weights falls in part by definition; that of the predictions does not.",
    ),
}


def _section(table: pd.DataFrame, *, key: str, title: str, x: str, free: Sequence[str]) -> Section | None:
    """Return the section on one varied quantity; None if no two cohorts differ only in it."""
    rows = series(table, x, free)
    if rows.empty:
        return None
    prediction, source, expected, lead = _WORDS[key]
    with_it = " with it" if expected == "rises" else ""
    claims = [
        claim(
            f"{prediction}: {name} {expected}{with_it}.",
            source,
            expected,
            _trend(rows, x, column),
            _SETTINGS[x],
            "series of cohorts",
        )
        for column, name in QUANTITIES.items()
    ]
    return study(key, title, f"{lead} {_LONGEST}", _panels(rows, x, _AXES[x]), claims)


def _trend(rows: pd.DataFrame, x: str, column: str) -> Trend:
    """Return the trend of a quantity, with its standard error if it has one."""
    error = f"{column}_error"
    return trend(rows, x, column, error=error if error in rows else None)


_LONGEST = "Each line is the longest series of a task; the claims cover all series."


def _names(table: pd.DataFrame) -> pd.Series[str]:
    """Name the lines: by task, or by model and task if there are several models."""
    several = table["model"].nunique() > 1
    named: pd.Series[str] = table["model"] + " on " + table["task"] if several else table["task"]
    return named


def _panels(rows: pd.DataFrame, x: str, title: str, columns: dict[str, str] | None = None) -> list[Panel]:
    drawn = longest(rows, x)
    names = _names(drawn)
    styles = looks(list(names.unique()))
    panels = []
    for column, above in (columns or QUANTITIES).items():
        lines = [Line(escaped(name), drawn[names == name], column, look) for name, look in styles.items()]
        # Linear and from 0: values of 0 are visible, and changes can be read off.
        if figure := draw(x, title, lines, logarithmic=False):
            figure["layout"]["yaxis"]["rangemode"] = "tozero"
            panels.append(Panel(column.replace("_", "-"), above[0].upper() + above[1:], figure))
    return panels


_TRAVELLED = "‖w_0 − w_T‖"
_TOLD = {"travelled": f"the distance {_TRAVELLED}"} | QUANTITIES


def _distance(table: pd.DataFrame) -> Section | None:
    """Compare distance from w_0 with stability, over all cohorts and between recipes with and without SURT."""
    rows = series(table, "retrained")
    if rows.empty and not len(_ranks(table, "loo_weights", _TASK)):
        return None
    panels = [_scatter(table)]
    claims = [_rank_claim(table, rows, column) for column in ("loo_weights", "loo_predictions")]
    if not rows.empty:
        texts = _texts(rows)
        rows = rows.assign(text=rows["retrained"].map(list(texts).index))
        for panel in _panels(rows, "text", "weights at the start", _TOLD):
            panels.append(Panel(panel.key, panel.title, _renamed(panel.figure, list(texts.values()))))
        claims += _surt_claims(rows, texts)
    return study(
        "distance",
        "Distance from w_0",
        f"{_TRAVELLED} is how far the encoder's weights travel; the bound uses the distance to a solution, which is "
        "unknown. Rate and steps determine that distance but also change much else, so only recipes with the same "
        "rate and steps show the effect of distance itself. SURT continues pre-training before fine-tuning. "
        "A point in the first figure is a cohort; hover over it to see its name.",
        panels,
        claims,
    )


def _texts(rows: pd.DataFrame) -> dict[str, str]:
    """Name the variants of surt by their recipes: none first, then those on the task's own text."""
    spellings = sorted(rows["retrained"].unique(), key=lambda one: ("texts" in one, one))
    named = {one: listed(sorted(rows[rows["retrained"] == one]["recipe"].unique())) for one in spellings}
    return {"": "as pre-trained"} | {one: name for one, name in named.items() if one}


def _renamed(figure: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Replace the numbers of a category axis by names."""
    for trace in figure["data"]:
        trace["x"] = [escaped(names[int(place)]) for place in trace["x"]]
    axis = figure["layout"]["xaxis"]
    axis["categoryarray"] = [escaped(names[int(place)]) for place in axis["categoryarray"]]
    return figure


def _surt_claims(rows: pd.DataFrame, texts: dict[str, str]) -> list[Claim]:
    """Compare recipes with and without SURT; texts from elsewhere are a control."""
    claims = []
    for place, (spelling, name) in list(enumerate(texts.items()))[1:]:
        pairs = rows[rows["text"].isin([0, place])]
        pairs = pairs.assign(text=(pairs["text"] > 0).astype(int))
        for column, quantity in _TOLD.items():
            expected: Way = "stays" if "texts" in spelling else "falls"
            if "texts" in spelling:
                said = f"Pre-training on other texts, {name}, does not: {quantity} does not change."
            elif column == "travelled":
                said = f"Pre-training on the task's texts, {name}, moves w_0 closer to the solution: {quantity} falls."
            else:
                said = f"Pre-training on the task's texts, {name}, makes fine-tuning more stable: {quantity} falls."
            source = OURS if "texts" in spelling else ABSTRACT
            claims.append(claim(said, source, expected, _trend(pairs, "text", column), "SURT =", "pairs of cohorts"))
    return claims


_TASK = ("model", "task", "n")
_SAME_WAY = (*_TASK, "learning_rate", "steps", "frozen")
"""What determines the distance, so cohorts that differ in it say nothing about the effect of distance."""


def _ranks(table: pd.DataFrame, column: str, by: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return Spearman's correlation between the distance and a column, in each group with enough cohorts."""
    both = ["travelled", column]
    known = table.dropna(subset=both)
    groups = [group[both] for _, group in known.groupby(list(by)) if group[both].nunique().min() >= _RANKED]
    return np.array([group.corr(method="spearman").iloc[0, 1] for group in groups])


def _rank_claim(table: pd.DataFrame, pairs: pd.DataFrame, column: str) -> Claim:
    """Rank cohorts that differ in distance but not in what determines it; without any, describe what was found."""
    prediction = (
        "A smaller distance from w_0 makes fine-tuning more stable: among cohorts with the same task, n, rate and "
        f"number of steps, those that travel less have the smaller {QUANTITIES[column]}."
    )
    ranks = _ranks(table, column, _SAME_WAY)
    if len(ranks):
        return Claim(
            prediction,
            ABSTRACT,
            ranked(ranks),
            f"Spearman's ρ has a median of {np.median(ranks):.2f} over {len(ranks)} groups, from {ranks.min():.2f} to "
            f"{ranks.max():.2f}. The recipes differ in more than the distance.",
        )
    said = f"No task has {_RANKED} cohorts that differ in the distance but not in rate, steps or frozen blocks."
    found = _ranks(table, column, _TASK)
    longer = table.assign(product=table["learning_rate"] * table["steps"])
    products = _ranks(longer, "product", _TASK)
    if len(found) and len(products):
        said += (
            f" Over all cohorts the median ρ is {np.median(found):.2f}; but the distance itself correlates with rate × "
            f"steps (ρ = {np.median(products):.2f}), which change much else."
        )
    if not pairs.empty:
        moved = np.abs(trend(pairs.assign(text=(pairs["retrained"] != "").astype(int)), "text", "travelled").ratios - 1)
        if len(moved) and np.median(moved) < FLAT:
            said += f" SURT, which is meant to change the distance, changes it by {percent(float(np.median(moved)))}."
    return Claim(prediction, ABSTRACT, "untested", said)


def _scatter(table: pd.DataFrame) -> Panel:
    known = table.dropna(subset=["travelled", "loo_weights"])
    known = known[(known["travelled"] > 0) & (known["loo_weights"] > 0)]
    names = _names(known)
    figure = Drawing()
    for name, look in looks(list(names.unique())).items():
        _draw_points(figure, known[names == name], name, look)
    figure.update_layout(
        {**frame(height=380, top=8), "showlegend": True},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        xaxis={"title": axis_title(_TRAVELLED), "type": "log", "zeroline": False},
        yaxis={"type": "log", "zeroline": False, "automargin": True},
    )
    return Panel("travelled-loo", "Leave-one-out instability of the weights, over the distance", figure.plain())


def _draw_points(figure: Drawing, rows: pd.DataFrame, name: str, look: Look) -> None:
    figure.add_scatter(
        x=[float(f"{value:.4g}") for value in rows["travelled"]],
        y=[float(f"{value:.4g}") for value in rows["loo_weights"]],
        mode="markers",
        marker={"color": look.colour, "symbol": look.symbol, "size": 9},
        hovertext=[
            f"<b>{escaped(recipe)}</b>, {escaped(name)}<br>travelled {x:.3g}, leave-one-out {y:.3g}"
            for recipe, x, y in zip(rows["recipe"], rows["travelled"], rows["loo_weights"], strict=True)
        ],
        hoverinfo="text",
        name=escaped(name),
    )
