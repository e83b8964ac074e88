"""`steadytune compare`: compare recipes with a baseline, and estimate how many seeds are needed."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError
from steadytune.grouped import grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from steadytune.analysis.comparison.compare import Comparison, Row
    from steadytune.analysis.comparison.difference import Difference
    from steadytune.metrics import Scale
    from steadytune.records import Cohort

# A ratio of SDs that matters, and an interval width that pins an SD down.
_RATIO = 2.0
_WIDTH = 0.5
_APART_NOTE = "* adjusted for the number of recipes only; the other rows are adjusted for all tests in the verdict"


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help=(
                "The --out folder of a 'steadytune run' or 'sweep'; or folders of files, one per recipe; or two single "
                "files."
            ),
            metavar="RUNS...",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(help="Recipe to compare the others with; by default 'standard' or the first one."),
    ] = None,
    detect: Annotated[
        float | None,
        typer.Option(
            metavar="AMOUNT",
            help=(
                "Difference in mean score to plan seeds for: in points, or in the metric's own unit if it has no "
                "points."
            ),
            show_default="1 point, or one SD for a metric without points",
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric for runs in files, as in 'steadytune measure'.", show_default=False)
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Positive class for F1, for runs in files.", show_default=False)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Roles of columns, for runs in files, as in 'steadytune measure'. Repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and tables, for runs in files.", show_default=False)
    ] = None,
) -> None:
    """Compare recipes with a baseline: differences, p-values, and how many seeds are needed.

    Nothing is trained. All p-values are two-sided; the adjusted ones (Holm) account for the number of recipes.

    Runs trained elsewhere are compared by their files, see `steadytune measure --help`: each folder is a recipe;
    two single files are compared example by example, which says nothing about recipes.

    **Example**

    `steadytune compare runs/rte`

    `steadytune compare old/ new/`

    `steadytune compare old.csv new.csv`

    `steadytune compare runs/rte --baseline standard --detect 0.5`
    """
    if detect is not None and not 0 < detect < math.inf:
        raise UserError(f"--detect must be a positive number, not {detect:g}")
    from steadytune.analysis.comparison.compare import compare
    from steadytune.external.commands.store import CommandStore
    from steadytune.external.commands.sweep import is_sweep
    from steadytune.records import RunStore
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar

    console = Console()
    if len(paths) > 1 or paths[0].is_file():
        from steadytune.cli.measure import key_values
        from steadytune.cli.sides import compare_files

        compare_files(console, paths, baseline, detect, metric, key_values(assignments or []), positive, out)
        return
    (folder,) = paths
    if metric or positive or assignments or out:
        see = shlex.join(["steadytune", "report", str(folder)])
        raise UserError(
            f"--metric, --positive, --set and --out are for runs in files; to make the page of a study, use {see}"
        )
    cohorts = CommandStore(folder).cohorts() if is_sweep(folder) else RunStore(folder).cohorts()
    _check(cohorts, folder)
    with bar(console, "measuring") as progress:
        comparison = compare(cohorts, baseline, progress)
    show_differences(console, comparison, detect)


def show_differences(console: Console, comparison: Comparison, detect: float | None) -> None:
    """Print the differences from the baseline, what they mean, and how many seeds are needed."""
    from rich.text import Text

    from steadytune.analysis.comparison.verdict import verdict
    from steadytune.cli.report import show_sources
    from steadytune.reporting.tables import limits

    words = verdict(comparison, detect)
    for (model, task), rows in comparison.groups().items():
        name = " on ".join(filter(None, (model, task)))
        unit = ", scores in points" if rows[0].scale.unit else ""
        title = f"difference from {rows[0].baseline} [95 % interval, adjusted]{unit}"
        console.print(Text(f"\n{f'{name}: ' if name else ''}{title}", style="bold"))
        if len(rows) == 1:
            console.print("no other recipe to compare", highlight=False)
            continue
        console.print(_table(rows))
        if any(_apart(found) for row in rows for found in row.differences.values()):
            console.print(_APART_NOTE, markup=False, highlight=False)
        for line in (*limits(rows), *_same_seed_lines(rows)):
            console.print(line, markup=False, highlight=False)
        for sentence in words[model, task]:
            console.print(f"\n{sentence}", markup=False, highlight=False)
        for line in _seeds_needed(rows, detect):
            console.print(line, markup=False, highlight=False)
    show_sources(console, comparison)


def _check(cohorts: Sequence[Cohort], folder: Path) -> None:
    """Raise UserError unless two recipes of one model and task have two finished runs each."""
    groups = grouped(cohorts, lambda cohort: cohort.group)
    if groups and max(map(len, groups.values())) < 2:
        raise UserError(
            f"{folder}: there is only one recipe, '{cohorts[0].recipe}', so nothing to compare; "
            "add another with 'steadytune run --recipe', or with --set NAME=A,B of a 'steadytune sweep'"
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

    from steadytune.analysis.comparison.difference import HERE
    from steadytune.analysis.intervals import SIGNIFICANT
    from steadytune.reporting.naming import called

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("difference", "p", "adjusted"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("test")
    for row in rows:
        if row.is_baseline:
            continue
        table.add_row(f"[bold]{escape(called(row.recipe))}[/]")
        for name, found in row.differences.items():
            # A second p-value next to the decisive one would only be misread; differences.csv has it.
            if not math.isnan(found.interval.value) and not name.endswith(HERE):
                table.add_row(
                    f"  {_title(row, found)}{' *' if _apart(found) else ''}",
                    escape(_amount(found, row.scale)),
                    *(_probability(p) for p in (found.significance.p, found.p_adjusted)),
                    found.significance.test,
                    style="bold" if found.p_adjusted < SIGNIFICANT else None,
                )
    return table


def _apart(found: Difference) -> bool:
    """Return whether a difference is not part of the verdict and is adjusted separately."""
    from steadytune.analysis.comparison.compare import claims

    return found.measure not in claims() and not math.isnan(found.p_adjusted)


def _same_seed_lines(rows: Sequence[Row]) -> list[str]:
    """Report what each recipe changes at the same seed, unless the verdict reports it."""
    from steadytune.analysis.comparison.same_seed import changed_at_same_seed

    lines = []
    for row in rows:
        found = row.same_seed
        if found is not None and not found.next_to_nothing:
            value, beside = changed_at_same_seed(found)
            lines.append(f"{row.recipe} at the same seed, {found.of} changed: {value} ({beside})")
    return lines


def _title(row: Row, found: Difference) -> str:
    from steadytune.measures import MEASURES

    names = {"mean": row.metric, "sd_ratio": "SD ratio", "failed": "failed, %"}
    return names.get(found.measure) or MEASURES[found.measure].short


def _amount(found: Difference, scale: Scale) -> str:
    from steadytune.analysis.sentences import times
    from steadytune.reporting.naming import scale_of

    value, low, high = found.interval.value, found.adjusted.low, found.adjusted.high
    if found.measure == "sd_ratio":
        written = [times(number) for number in (value, low, high)]
    elif (found.measure == "mean" and not scale.unit) or scale_of(found.measure):
        written = [f"{number:+.4g}" for number in (value, low, high)]
    elif found.measure in ("mean", "failed"):
        written = [f"{100 * number:+.1f}" for number in (value, low, high)]
    else:
        written = [f"{number:+.3f}" for number in (value, low, high)]
    return written[0] if math.isnan(low) else f"{written[0]} [{written[1]}, {written[2]}]"


def _probability(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _seeds_needed(rows: Sequence[Row], detect: float | None) -> list[str]:
    """Report the seeds needed for a power of 80 %, whatever has been found."""
    from steadytune.analysis.comparison.power import seeds_to_pin_sd
    from steadytune.analysis.grouping import size_words
    from steadytune.analysis.sentences import score_step

    tests = f", adjusted for {rows[0].planned} tests" if rows[0].planned > 1 else ""
    lines = ["", f"seeds needed per recipe, from the SDs observed here{tests}:"]
    for row in rows:
        if row.is_baseline or row.differences["mean"].estimate is None:
            continue
        step = row.step(detect)
        what = f"to detect a difference of {score_step(step, row.scale)}"
        if (needed := row.seeds_to_detect(step)) is None:
            size = size_words(row.profile.cohort)
            lines.append(
                f"  {row.recipe} against {row.baseline}: no number is enough {what}, given the error from {size}"
            )
        else:
            lines.append(f"  {row.recipe} against {row.baseline}: {needed} {what}")
    lines.append(f"  {rows[0].seeds_to_detect_ratio(_RATIO)} to detect that one SD is twice another")
    return [*lines, f"  {seeds_to_pin_sd(_WIDTH)} to estimate an SD to within about a quarter"]
