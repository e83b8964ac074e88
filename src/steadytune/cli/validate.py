"""`steadytune validate`: check which measures of a study are worth reporting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def validate(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run'.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report, or page.html; by default the runs' own folder."),
    ] = None,
) -> None:
    """Examine the validity and consistency of the measures, and recommend which to report.

    Nothing is trained. The findings are added to the report, and all numbers go into validity.csv.

    **Example**

    `steadytune validate runs/rte`
    """
    from steadytune.analysis.comparison.compare import compare
    from steadytune.analysis.validity.validate import validate
    from steadytune.records import RunStore
    from steadytune.reporting import report_of_study, validity_table
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar

    console = Console()
    store = RunStore(folder)
    with bar(console, "measuring") as progress:
        comparison = compare(store, progress=progress)
    with bar(console, "measuring on fewer examples") as progress:
        validations = validate(comparison.profiles, layers="all", progress=lambda done, total: progress(done / total))
    console.print(validity_table(validations))
    page, _ = report_of_study(store, comparison, validations, out=out)
    # Not wrapped, so that the path can be copied or clicked.
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
