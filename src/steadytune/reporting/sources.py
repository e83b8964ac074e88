"""Sources of luck: the seeds that vary in a grid, the evaluation set, and the choice of the best run."""

from __future__ import annotations

from collections.abc import Sequence

from steadytune.analysis.components import Components, describe_components, variance_components
from steadytune.analysis.evaluation import EvaluationError
from steadytune.analysis.profile import Profile
from steadytune.analysis.sentences import score_unit, scored
from steadytune.metrics import Scale
from steadytune.reporting.drawing import Drawing, Figure
from steadytune.reporting.figures import Look, axis_title, escaped, frame, looks, whiskers
from steadytune.reporting.naming import called, known, number

_ROW = 28


def sources(profiles: Sequence[Profile]) -> list[tuple[str, Components]]:
    """Return the recipe and components of every measure, for every recipe whose seeds form a grid."""
    return [(profile.cohort.recipe, found) for profile in profiles for found in variance_components(profile.cohort)]


def source_sentences(found: Sequence[tuple[str, Components]]) -> list[tuple[str, str]]:
    """Return the recipe and a sentence for each of them."""
    return [(called(recipe), describe_components(components)) for recipe, components in found]


def sources_figure(found: Sequence[tuple[str, Components]]) -> Figure | None:
    """Draw the share of each source as a dot with its interval, a row per recipe, measure and source.

    Returns:
        The figure, or None if there is only one source.
    """
    shown = [(recipe, part, source) for recipe, part in found for source in part.sources if len(part.sources) > 1]
    if not any(known(source.share.value) for _, _, source in shown):
        return None
    figure = Drawing()
    styles = looks(["score", "disagreement"])
    several = len({recipe for recipe, _, _ in shown}) > 1
    labels = [
        f"{f'{called(recipe)}, ' if several else ''}{part.measure}: {' × '.join(source.factors)}"
        for recipe, part, source in shown
    ]
    for measure, look in styles.items():
        rows = [row for row, (_, part, _) in enumerate(shown) if part.measure == measure]
        shares = [shown[row][2].share for row in rows]
        figure.add_scatter(
            x=[100 * share.value for share in shares],
            y=rows,
            error_x=whiskers(shares, look.colour),
            mode="markers",
            marker={"color": look.colour, "symbol": look.symbol, "size": 9},
            hovertext=[
                f"<b>{escaped(labels[row])}</b><br>{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"
                for row, share in zip(rows, shares, strict=True)
            ],
            hoverinfo="text",
            name=measure,
        )
    figure.update_layout(
        frame(height=_ROW * len(shown) + 70, top=8),
        xaxis={"title": axis_title("share"), "ticksuffix": " %", "range": [-3, 103], "zeroline": False},
        yaxis={
            "tickvals": list(range(len(shown))),
            "ticktext": list(map(escaped, labels)),
            "range": [len(shown) - 0.5, -0.5],
            "zeroline": False,
            "automargin": True,
            "ticks": "",
        },
    )
    return figure.plain()


def evaluation_sentence(found: EvaluationError, scale: Scale) -> str:
    """Describe the luck due to the evaluation set, or "" if unknown."""
    if not known(found.standard_error):
        return ""
    size = f"{found.examples} examples" + (f" in {found.groups} groups" if found.groups else "")
    words = (
        f"Another evaluation set of {size} would change the mean score by "
        f"{scored(found.standard_error, scale)}{score_unit(scale)} (standard error), regardless of the number of runs"
    )
    if known(found.seed_sd):
        words += f"; another seed would change one run's score by {scored(found.seed_sd, scale)} (SD)"
    if len(found.best_of) > 1 and known(found.best_of[-1].obtained):
        best = found.best_of[-1]
        words += (
            f". The best of {best.runs} runs reports {scored(best.reported, scale)}; selected on one half of the "
            f"examples it scores {scored(best.obtained, scale)} on the other half, where an average single run would "
            f"score {scored(found.expected, scale)}"
        )
    if known(found.ensemble):
        words += f". An ensemble, averaging the probabilities of all runs, scores {scored(found.ensemble, scale)}"
    return f"{words}."


def best_figure(profiles: Sequence[Profile], styles: dict[str, Look]) -> Figure | None:
    """Draw the reported score of the best of n runs, and its score on examples not used to select it.

    Returns:
        The figure, or None if no recipe has three runs or more.
    """
    figure = Drawing()
    for profile in profiles:
        recipe, best_of, scale = profile.cohort.recipe, profile.evaluation.best_of, profile.cohort.scale
        if len(best_of) < 3:
            continue
        for what, dash in (("reported", "solid"), ("obtained", "dash")):
            values = [getattr(best, what) for best in best_of]
            if not all(map(known, values)):
                continue
            figure.add_scatter(
                x=[best.runs for best in best_of],
                y=[float(f"{scale.factor * value:.5g}") for value in values],
                mode="lines+markers",
                line={"color": styles[recipe].colour, "dash": dash, "width": 2},
                marker={"symbol": styles[recipe].symbol, "size": 7 if what == "reported" else 4},
                hovertext=[
                    f"<b>{escaped(called(recipe))}</b>, best of {best.runs}<br>{what} {number(value, scale)}"
                    for best, value in zip(best_of, values, strict=True)
                ],
                hoverinfo="text",
                meta={"recipe": recipe},
                name=what,
            )
    if not figure.data:
        return None
    first = next(profile.cohort for profile in profiles if len(profile.evaluation.best_of) >= 3)
    most = max(len(profile.evaluation.best_of) for profile in profiles)
    figure.update_layout(
        frame(height=300, top=12),
        xaxis={"title": axis_title("best of n runs"), "zeroline": False, "dtick": 1 if most <= 12 else 5},
        yaxis={
            "title": axis_title(f"{first.metric_name}{', points' if first.scale.unit else ''}"),
            "zeroline": False,
            "automargin": True,
        },
    )
    return figure.plain()
