"""`steadytune theory predict`: can one run predict how unstable a recipe will be over seeds?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadytune.theory.commands.folder import check_folder


def predict(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUNS_FOLDER...", help="The --out folders of 'steadytune run'.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for prediction.html and predictor.csv.", show_default=False)],
) -> None:
    """Test whether one run, or none, predicts which recipes are unstable over seeds.

    Compares margin, leave-one-out, gradient norms, distance travelled and others, from the first run of each cohort,
    with the instability of its other runs: rank correlations within tasks, and a predictor tested on held-out tasks.
    Cohorts need three finished runs. Nothing is trained, but the pre-trained models encode the examples of each task.

    **Example**

    `steadytune theory predict runs/cola runs/sst2 runs/rte --out runs/predicted`
    """
    from steadytune.files import room_on_disk
    from steadytune.records import RunStore
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar
    from steadytune.theory.pages.prediction import describe, prediction_table, write_prediction
    from steadytune.theory.predictor.cohorts import TARGETS, cohort_table
    from steadytune.theory.predictor.prediction import predict_instability

    check_folder(out)
    console, stores = Console(), [RunStore(folder) for folder in folders]
    with room_on_disk(out):
        with bar(console, "reading runs") as progress:
            table, notes = cohort_table(stores, out / "cache", progress=progress)
        found = [predict_instability(table, target) for target in TARGETS]
        page = write_prediction(table, notes, found, out)
    console.print(prediction_table(found))
    console.print()
    for sentence in [*(sentence for one in found for sentence in describe(one)), *notes]:
        console.print(f"- {sentence}", markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False, soft_wrap=True)
