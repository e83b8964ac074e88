"""`steadytune compare`: the recipes of a study against a baseline, and how many seeds it would take to tell more."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from steadytune.analysis.comparison.compare import Row
    from steadytune.analysis.comparison.difference import Difference
    from steadytune.records import Cohort

# A ratio of SDs that matters, and a width of its interval that leaves no doubt about its size.
_RATIO = 2.0
_WIDTH = 0.5


def compare(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run'.", metavar="RUNS")],
    baseline: Annotated[
        str | None,
        typer.Option(help="Recipe that the others are compared with; by default 'standard' or the first one."),
    ] = None,
    detect: Annotated[
        float, typer.Option(metavar="POINTS", help="Difference of mean scores for which the seeds needed are told.")
    ] = 1.0,
) -> None:
    """Compare the recipes of a study with a baseline: differences, p-values, and how many seeds it would take.

    Nothing is trained. All p-values are two-sided; the adjusted ones (Holm) allow for the number of recipes.

    **Example**

    `steadytune compare runs/rte`

    `steadytune compare runs/rte --baseline standard --detect 0.5`
    """
    if not 0 < detect < math.inf:
        raise UserError(f"--detect must be a positive number of points, not {detect:g}")
    from rich.console import Console
    from rich.text import Text

    from steadytune.analysis.comparison.compare import compare
    from steadytune.analysis.comparison.verdict import verdict
    from steadytune.cli.progress import bar
    from steadytune.records import RunStore
    from steadytune.report.tables import grouped

    console = Console()
    cohorts = RunStore(folder).cohorts()
    _check(cohorts, folder)
    with bar(console, "measuring") as progress:
        comparison = compare(cohorts, baseline, progress)
        groups = grouped(comparison)
    words = verdict(comparison, detect / 100)
    for (model, task), rows in groups.items():
        name = " on ".join(filter(None, (model, task)))
        console.print(
            Text(f"\n{name}: difference from {rows[0].baseline} [95 % interval], scores in points", style="bold")
        )
        if len(rows) == 1:
            console.print("there is no other recipe", highlight=False)
            continue
        console.print(_table(rows))
        for sentence in words[model, task]:
            console.print(f"\n{sentence}", markup=False, highlight=False)
        for line in _seeds_needed(rows, detect):
            console.print(line, markup=False, highlight=False)


def _check(cohorts: Sequence[Cohort], folder: Path) -> None:
    """Raise UserError unless two recipes of one model and task have two finished runs each."""
    groups: dict[tuple[str, str], list[Cohort]] = {}
    for cohort in cohorts:
        groups.setdefault((cohort.model, cohort.task), []).append(cohort)
    if groups and max(map(len, groups.values())) < 2:
        raise UserError(
            f"{folder}: one recipe only, '{cohorts[0].recipe}', so there is nothing to compare it with; "
            "add another with 'steadytune run --recipe'"
        )
    enough = [sum(len(cohort) > 1 for cohort in members) for members in groups.values()]
    if groups and max(enough) < 2:
        few = next(cohort for members in groups.values() if len(members) > 1 for cohort in members if len(cohort) < 2)
        raise UserError(
            f"{folder}: recipe '{few.recipe}' has {len(few)} finished run{'' if len(few) == 1 else 's'}, and a "
            "comparison needs at least two of each recipe: train more seeds"
        )


def _table(rows: Sequence[Row]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from steadytune.analysis.comparison.significance import SIGNIFICANT
    from steadytune.report.words import called

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("difference", "p", "adjusted"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("test")
    for row in rows:
        if row.is_baseline:
            continue
        table.add_row(f"[bold]{escape(called(row.recipe))}[/]")
        for found in row.differences.values():
            if not math.isnan(found.interval.value):
                table.add_row(
                    f"  {_title(row, found)}",
                    escape(_amount(found)),
                    *(_probability(p) for p in (found.significance.p, found.p_adjusted)),
                    found.significance.test,
                    style="bold" if found.p_adjusted < SIGNIFICANT else None,
                )
    return table


def _title(row: Row, found: Difference) -> str:
    from steadytune.report.words import MEASURES

    names = {"mean": row.metric, "sd_ratio": "SD ratio", "failed": "failed, %"}
    return names.get(found.measure) or MEASURES[found.measure].short


def _amount(found: Difference) -> str:
    value, low, high = found.interval
    if found.measure == "sd_ratio":
        written = [f"{number:.2f}" for number in (value, low, high)]
    elif found.measure in ("mean", "failed"):
        written = [f"{100 * number:+.1f}" for number in (value, low, high)]
    else:
        written = [f"{number:+.3f}" for number in (value, low, high)]
    return written[0] if math.isnan(low) else f"{written[0]} [{written[1]}, {written[2]}]"


def _probability(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _seeds_needed(rows: Sequence[Row], detect: float) -> list[str]:
    """Say what it would take, whatever has been found, in four cases of five."""
    from steadytune.analysis.comparison.power import seeds_to_pin_sd
    from steadytune.analysis.wording import in_points

    lines = ["", "seeds a recipe that would be needed, from the SDs seen here:"]
    for row in rows:
        if row.is_baseline or not max(row.sd.value, row.reference.last("sd").value) > 0:
            continue
        needed = row.seeds_to_detect(detect / 100)
        lines.append(
            f"  {row.recipe} against {row.baseline}: {needed} to see a difference of {in_points(detect / 100)}"
        )
    lines.append(f"  {rows[0].seeds_to_detect_ratio(_RATIO)} to see an SD twice another")
    return [*lines, f"  {seeds_to_pin_sd(_WIDTH)} to know an SD to about a quarter either way"]
