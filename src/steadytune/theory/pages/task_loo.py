"""Report leave-one-out stability of head tuning on real tasks: a terminal table, CSV files and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from steadytune.analysis.sentences import listed
from steadytune.reporting.blocks import Claim, Panel, Section
from steadytune.reporting.drawing import Drawing
from steadytune.reporting.figures import Look, axis_title, escaped, frame, looks
from steadytune.reporting.naming import MISSING, count, number
from steadytune.reporting.render import write_page
from steadytune.reporting.validity_table import NumberTable
from steadytune.theory.pages.figures import Line, draw
from steadytune.theory.pages.page import page, study
from steadytune.theory.pages.trends import bounded, claim, graded, trend
from steadytune.theory.studies.task_loo import QUANTITIES, TaskStability

if TYPE_CHECKING:
    import pandas as pd

PAGE, SUMMARY, EXAMPLES = "loo.html", "stability.csv", "examples.csv"
_DRAWN = 2000
"""More points than this make a page heavy without adding information."""
_GOOD_RANK = 0.9


def write_stability(found: Sequence[TaskStability], out: Path) -> Path:
    """Write stability.csv (a row per training), examples.csv (a row per left-out example) and a page into a folder.

    Returns:
        The path of the page.

    Raises:
        UserError: The disk is full.
    """
    import pandas as pd

    summary = pd.DataFrame([one.summary() for one in found])
    examples = pd.DataFrame([row for one in found for row in one.examples()])
    tasks, sizes = (sorted(summary[column].unique()) for column in ("task", "n"))
    facts = {
        "Model": listed(sorted(summary["model"].unique())),
        "Tasks": listed(tasks),
        "Mode": "head tuning",
        "Examples": listed(sizes),
        "Seeds": str(len(found[0].exact.seeds)),
    }
    notes = list(dict.fromkeys(sentence for one in found for sentence in one.exact.describe()))
    made = page(
        f"Leave-one-out stability of {listed(tasks)}",
        facts,
        notes,
        _sections(_series(summary), _series(examples)),
        numbers(found),
        {SUMMARY: summary, EXAMPLES: examples},
    )
    return write_page(made, out, PAGE)


def numbers(found: Sequence[TaskStability]) -> NumberTable:
    """Return a line per training: both instabilities of every quantity, and the bound."""
    columns = ["n", "left out", *(f"{kind} {name}" for name in QUANTITIES for kind in ("leave-one-out", "seed"))]
    columns += ["separable", "B/γ", "bound on directions", "ranks by influence"]
    lines = []
    for one in found:
        row = one.summary()
        cells = [str(row["n"]), str(row["left_out"])]
        cells += [f"{row[f'{kind}_{name}']:.3g}" for name in QUANTITIES for kind in ("loo", "seed")]
        terms = ("norm_over_margin", "direction_bound")
        bound = [f"{row[name]:.3g}" if row["separable"] else MISSING for name in terms]
        cells += ["yes" if row["separable"] else "no", *bound, number(row["influence_rank_directions"])]
        lines.append((one.name, *cells))
    remark = (
        "Weights: distance between all trained weights. Directions: distance between the last layer's weights "
        "scaled to length 1. Predictions: share of the measured examples with a different class. Loss: difference "
        "in nats; for leave-one-out, on the left-out example."
    )
    return NumberTable("Leave-one-out and seed instability", ("training", *columns), tuple(lines), (remark,))


def stability_table(found: Sequence[TaskStability]) -> Table:
    """Lay out the directions and predictions of every training for the terminal."""
    layout = Table(box=None, pad_edge=False, header_style="bold")
    headings = ("training", "n", "LOO directions", "seed directions", "LOO predictions", "seed predictions", "bound")
    for heading in headings:
        layout.add_column(heading, justify="left" if heading == "training" else "right")
    for one in found:
        row = one.summary()
        cells = [f"{row[f'{kind}_{name}']:.3g}" for name in ("directions", "predictions") for kind in ("loo", "seed")]
        bound = f"{row['direction_bound']:.3g}" if row["separable"] else MISSING
        layout.add_row(escape(one.name), str(row["n"]), *cells, bound)
    return layout


def _series(table: pd.DataFrame) -> pd.DataFrame:
    """Name the series for `trend`: model, task and recipe."""
    return table.assign(dataset=table["model"] + " on " + table["task"] + ", " + table["recipe"])


def _sections(summary: pd.DataFrame, examples: pd.DataFrame) -> list[Section]:
    styles = looks(list(summary["dataset"].unique()))
    summary = summary.assign(direction_bound=summary["direction_bound"].where(summary["separable"]))
    columns = {
        "loo_directions": "Leave-one-out instability",
        "seed_directions": "Seed instability",
        "direction_bound": "Bound on the leave-one-out instability of the max-margin head",
    }
    panels = []
    for column, title in columns.items():
        lines = [Line(name, summary[summary["dataset"] == name], column, look) for name, look in styles.items()]
        figure = draw("n", "examples n", lines)
        if figure:
            panels.append(Panel(column.replace("_", "-"), title, figure))
    lead = "Directions of the last layer. A seed sets its initial weights."
    return [
        study("size", "Sample size", lead, panels, _size_claims(summary)),
        _influence_section(summary, examples, styles),
    ]


def _size_claims(summary: pd.DataFrame) -> list[Claim]:
    claims = [
        claim(
            f"More examples make training more stable: {name} falls.",
            "the abstract",
            "falls",
            trend(summary, "n", column),
            "n =",
            "tasks and recipes",
        )
        for name, column in (
            ("leave-one-out instability of the direction", "loo_directions"),
            ("seed instability of the direction", "seed_directions"),
        )
    ]
    claims.append(
        bounded(
            "On separable features leave-one-out rotates the direction of gradient descent by at most the bound of "
            "the max-margin head plus both direction errors of descent.",
            "derived",
            summary[summary["separable"]],
            "loo_directions",
            "descent_bound",
            "separable samples",
        )
    )
    return claims


def _influence_section(summary: pd.DataFrame, examples: pd.DataFrame, styles: dict[str, Look]) -> Section:
    """Compare what influence functions predict for each example with the effect of leaving it out."""
    figure = Drawing()
    known = examples.dropna(subset=["influence_weights"])
    for name, look in styles.items():
        rows = known[known["dataset"] == name]
        largest = rows[rows["n"] == rows["n"].max()].head(_DRAWN)
        figure.add_scatter(
            x=[float(f"{value:.4g}") for value in largest["loo_weights"]],
            y=[float(f"{value:.4g}") for value in largest["influence_weights"]],
            mode="markers",
            marker={"color": look.colour, "symbol": look.symbol, "size": 6, "opacity": 0.6},
            hovertext=[f"<b>{escaped(name)}</b><br>example {example}" for example in largest["example"]],
            hoverinfo="text",
            name=name,
        )
    figure.update_layout(
        {**frame(height=420, top=8), "showlegend": True},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        xaxis={"title": axis_title("distance of the weights, exact"), "type": "log", "zeroline": False},
        yaxis={"title": axis_title("by influence"), "type": "log", "zeroline": False, "automargin": True},
    )
    ranks = summary["influence_rank_weights"].dropna()
    verdict = graded(float((ranks >= _GOOD_RANK).mean()))
    measured = (
        f"Spearman's ρ of the distance of the weights has a median of {ranks.median():.3f} over "
        f"{count(len(ranks), 'sample')}, from {ranks.min():.3f} to {ranks.max():.3f}; supported means at least "
        f"{_GOOD_RANK}."
        if len(ranks)
        else "No sample has examples that differ."
    )
    prediction = "Influence functions rank the examples as exact leave-one-out does."
    lead = "One point per training example, at the largest n: how far the weights move without it, exact and predicted."
    return study(
        "influence",
        "Influence functions against exact leave-one-out",
        lead,
        [Panel("exact", "Distance of the weights", figure.plain())],
        [Claim(prediction, "from memory (Koh & Liang)", verdict, measured)],
    )
