"""The figures of the report for result objects, such as `comparison.plot("best")`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from steadytune.analysis.comparison.compare import Comparison
from steadytune.analysis.profile import Profile
from steadytune.analysis.validity.validate import Validation
from steadytune.errors import UserError, unknown_name
from steadytune.reporting.drawing import Figure
from steadytune.reporting.figures import layer_figures, looks
from steadytune.reporting.scores import scores_figure
from steadytune.reporting.sources import best_figure, sources, sources_figure
from steadytune.reporting.validity import validity_figures


def plot(result: Profile | Comparison | Validation, what: str | None = None) -> go.Figure:
    """Draw a figure of a result; see `shown.Drawn.plot`.

    Raises:
        UserError: There is no such figure, or nothing to draw.
    """
    figures = _figures(result)
    if not figures:
        raise UserError(f"there is nothing to plot for this {type(result).__name__.lower()}")
    if what is not None and what not in figures:
        raise unknown_name("figure", what, figures)
    content = figures[what or next(iter(figures))]
    # In a report the page sets the fonts; here nothing else does.
    return go.Figure(content).update_layout(template="plotly_white", font_family="sans-serif", autosize=True)


def _figures(result: Profile | Comparison | Validation) -> dict[str, Figure]:
    if isinstance(result, Validation):
        return validity_figures(result, looks([one.cohort.recipe for one in result.profiles]))
    if isinstance(result, Profile):
        return _of_profiles([result])
    groups = result.groups()
    if len(groups) == 1:
        return _of_profiles(result.profiles)
    # With several models and tasks, each has its own figure: "scores: minilm on glue/rte".
    return {
        f"{name}: {' on '.join(filter(None, group))}": figure
        for group, rows in groups.items()
        for name, figure in _of_profiles([row.profile for row in rows]).items()
    }


def _of_profiles(profiles: Sequence[Profile]) -> dict[str, Figure]:
    styles: Any = looks([profile.cohort.recipe for profile in profiles])
    single = {
        "scores": scores_figure(profiles, styles),
        "best": best_figure(profiles, styles),
        "sources": sources_figure(sources(profiles)),
    }
    return {name: figure for name, figure in single.items() if figure} | layer_figures(profiles, styles)
