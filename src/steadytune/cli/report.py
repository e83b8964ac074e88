"""`steadytune report`: measure and compare what a folder holds, and write it up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.analysis.comparison.compare import Comparison


def report(folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run'.")]) -> None:
    """Compare the runs that a folder holds, and write report.html and the tables into it.

    Nothing is trained; runs that are still missing are left out.

    **Example**

    `steadytune report runs/rte`
    """
    from rich.console import Console

    from steadytune.cli.progress import bar
    from steadytune.records import RunStore
    from steadytune.report import write_report

    console = Console()
    with bar(console, "measuring") as progress:
        page, comparison = write_report(RunStore(folder), progress=progress)
    show(console, comparison, page)


def show(console: Console, comparison: Comparison, page: Path | None = None) -> None:
    """Print the verdict on the baseline and the table, then where the report lies or, without one, its notes."""
    from steadytune.analysis.comparison.verdict import verdict
    from steadytune.report import comparison_table

    console.print()
    for sentences in verdict(comparison).values():
        # The first speaks of the baseline; all of them would push the table off the screen.
        console.print(f"{sentences[0]}\n", markup=False, highlight=False)
    console.print(comparison_table(comparison))
    if page:
        # Not wrapped, so that the path can be copied or clicked.
        console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
        return
    for note in dict.fromkeys(note for profile in comparison.profiles for note in profile.notes):
        console.print(f"note: {note}", markup=False, highlight=False)
