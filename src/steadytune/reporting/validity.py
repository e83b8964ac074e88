"""Validity and consistency of the measures, for the page: figures, and remarks below them.

A figure covers one model and task. Measures have short names, so that a matrix of seven fits on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.validity.consistency import Agreement, Definition
from steadytune.analysis.validity.correlation import Association, critical_pearson, significant_tau
from steadytune.analysis.validity.groups import KnownGroups, Separation
from steadytune.analysis.validity.subsampling import SHARES, Subsample
from steadytune.analysis.validity.validate import Convergence, Validation
from steadytune.measures import MEASURES, declared, layer_measures
from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.figures import Look, axis_title, block_axis, escaped, frame, looks, whiskers
from steadytune.reporting.naming import called, count, known, number

_CELL, _MARGIN = 34, 70
# Blue and vermilion of the palette, light enough for text on top, around a grey that is neutral on light and dark.
_DIVERGING = [[0, "#EB9A63"], [0.5, "#d4d7db"], [1, "#6DB3E2"]]


def validity_figures(found: Validation, styles: Mapping[str, Look]) -> dict[str, Figure]:
    """Draw the validation of the measures of one model and task.

    Args:
        found: The validation.
        styles: The look of each recipe.

    Returns:
        Name -> figure: "convergent", "groups-MEASURE" for each representation measure, "subsampling", "ranking",
        "bootstrap"; unknown ones are absent.
    """
    figures = {
        "convergent": _convergent(found.convergent),
        **{
            f"groups-{measure}": _groups(found.groups, measure, styles)
            for measure in (one.name for one in layer_measures())
        },
        "subsampling": _subsampling(found.subsamples),
        "ranking": _ranking(found.ranking),
        "bootstrap": _bootstrap(found.agreements),
    }
    return {name: figure for name, figure in figures.items() if figure}


def _convergent(curves: Sequence[Convergence]) -> Figure | None:
    curves = [curve for curve in curves if any(known(pair.value) for pair in curve.pairs)]
    if not curves:
        return None
    names = [f"{short(pair.measure)} ~ {short(pair.other)}" for pair in curves[0].pairs]
    values = np.array([[pair.value for pair in curve.pairs] for curve in curves])
    return _matrix(values, names, [called(curve.recipe) for curve in curves], "r across blocks")


def _groups(groups: Sequence[KnownGroups], measure: str, styles: Mapping[str, Look]) -> Figure | None:
    figure = Drawing()
    deepest = 0
    for group in groups:
        seen = [entry for entry in group.separations if entry.measure == measure]
        look = styles[group.recipe]
        for what, dash in (("successful", "solid"), ("failed", "dash")):
            if not seen:
                continue
            layers = [entry.layer for entry in seen]
            deepest = max(deepest, *(layer or 0 for layer in layers))
            figure.add_scatter(
                x=layers,
                y=[round(getattr(entry, what), 5) for entry in seen],
                mode="lines+markers",
                line={"color": look.colour, "width": 2, "dash": dash},
                marker={"symbol": look.symbol if what == "successful" else "x", "size": 8},
                hovertext=[_group_hover(group.recipe, entry, what) for entry in seen],
                hoverinfo="text",
                meta={"recipe": group.recipe},
                name=what,
            )
    if not figure.data:
        return None
    figure.update_layout(
        frame(height=280, top=12),
        xaxis=block_axis(deepest),
        yaxis={"rangemode": "tozero", "zeroline": False, "automargin": True},
    )
    return figure.plain()


def _group_hover(recipe: str, entry: Separation, what: str) -> str:
    return (
        f"<b>{escaped(called(recipe))}</b>, block {entry.layer}<br>{MEASURES[entry.measure].title} between two {what} "
        f"runs: {number(getattr(entry, what))}<br>successful {number(entry.successful)}, failed "
        f"{number(entry.failed)}, p = {entry.p:.2g}"
    )


def _subsampling(entries: Sequence[Subsample]) -> Figure | None:
    rows = [measure for measure in _names() if any(entry.measure == measure for entry in entries)]
    if not rows:
        return None
    figure = Drawing()
    styles = looks(list(map(str, SHARES)))
    for place, share in enumerate(SHARES):
        look = styles[str(share)]
        changes = {measure: changed(entries, measure, share) for measure in rows}
        shown = [(row, *changes[measure]) for row, measure in enumerate(rows) if known(changes[measure][0])]
        if not shown:
            continue
        figure.add_scatter(
            x=[100 * mean for _, mean, _, _ in shown],
            y=[row + 0.18 * (2 * place - 1) for row, *_ in shown],
            error_x=whiskers([(mean, low, high) for _, mean, low, high in shown], look.colour),
            mode="markers",
            marker={"color": look.colour, "symbol": look.symbol, "size": 9},
            hovertext=[
                f"<b>{MEASURES[rows[row]].title}</b> on {100 * share:g} % of the examples<br>{mean:+.1%} "
                f"[{low:+.1%}, {high:+.1%}]"
                for row, mean, low, high in shown
            ],
            hoverinfo="text",
            name=f"{100 * share:g} % of the examples",
        )
    if not figure.data:
        return None
    figure.add_vline(x=0, line={"width": 1, "color": "#767C84"})
    figure.update_layout(
        {**frame(height=_CELL * len(rows) + 100, top=34), "showlegend": True},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        xaxis={"title": axis_title("change"), "ticksuffix": " %", "zeroline": False, "automargin": True},
        yaxis={**_named(list(map(short, rows))), "range": [len(rows) - 0.4, -0.6], "zeroline": False},
    )
    return figure.plain()


def changed(entries: Iterable[Subsample], measure: str, share: float) -> tuple[float, float, float]:
    """Return the mean, smallest and largest relative change of a measure over recipes and subsets at the last layer."""
    last = {entry.recipe: entry for entry in entries if entry.measure == measure and entry.share == share}
    values = [change for entry in last.values() for change in entry.changes if known(change)]
    return (float(np.mean(values)), min(values), max(values)) if values else (math.nan, math.nan, math.nan)


def _ranking(pairs: Sequence[Association]) -> Figure | None:
    names, values = tau_matrix(pairs)
    if not names:
        return None
    titles = list(map(short, names))
    return _matrix(values[1:, :-1], titles[:-1], titles[1:], "τ")


def tau_matrix(pairs: Sequence[Association]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the ranked measures, and the lower triangle of their taus with NaN elsewhere."""
    names = [name for name in _names() if any(name in (pair.measure, pair.other) for pair in pairs)]
    values = np.full((len(names), len(names)), np.nan)
    for pair in pairs:
        low, high = sorted((names.index(pair.measure), names.index(pair.other)))
        values[high, low] = pair.value
    return names, values


