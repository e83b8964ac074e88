"""Which measures to trust: the part of a section that evaluates the measures themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from steadytune.analysis.sentences import capital
from steadytune.analysis.validity.validate import Validation
from steadytune.measures import MEASURES
from steadytune.reporting.blocks import Block, Cell, Figures, Folded, Panel, Point, Points, Table, Text
from steadytune.reporting.figures import Look
from steadytune.reporting.validity import convergent_remark, overall_remark, ranking_remark, validity_figures
from steadytune.reporting.validity_table import number_tables

_GROUPS = "groups-"


def validity_blocks(found: Validation, name: str, styles: Mapping[str, Look]) -> list[Block]:
    """Lay out the validation of the measures of one model and task.

    Args:
        found: The validation.
        name: Model and task.
        styles: The look of each recipe.
    """
    figures = validity_figures(found, styles)
    # Name of a figure -> heading, text alternative, caption.
    captions = {
        "subsampling": (
            "On fewer examples",
            "Change of the measures on fewer examples",
            "Change of each measure on four random halves and four random tenths of the examples, mean and range over "
            "recipes. A measure that depends only on the runs does not change.",
        ),
        "convergent": (
            "Over the layers",
            "Correlation of the representation measures over the layers",
            f"Pearson’s r between two measures over the blocks. {convergent_remark(found)}",
        ),
        "ranking": (
            "Do they rank the recipes the same way?",
            "Kendall's tau between measures over the recipes",
            f"Kendall’s τ between two measures over the recipes. {ranking_remark(found)}",
        ),
        "bootstrap": (
            "Do they move together?",
            "Correlation of the measures over resampled runs",
            "Pearson’s r between two measures over 1000 resamples of the runs, median over recipes. Below the diagonal "
            "without pairs of a run and its copy; above it with them, as published, which tends to inflate it.",
        ),
    }
    drawn: dict[str, Block] = {
        key: Figures([Panel(key, "", figures[key], label)], caption, title=title)
        for key, (title, label, caption) in captions.items()
        if key in figures
    }
    first = [drawn.pop("subsampling")] if "subsampling" in drawn else []
    details = [*first, _groups(found, {key: one for key, one in figures.items() if key.startswith(_GROUPS)})]
    details += [
        *drawn.values(),
        Text(overall_remark(found), title="Do they agree more where the score is less stable?"),
    ]
    tables = [
        Table(
            f"{part.title}: {name}",
            part.columns,
            [[*map(Cell, row)] for row in part.rows],
            caption=capital(part.title),
            look="comparison numbers",
        )
        for part in number_tables(found)
        if part.rows
    ]
    if tables:
        tables[0] = replace(tables[0], title="In numbers")
    return [
        Points([Point(words) for words in found.recommendation.sentences], title="Which measures to trust here"),
        Folded("Validity and consistency of the measures", [*details, *tables]),
    ]


def _groups(found: Validation, figures: Mapping[str, dict[str, object]]) -> Block:
    if not figures:
        why = next((group.reason for group in found.groups if group.reason), "nothing to compare")
        return Text(f"Successful and failed runs: {why}", "absent")
    titles = {key: MEASURES[key.removeprefix(_GROUPS)].title for key in figures}
    return Figures(
        [
            Panel(key, titles[key], figure, f"{titles[key]} within successful and failed runs")
            for key, figure in figures.items()
        ],
        "Distance between two successful runs (solid) and between two failed ones (dashed) by block. A valid measure "
        "distinguishes the groups.",
        beside=True,
        title="Successful and failed runs",
    )
