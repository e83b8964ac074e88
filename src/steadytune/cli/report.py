"""`steadytune report`: measure and compare what a folder holds, and write it up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.analysis.compare import Comparison


def report(folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run'.")]) -> None:
    """Compare the runs that a folder holds, and write report.html, runs.csv and measures.csv into it.

    Nothing is trained; runs that are still missing are left out.

    **Example**

    `steadytune report runs/rte`
    """
    from rich.console import Console

    from steadytune.records import RunStore
    from steadytune.report import write_report

    console = Console()
    with console.status("measuring and writing the report"):
        page, comparison = write_report(RunStore(folder))
    show(console, comparison, page)


def show(console: Console, comparison: Comparison, page: Path) -> None:
    """Print the comparison table and where the report lies."""
    from steadytune.report import comparison_table

    console.print()
    console.print(comparison_table(comparison))
    # Not wrapped, so that the path can be copied or clicked.
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