def _bootstrap(agreements: Sequence[Agreement]) -> Figure | None:
    names, values = agreement_matrix(agreements)
    if not np.isfinite(values).any():
        return None
    titles = list(map(short, names))
    return _matrix(values, titles, titles, "r")


def agreement_matrix(agreements: Sequence[Agreement]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the resampled measures, and their correlations as medians over recipes.

    Below the diagonal without self-pairs, above it with them; NaN on the diagonal and where unknown.
    """
    names = [name for name in _names() if any(name in found.measures for found in agreements)]
    values = np.full((len(names), len(names)), np.nan)
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            which: Definition = "corrected" if row > column else "published"
            found = [agreement.between(first, second, which) for agreement in agreements]
            finite = [value for value in found if known(value)]
            if row != column and finite:
                values[row, column] = float(np.median(finite))
    return names, values


def _matrix(values: NDArray[np.float64], columns: Sequence[str], rows: Sequence[str], what: str) -> Figure:
    texts = [["" if not known(value) else f"{value:.2f}" for value in row] for row in values]
    figure = Drawing()
    figure.add_heatmap(
        z=[[round(float(value), 3) if known(value) else None for value in row] for row in values],
        zmin=-1,
        zmax=1,
        colorscale=_DIVERGING,
        showscale=False,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        text=texts,
        texttemplate="%{text}",
        textfont={"size": 12, "color": "#1c2126"},
        hovertext=[
            [f"{escaped(row)}, {escaped(column)}<br>{what} {text}" for column, text in zip(columns, line, strict=True)]
            for row, line in zip(rows, texts, strict=True)
        ],
        hoverinfo="text",
    )
    figure.update_layout(
        frame(height=_CELL * len(rows) + _MARGIN, top=8),
        xaxis={**_named(columns), "showgrid": False, "zeroline": False},
        yaxis={**_named(rows), "showgrid": False, "zeroline": False, "autorange": "reversed"},
    )
    return figure.plain()


def _named(names: Sequence[str]) -> dict[str, Any]:
    return {"tickvals": list(range(len(names))), "ticktext": list(map(escaped, names)), "automargin": True, "ticks": ""}


def short(measure: str) -> str:
    """Return the short name of a measure."""
    return MEASURES[measure].short


def _names() -> list[str]:
    return [measure.name for measure in declared()]


def convergent_remark(found: Validation) -> str:
    """Explain how little can be concluded from few layers."""
    layers = min((curve.layers for curve in found.convergent), default=0)
    if layers < 3:
        return f"With {count(layers, 'layer')}, no correlation is defined: three are needed."
    few = " Three layers are inconclusive." if layers == 3 else ""
    return (
        f"With {layers} layers, |r| up to {critical_pearson(layers):.2f} may be chance even if layers were "
        f"independent, which they are not.{few}"
    )


def ranking_remark(found: Validation) -> str:
    """Explain how little can be concluded from few recipes, and how ties count."""
    recipes = len(found.profiles)
    least = significant_tau(recipes)
    if least is None:
        decides = f"With {recipes} recipes, no tau can be significant at 5 %: five are needed."
    elif least > 1 - 1e-9:
        decides = f"With {recipes} recipes, only tau = 1 or -1 is significant at 5 %."
    else:
        decides = f"With {recipes} recipes, |tau| must reach {least:.2f} to be significant at 5 %."
    return f"{decides} Each pair of measures is one of many tests. Tied recipes count for neither side (tau-b)."


def overall_remark(found: Validation) -> str:
    """Describe how stability and consistency correlate over cohorts of a model, and why that is weak evidence."""
    if not known(found.overall.r):
        return "Inconclusive: at least three recipes or tasks with varying scores are needed."
    return (
        f"Over {found.overall.cohorts} cohorts of this model, score SD and mean bootstrap correlation have "
        f"r = {found.overall.r:.2f} (p = {found.overall.p:.2g}). Cohorts that share data or seeds are not independent "
        "points, so p is too small."
    )
