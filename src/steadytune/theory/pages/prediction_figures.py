"""Figures of predicted instability, and formatting of correlations."""

from __future__ import annotations

from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.figures import axis_title, escaped, frame, looks
from steadytune.reporting.naming import MISSING, known
from steadytune.theory.predictor.prediction import Correlation, HeldOut, Prediction
from steadytune.theory.predictor.quantities import QUANTITIES

TITLES = {one.name: one.title for one in QUANTITIES}
_MEAN = "#767C84"


def ranks_figure(found: Prediction) -> Figure:
    """Draw the correlation with each quantity: for every task, and the mean with its interval."""
    rows = [row for row in reversed(found.correlations) if known(row.within)]
    titles = [escaped(TITLES[row.name]) for row in rows]
    figure = Drawing()
    for task, look in looks(list(dict.fromkeys(found.cohorts["task"]))).items():
        values = [row.tasks.get(task) for row in rows]
        figure.add_scatter(
            x=[_round(value) for value in values],
            y=titles,
            mode="markers",
            marker={"color": look.colour, "symbol": look.symbol, "size": 6, "opacity": 0.7},
            hovertext=[
                f"<b>{title}</b><br>{escaped(task)}: ρ {signed(value)}"
                for title, value in zip(titles, values, strict=True)
            ],
            hoverinfo="text",
            name=escaped(task),
        )
    figure.add_scatter(
        x=[_round(row.within) for row in rows],
        y=titles,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_round(row.high - row.within) for row in rows],
            "arrayminus": [_round(row.within - row.low) for row in rows],
            "color": _MEAN,
            "thickness": 2,
            "width": 0,
        },
        mode="markers",
        marker={"color": _MEAN, "symbol": "line-ns-open", "size": 13, "line": {"width": 3, "color": _MEAN}},
        hovertext=[
            f"<b>{title}</b><br>mean ρ {signed(row.within)} {ends(row)}"
            for title, row in zip(titles, rows, strict=True)
        ],
        hoverinfo="text",
        name="mean",
    )
    figure.update_layout(
        {**frame(height=130 + 26 * max(len(rows), 4), top=8), "showlegend": True},
        legend={"orientation": "h", "x": 0, "xref": "container", "y": 0, "yref": "container", "yanchor": "bottom"},
        xaxis={"title": axis_title("ρ within a task"), "range": [-1.05, 1.05], "dtick": 0.5, "zeroline": True},
        yaxis={"automargin": True, "zeroline": False},
    )
    figure.update_layout(margin={"b": 90})
    return figure.plain()


def held_out_figure(found: Prediction, held_out: HeldOut) -> Figure:
    """Draw measured against predicted instability for each cohort."""
    figure = Drawing()
    every = found.cohorts.assign(predicted=held_out.predicted)
    for task, look in looks(list(dict.fromkeys(every["task"]))).items():
        rows = every[every["task"] == task]
        figure.add_scatter(
            x=[_round(value) for value in rows["predicted"]],
            y=[_round(value) for value in rows[found.target]],
            mode="markers",
            marker={"color": look.colour, "symbol": look.symbol, "size": 8, "opacity": 0.7},
            hovertext=[
                f"<b>{escaped(recipe)}</b>, {escaped(task)}<br>measured {value:.3g}"
                for recipe, value in zip(rows["recipe"], rows[found.target], strict=True)
            ],
            hoverinfo="text",
            name=f"{escaped(task)}, ρ {signed(held_out.tasks[task])}",
        )
    figure.update_layout(
        {**frame(height=480, top=8), "showlegend": True},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        xaxis={"title": axis_title("predicted rank, from the other tasks"), "zeroline": True},
        yaxis={"title": axis_title("measured"), "zeroline": False, "automargin": True},
    )
    return figure.plain()


def _round(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None and known(value) else None


def signed(value: float | None) -> str:
    """Format a correlation with two decimals and a true minus sign."""
    return MISSING if value is None or not known(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def ends(row: Correlation) -> str:
    """Format the interval of a correlation, or "" if there is none."""
    return f"[{signed(row.low)}, {signed(row.high)}]" if known(row.low) and known(row.high) else ""
