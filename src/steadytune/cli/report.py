"""`steadytune report`: measure and compare the runs in a folder, and write the report again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.analysis.comparison.compare import Comparison


def report(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run' or 'sweep'.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report, or page.html; by default the runs' own folder."),
    ] = None,
) -> None:
    """Compare the runs in a folder, and write report.html and the tables into it.

    Nothing is trained; missing runs are left out.

    **Example**

    `steadytune report runs/rte`
    """
    from steadytune.external.commands.store import CommandStore
    from steadytune.external.commands.sweep import is_sweep
    from steadytune.records import RunStore
    from steadytune.reporting import report_of_study
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar

    console = Console()
    if is_sweep(folder):
        from steadytune.cli.sweep import measure_sweep

        measure_sweep(console, CommandStore(folder), out or folder)
        return
    with bar(console, "measuring") as progress:
        page, comparison = report_of_study(RunStore(folder), progress=progress, out=out)
    show(console, comparison, page)


def show(console: Console, comparison: Comparison, page: Path | None = None) -> None:
    """Print the verdict on the baseline and the table, then the path of the report or, without one, its notes."""
    from steadytune.analysis.comparison.verdict import must_know, verdict
    from steadytune.analysis.notes import failure_notes
    from steadytune.reporting import comparison_table
    from steadytune.reporting.naming import called

    console.print()
    for sentences in verdict(comparison).values():
        # The first sentence is about the baseline; all of them would push the table off the screen.
        console.print(f"{sentences[0]}\n", markup=False, highlight=False)
    console.print(comparison_table(comparison))
    show_sources(console, comparison)
    for row in comparison.rows():
        # The other recipes' sentences are not printed, but readers of their numbers must see these.
        for words in () if row.is_baseline else must_know(row):
            console.print(f"{called(row.recipe)}: {words}", markup=False, highlight=False)
    if page:
        # Not wrapped, so that the path can be copied or clicked.
        console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
        return
    said = {note for profile in comparison.profiles if profile.cohort.read for note in profile.first_notes}
    # The number of runs that may fail is already shown under the table.
    said |= {note for profile in comparison.profiles for note in failure_notes(profile.cohort)}
    for note in dict.fromkeys(note for profile in comparison.profiles for note in profile.notes if note not in said):
        console.print(f"note: {note}", markup=False, highlight=False)


def show_sources(console: Console, comparison: Comparison) -> None:
    """Print the sources of luck of each cohort; nothing if no seeds form a grid."""
    from steadytune.reporting.sources import source_sentences, sources

    several = len(comparison.profiles) > 1
    for number, profile in enumerate(found for found in comparison.profiles if sources([found])):
        if number == 0:
            console.print("where the luck comes from:", style="bold")
        name = f"{profile.cohort.name}: " if several else ""
        for _, words in source_sentences(sources([profile])):
            console.print(f"{name}{words}", markup=False, highlight=False)
