"""Validity and consistency of the measures as tables, for the page and the terminal, and as validity.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from steadytune.analysis.validity.groups import KnownGroups
from steadytune.analysis.validity.subsampling import SHARES
from steadytune.analysis.validity.validate import Validation
from steadytune.reporting.naming import MISSING, called, known, number
from steadytune.reporting.validity import (
    agreement_matrix,
    changed,
    convergent_remark,
    overall_remark,
    ranking_remark,
    short,
    tau_matrix,
)


class NumberTable(NamedTuple):
    """The results of one analysis as numbers.

    Attributes:
        title: The question.
        columns: Headings; the first is that of the row names. Empty if there are no numbers.
        rows: A name and its cells each.
        remarks: Remarks below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


def validity_table(validations: Mapping[tuple[str, str], Validation]) -> Table:
    """Lay out the validation of the measures for 80 columns, one model and task after another."""
    layout = Table.grid()
    for (model, task), found in validations.items():
        name = " on ".join(filter(None, (model, task)))
        advice = tuple(f"- {sentence}" for sentence in found.recommendation.sentences)
        for part in (*number_tables(found), NumberTable("what to report", (), (), advice)):
            layout.add_row(Text(f"{f'{name}: ' if name else ''}{part.title}", style="bold"))
            if part.rows:
                layout.add_row(_laid_out(part))
            for line in (*part.remarks, ""):
                layout.add_row(Text(line))
    return layout


def _laid_out(part: NumberTable) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(part.columns[0], overflow="fold", max_width=26)
    for column in part.columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in part.rows:
        table.add_row(*map(escape, row))
    return table


def number_tables(found: Validation) -> list[NumberTable]:
    """Return the numbers of every analysis of one model and task that has results."""
    return list(_number_tables(found))


def _number_tables(found: Validation) -> Iterator[NumberTable]:
    if found.convergent:
        pairs = [f"{short(pair.measure)}~{short(pair.other)}" for pair in found.convergent[0].pairs]
        yield NumberTable(
            "do the measures correlate over the layers? (Pearson's r)",
            ("recipe", *pairs),
            tuple((called(curve.recipe), *(_signed(pair.value) for pair in curve.pairs)) for curve in found.convergent),
            (convergent_remark(found),),
        )
    yield _group_table(found.groups)
    if found.subsamples:
        measures = dict.fromkeys(entry.measure for entry in found.subsamples)
        yield NumberTable(
            "change on fewer examples, mean [range] over recipes and subsets",
            ("measure", *(f"{100 * share:g} % of the examples" for share in SHARES)),
            tuple(
                (short(measure), *(_change(changed(found.subsamples, measure, share)) for share in SHARES))
                for measure in measures
            ),
        )
    if found.ranking:
        names, values = tau_matrix(found.ranking)
        yield _square("do they rank the recipes the same way? (Kendall's tau)", names, values, ranking_remark(found))
    names, values = agreement_matrix(found.agreements)
    if np.isfinite(values).any():
        yield _square(
            "do they move together over resampled runs? (Pearson's r, median over recipes)",
            names,
            values,
            "below the diagonal without pairs of a run and its copy, above it with them, which tends to inflate r",
        )
    yield NumberTable("do they agree more where the score is less stable?", (), (), (overall_remark(found),))


def _group_table(groups: Sequence[KnownGroups]) -> NumberTable:
    return NumberTable(
        "successful against failed runs, distances at the last layer",
        ("recipe, measure", "successful", "failed", "between", "p"),
        tuple(
            (
                f"{called(group.recipe)}, {short(measure)}",
                *map(number, (entry.successful, entry.failed, entry.between)),
                f"{entry.p:.2g}",
            )
            for group in groups
            if group.separations
            for measure, entry in group.last().items()
        ),
        tuple(f"{called(group.recipe)}: {group.reason}" for group in groups if group.reason),
    )


def _square(title: str, names: Sequence[str], values: NDArray[np.float64], remark: str) -> NumberTable:
    rows = tuple(
        (short(name), *("" if not known(value) else _signed(value) for value in row))
        for name, row in zip(names, values, strict=True)
    )
    return NumberTable(title, ("", *map(short, names)), rows, (remark,))


def _signed(value: float) -> str:
    return f"{value:.2f}" if known(value) else MISSING


def _change(change: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in change)
    return f"{mean:+.0f} % [{low:+.0f}, {high:+.0f}]" if known(mean) else MISSING
