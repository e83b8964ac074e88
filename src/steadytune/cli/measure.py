"""`steadytune measure`: the measures of runs that were trained elsewhere, or of a study's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.analysis.comparison.compare import Comparison
    from steadytune.external import ExternalRun


def measure(
    paths: Annotated[
        list[Path],
        typer.Argument(help="One file per run, or one folder of such files or of a study.", show_default=False),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            help="What scores the runs in files: a score that they hold, or a metric of predictions and labels.",
            show_default="a score that the files hold, or accuracy",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, measures.csv and flips.csv.", show_default=False)
    ] = None,
) -> None:
    """Measure how unstable runs are that differ in their seed alone, with 95 % intervals.

    A file holds one run, the examples in the same order in every file:

    - .npz or .safetensors: arrays `logits` or `probabilities` (examples x classes), `labels` (examples), and if wanted
    `representations` (layers x examples x width), `scores`, `ids`. `st.StabilityRecorder` and `st.record_run` write it.

    - .csv, .tsv, .jsonl or .parquet: a row per example with `label`, `logit_0`, `logit_1` ... (or `prob_0` ...), and if
    wanted `id` and `text`; for generated text `generation` and `reference`.

    **Example**

    `steadytune measure seed0.csv seed1.csv seed2.csv`

    `steadytune measure recorded/ --metric f1 --out report`

    `steadytune measure runs/rte`
    """
    from rich.console import Console

    from steadytune.analysis.comparison.compare import compare
    from steadytune.cli.progress import bar
    from steadytune.cli.report import show
    from steadytune.records import RunStore

    console = Console()
    if len(paths) == 1 and (paths[0] / "study.yaml").is_file():
        if out or metric:
            raise UserError(f"{paths[0]} is a study, which has a metric of its own: see steadytune report {paths[0]}")
        with bar(console, "measuring") as progress:
            comparison = compare(RunStore(paths[0]), progress=progress)
        show(console, comparison)
        return
    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names a folder")
    runs, comparison = _measure_files(console, paths, metric)
    show(console, comparison, _write(out, comparison, runs) if out else None)


def _measure_files(console: Console, paths: list[Path], metric: str | None) -> tuple[list[ExternalRun], Comparison]:
    from steadytune.analysis.comparison.compare import compare
    from steadytune.cli.progress import bar
    from steadytune.external import cohort_of, read_run, run_files

    files = run_files(paths)
    runs = []
    with console.status("reading") as status:
        for number, path in enumerate(files, start=1):
            status.update(f"reading run {number} of {len(files)}")
            runs.append(read_run(path))
    with bar(console, "measuring") as progress:
        return runs, compare([cohort_of(runs, metric)], progress=progress)


def _write(out: Path, comparison: Comparison, runs: list[ExternalRun]) -> Path:
    """Write report.html and its tables into a folder; return the path of the page."""
    from steadytune.analysis.comparison.verdict import verdict
    from steadytune.external import texts_of
    from steadytune.files import write_text
    from steadytune.report import REPORT, render
    from steadytune.report.tables import flips_csv, measures_csv

    texts = {found.cohort.examples: texts_of(runs) for found in comparison.profiles}
    tables = {"measures.csv": measures_csv(comparison), "flips.csv": flips_csv(comparison, texts)}
    for name, content in tables.items():
        write_text(out / name, content)
    write_text(out / REPORT, render(comparison, verdict(comparison), texts=texts, tables=tuple(tables)))
    return out / REPORT
