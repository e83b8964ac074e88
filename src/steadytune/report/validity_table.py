"""Validity and consistency of the measures as a table in the terminal and as validity.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from steadytune.analysis.validity.groups import KnownGroups
from steadytune.analysis.validity.subsampling import SHARES
from steadytune.analysis.validity.validate import Validation, ValidityRow, validity_rows
from steadytune.report.tables import csv_text
from steadytune.report.validity import (
    agreement_matrix,
    changed,
    convergent_remark,
    overall_remark,
    ranking_remark,
    short,
    tau_matrix,
)
from steadytune.report.words import MISSING, called, known, number


def validity_csv(validations: Mapping[tuple[str, str], Validation]) -> str:
    """Return validity.csv: a row per number of every analysis, empty for what is unknown."""
    return csv_text(ValidityRow._fields, (row._asdict() for row in validity_rows(dict(validations))))


def validity_table(validations: Mapping[tuple[str, str], Validation]) -> Table:
    """Lay out for 80 columns what is known about the measures, a model and task after the other."""
    layout = Table.grid()
    for (model, task), found in validations.items():
        name = " on ".join(filter(None, (model, task)))
        for title, *lines in _parts(found):
            layout.add_row(Text(f"{f'{name}: ' if name else ''}{title}", style="bold"))
            for line in (*lines, ""):
                layout.add_row(line)
    return layout


def _parts(found: Validation) -> Iterator[list[Any]]:
    """Yield title, table and remarks of every part that has something to show."""
    if found.convergent:
        pairs = [f"{short(pair.measure)}~{short(pair.other)}" for pair in found.convergent[0].pairs]
        table = _table("recipe", pairs)
        for curve in found.convergent:
            table.add_row(escape(called(curve.recipe)), *(_signed(pair.value) for pair in curve.pairs))
        yield ["do the measures go together over the layers? (Pearson's r)", table, Text(convergent_remark(found))]
    yield ["successful against failed runs, distances at the last layer", *_group_table(found.groups)]
    if found.subsamples:
        table = _table("measure", [f"{100 * share:g} % of the examples" for share in SHARES])
        for measure in dict.fromkeys(entry.measure for entry in found.subsamples):
            table.add_row(short(measure), *(_change(changed(found.subsamples, measure, share)) for share in SHARES))
        yield ["change on fewer examples, mean [range] over recipes and subsets", table]
    if found.ranking:
        names, values = tau_matrix(found.ranking)
        title = "do they rank the recipes alike? (Kendall's tau)"
        yield [title, _square(names, values), Text(ranking_remark(found))]
    names, values = agreement_matrix(found.agreements)
    if np.isfinite(values).any():
        title = "do they move together over resampled runs? (Pearson's r, median over recipes)"
        remark = "below the diagonal without pairs of a run with its copy, above it with them, which inflates it"
        yield [title, _square(names, values), Text(remark)]
    yield ["do they agree more where the score is less stable?", Text(overall_remark(found))]
    yield ["what to report", *(Text(f"- {sentence}") for sentence in found.recommendation.sentences)]


def _group_table(groups: Sequence[KnownGroups]) -> Iterator[Any]:
    shown = [group for group in groups if group.separations]
    if shown:
        table = _table("recipe, measure", ["successful", "failed", "between", "p"])
        for group in shown:
            for measure, entry in group.last().items():
                table.add_row(
                    f"{escape(called(group.recipe))}, {short(measure)}",
                    *map(number, (entry.successful, entry.failed, entry.between)),
                    f"{entry.p:.2g}",
                )
        yield table
    for group in groups:
        if group.reason:
            yield Text(f"{called(group.recipe)}: {group.reason}")


def _square(names: Sequence[str], values: NDArray[np.float64]) -> Table:
    table = _table("", list(map(short, names)))
    for name, row in zip(names, values, strict=True):
        table.add_row(short(name), *("" if not known(value) else _signed(value) for value in row))
    return table


def _table(first: str, columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold", max_width=26)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _signed(value: float) -> str:
    return f"{value:.2f}" if known(value) else MISSING


def _change(change: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in change)
    return f"{mean:+.0f} % [{low:+.0f}, {high:+.0f}]" if known(mean) else MISSING
