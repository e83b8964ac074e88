"""Draw every run's score as a point."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.profile import Profile
from steadytune.analysis.sentences import runs_noun
from steadytune.metrics import Scale
from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.figures import Look, axis_title, described, escaped, frame
from steadytune.reporting.naming import called, count, known, number, shortened

_ROW, _LINE = 26, 16
_NAME_PARTS = re.compile(r"[^-+_/ ]*[-+_/ ]|[^-+_/ ]+")
_NAME_WIDTH, _NAME_LINES = 17, 3
_SWARM = 0.3


def scores_figure(profiles: Sequence[Profile], styles: dict[str, Look]) -> Figure | None:
    """Draw every finished run as a point, a row per recipe, with mean and SD and the majority-class score.

    Returns:
        The figure, or None if no run finished or none has a score.
    """
    if not any(len(profile.cohort) and profile.cohort.scored for profile in profiles):
        return None
    figure = Drawing()
    first = next(profile.cohort for profile in profiles if len(profile.cohort))
    labels = [_row_label(profile) for profile in profiles]
    height = _ROW + _LINE * max(label.count("<br>") + 1 for label in labels)
    scores = np.concatenate([profile.cohort.scores for profile in profiles])
    # On a screen a point is about as wide as a fiftieth of the axis.
    width = max(float(np.ptp(scores)) / 50, 1e-6)
    _draw_majority(figure, profiles)
    for row, profile in enumerate(profiles):
        cohort = profile.cohort
        look = styles[cohort.recipe]
        failed, noun = failed_runs(cohort), runs_noun(cohort.seeds)
        places = row + _swarm(cohort.scores, width)
        hover = [
            f"<b>{escaped(called(cohort.recipe))}</b><br>{noun} {escaped(seed)}<br>"
            f"{escaped(cohort.metric_name)} {number(score, cohort.scale)}<br>"
            + ("failed: no better than a constant answer" if bad else "finished")
            for seed, score, bad in zip(cohort.seeds, cohort.scores, failed, strict=True)
        ]
        for bad, symbol, size in ((False, "circle", 9), (True, "x", 10)):
            chosen = np.flatnonzero(failed == bad)
            if len(chosen):
                figure.add_scatter(
                    x=_places(cohort.scores[chosen], cohort.scale),
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
        frame(height=height * len(profiles) + 78, top=26),
        xaxis={
            "title": axis_title(f"{first.metric_name}{', points' if first.scale.unit else ''}"),
            "zeroline": False,
            "automargin": True,
        },
        yaxis={
            "tickvals": list(range(len(profiles))),
            "ticktext": labels,
            "range": [len(profiles) - 0.4, -0.5],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "ticks": "",
        },
    )
    return figure.plain()


def _draw_majority(figure: Drawing, profiles: Sequence[Profile]) -> None:
    """Draw the dashed line, in pieces if recipes were measured on different halves with different majorities."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, profile in enumerate(profiles):
        score = profile.cohort.majority_score
        if score is None or not known(score):
            continue
        place = float(f"{profile.cohort.scale.factor * score:.5g}")
        if x and x[-1] != place:
            x, y = [*x, None], [*y, None]
        x, y = [*x, place, place], [*y, row - 0.5, row + 0.5]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"dash": "dash", "width": 1.5, "color": "#767C84"},
            hovertemplate="constant answer: %{x:.4g}<extra></extra>",
            name="constant answer",
        )
        # Anchored on the side with enough space: an annotation does not widen the axis.
        scores = np.concatenate([profile.cohort.scores for profile in profiles])
        factor = next(profile.cohort.scale.factor for profile in profiles if len(profile.cohort))
        right = float(x[0] or 0) > factor * float(scores.min() + scores.max()) / 2
        figure.add_annotation(
            x=x[0],
            y=1,
            yref="paper",
            yanchor="bottom",
            xanchor="right" if right else "left",
            text="constant answer",
            showarrow=False,
            font={"size": 12},
        )


def _draw_mean(figure: Drawing, row: int, profile: Profile, look: Look) -> None:
    spread = next((value.value for value in profile.values if value.measure == "sd"), float("nan"))
    if not known(profile.mean.value):
        return
    scale = profile.cohort.scale
    text = f"<b>{escaped(called(profile.cohort.recipe))}</b><br>mean {described(profile.mean, scale)}"
    if known(spread):
        text += f"<br>SD {number(spread, scale)} (the bar)"
    figure.add_scatter(
        x=[float(f"{scale.factor * profile.mean.value:.5g}")],
        y=[row + 0.36],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": look.colour, "line": {"width": 3}},
        error_x={
            "type": "constant",
            "value": float(f"{scale.factor * spread:.5g}") if known(spread) else 0,
            "color": look.colour,
            "thickness": 2.5,
            "width": 0,
        },
        hovertext=[text],
        hoverinfo="text",
        meta={"recipe": profile.cohort.recipe},
        name="mean and SD",
    )


def _row_label(profile: Profile) -> str:
    cohort = profile.cohort
    runs = count(len(cohort), "run") + (f", {len(cohort.lost)} unfinished" if cohort.lost else "")
    lines = [""]
    for part in _NAME_PARTS.findall(called(cohort.recipe)):
        lines = [*lines[:-1], lines[-1] + part] if len(lines[-1] + part) <= _NAME_WIDTH else [*lines, part]
    kept = [shortened(line, _NAME_WIDTH) for line in lines if line][:_NAME_LINES]
    name = "<br>".join(map(escaped, kept)) + ("…" if len(lines) > _NAME_LINES + 1 else "")
    return f'{name}<br><span style="font-size:11px">{runs}</span>'


def _swarm(scores: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Spread overlapping points alternately up and down, by at most `_SWARM` of a row."""
    offsets = np.zeros(len(scores))
    bins = np.round(scores / width).astype(int)
    for place in np.unique(bins):
        members = np.flatnonzero(bins == place)
        steps = np.array([(i + 1) // 2 * (-1) ** i for i in range(len(members))])
        offsets[members] = steps * min(0.13, 2 * _SWARM / len(members))
    return offsets - 0.08


def _places(scores: NDArray[np.float64], scale: Scale) -> list[float]:
    return [float(f"{scale.factor * float(score):.5g}") for score in scores]
