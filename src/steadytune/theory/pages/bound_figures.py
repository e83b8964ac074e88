"""Figures of the terms of the full fine-tuning bound along its path, and of the expansion of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steadytune.reporting.blocks import Panel
from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.figures import axis_title, frame, looks
from steadytune.theory.full.task_bound import TaskBound

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Line(NamedTuple):
    """One line over the steps or the distance: its name, coordinates and values; a reference is thin and dashed."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    reference: bool = False


def path_panels(one: TaskBound) -> list[Panel]:
    """Draw curvature, gradients, loss and distance over the steps."""
    terms, step = one.bound.terms, one.bound.terms.step
    limit = np.full(len(step), 1 / one.bound.learning_rate)
    curvature = [
        _Line("largest", step, terms.largest_curvature),
        _Line("largest, with margin", step, terms.largest_curvature + terms.margin, reference=True),
        _Line("smallest", step, terms.smallest_curvature),
        _Line("towards w_T (restricted μ)", step, terms.restricted_mu),
        _Line("1/η", step, limit, reference=True),
    ]
    gradients = [
        _Line("largest of an example (L)", step, terms.largest_gradient),
        _Line("mean over examples", step, terms.mean_gradient),
        _Line("of the mean loss", step, terms.gradient),
    ]
    return [
        Panel("curvature", "Curvature", _figure("step", curvature, logarithmic=False)),
        Panel("gradients", "Gradient norms", _figure("step", gradients)),
        Panel("loss", "Mean loss", _figure("step", [_Line("mean loss", step, terms.loss)], logarithmic=False)),
        Panel("distance", "Distance from w₀", _figure("step", [_Line("‖w_t − w₀‖", step, terms.distance)], False)),
    ]


def left_out_panels(one: TaskBound) -> list[Panel]:
    """Draw the distances between end points with and without each example, and their sums over the path."""
    if not len(one.rows):
        return []
    order = np.argsort(one.distances)
    place = np.arange(1.0, len(order) + 1)
    lines = [_Line("measured", place, one.distances[order]), _Line("sum over the path", place, one.sums[order])]
    smallest = min(one.bound.bound)
    lines.append(_Line("bound on the mean", place, np.full(len(order), smallest), reference=True))
    figure = _figure("left-out example, by distance", lines)
    figure["layout"]["xaxis"]["dtick"] = max(1, len(order) // 8)
    return [Panel("examples", "Distance between the end points", figure)]


def taylor_panel(one: TaskBound) -> Panel:
    """Draw the loss and its expansion over the distance."""
    check = one.taylor
    ends = np.array([min(check.loss.min(), 0.0), check.loss.max()])
    lines = [
        _Line("loss", check.distance, check.loss),
        _Line("expansion", check.distance, check.expansion),
        _Line("w_T", np.full(2, check.travelled), ends, reference=True),
    ]
    if math.isfinite(check.limit):
        lines.append(_Line("10 % off", np.full(2, check.limit), ends, reference=True))
    return Panel("curve", "Loss and expansion", _figure("distance from w₀", lines, logarithmic=False))


def _figure(title: str, lines: Sequence[_Line], logarithmic: bool = True) -> Figure:
    figure = Drawing()
    for line, look in zip(lines, looks([line.name for line in lines]).values(), strict=True):
        shown = np.isfinite(line.y) & ((line.y > 0) | (not logarithmic))
        figure.add_scatter(
            x=[float(f"{value:.4g}") for value in line.x[shown]],
            y=[float(f"{value:.4g}") for value in line.y[shown]],
            mode="lines" if line.reference else "lines+markers",
            line={"color": look.colour, "width": 1.2, "dash": "dash"} if line.reference else {"color": look.colour},
            marker={"symbol": look.symbol, "size": 6},
            hovertemplate=f"{line.name}<br>{title} %{{x}}<br>%{{y}}<extra></extra>",
            name=line.name,
        )
    figure.update_layout(
        {**frame(height=340, top=8), "showlegend": True},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        xaxis={"title": axis_title(title), "zeroline": False},
        yaxis={"zeroline": False, "automargin": True, **({"type": "log"} if logarithmic else {})},
    )
    return figure.plain()
