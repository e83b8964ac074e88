"""`steadytune theory synthetic`: test the theory on several hundred generated data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.theory.commands.folder import check_folder

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.reporting.blocks import Section


def synthetic(
    out: Annotated[Path, typer.Option(help="Folder for theory.html and studies.csv.", show_default=False)],
    small: Annotated[bool, typer.Option(help="Few data sets and a small grid: every figure in seconds.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 means one per CPU core.")] = 0,
) -> None:
    """Test the theory on several hundred generated classification data sets, in a few minutes.

    Measures leave-one-out instability with its bound, and seed instability, over sample size, steps, learning rate,
    initial scale, heads of MHLoss and alpha of MMR. Below each figure the page gives the predictions and the results.

    **Example**

    `steadytune theory synthetic --out runs/theory`

    `steadytune theory synthetic --small --out runs/theory`
    """
    from steadytune.files import room_on_disk
    from steadytune.sweep.capacity import processors
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar
    from steadytune.theory.pages.page import write_synthetic_report
    from steadytune.theory.studies.table import default_specs, synthetic_study
    from steadytune.theory.studies.varied import SMALL, Grid

    check_folder(out)
    console = Console()
    specs = default_specs((20, 40), (5, 30), (1.0,), (0.0,), seeds=1) if small else default_specs()
    with room_on_disk(out):
        with bar(console, f"{len(specs)} data sets") as progress:
            table = synthetic_study(
                specs, SMALL if small else Grid(), workers=workers or processors(), progress=progress
            )
        page, sections = write_synthetic_report(table, out)
    say(console, page, sections)


def say(console: Console, page: Path, sections: Sequence[Section]) -> None:
    """Print the verdict on every prediction, and the path of the page."""
    for section in sections:
        console.print(f"\n{section.title}", markup=False, highlight=False)
        for claim in section.claims:
            console.print(f"- {claim.verdict}: {claim.prediction}", markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False, soft_wrap=True)
