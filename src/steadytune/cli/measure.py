"""`steadytune measure`: the measures of runs that were trained elsewhere, or of a study's folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            show_default="the most natural score that the files hold, or accuracy",
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="Name or number of the class that F1, average precision and the like speak of.",
            show_default="class 1; of named classes the one that denies nothing, or the rarer",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Which column is what, where its name does not say: group=passage, label=gold, ignore=a,b; "
            "kind=regression; axes=examples-first; encoding=latin-1. May be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, measures.csv and flips.csv.", show_default=False)
    ] = None,
) -> None:
    """Measure how unstable runs are that differ in their seed alone, with 95 % intervals.

    A file holds one run, or several with a column `seed`. What was read is said first:

    - .npz or .safetensors: arrays `logits` or `probabilities` (examples x classes) or `predictions`, `labels`,
    and if wanted `representations` (layers x examples x width), `scores`, `ids`, `groups`. `st.StabilityRecorder` and
    `st.record_run` write it.

    - .csv, .tsv, .jsonl, .json or .parquet: a row per example with `label`, `logit_0`, `logit_1` ... (or `prob_0`
    ..., or `prediction`), and if wanted `id`, `text`, `group`; for generated text `generation` and `reference`.

    **Example**

    `steadytune measure seed0.csv seed1.csv seed2.csv`

    `steadytune measure recorded/ --metric f1 --out report`

    `steadytune measure runs/rte`
    """
    from steadytune.analysis.comparison.compare import compare
    from steadytune.cli.report import show
    from steadytune.records import RunStore
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar

    console = Console()
    if len(paths) == 1 and (paths[0] / "study.yaml").is_file():
        if out or metric or assignments or positive:
            see = shlex.join(["steadytune", "report", str(paths[0])])
            raise UserError(f"{paths[0]} is a study, which has a metric of its own: see {see}")
        with bar(console, "measuring") as progress:
            comparison = compare(RunStore(paths[0]), progress=progress)
        show(console, comparison)
        return
    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names a folder")
    runs, comparison = _measure_files(console, paths, metric, positive, key_values(assignments or []))
    show_read(console, comparison)
    show(console, comparison, write_page(out, comparison, runs) if out else None)


def key_values(assignments: list[str]) -> dict[str, str]:
    """Take options of the form KEY=VALUE apart."""
    for assignment in assignments:
        if "=" not in assignment:
            raise UserError(f"--set {assignment} must be KEY=VALUE, as in --set group=passage")
    return {key.strip(): value.strip() for key, value in (assignment.split("=", 1) for assignment in assignments)}


def _measure_files(
    console: Console, paths: list[Path], metric: str | None, positive: str | None, columns: dict[str, str]
) -> tuple[list[ExternalRun], Comparison]:
    from steadytune.analysis.comparison.compare import compare
    from steadytune.external import Choices, cohort_of, read_source, run_files, runs_of
    from steadytune.terminal.progress import bar

    choices = Choices.parse(columns)
    files = run_files(paths)
    sources = []
    with console.status("reading") as status:
        for number, path in enumerate(files, start=1):
            status.update(f"reading file {number} of {len(files)}")
            sources.append(read_source(path, choices.encoding))
    runs = runs_of(sources, choices, metric)
    cohort = cohort_of(runs, metric, choices, positive)
    with bar(console, "measuring") as progress:
        return runs, compare([cohort], progress=progress)


def show_read(console: Console, comparison: Comparison) -> None:
    """Print what was read of the files, and what must be known before any number."""
    from steadytune.analysis.comparison.verdict import first_notes

    read = dict.fromkeys(item for found in comparison.profiles for item in found.cohort.read.items())
    for line in (
        *(f"{name}: {value}" for name, value in read),
        *(f"note: {n}" for n in first_notes(comparison.rows())),
    ):
        console.print(line, markup=False, highlight=False)


def write_page(out: Path, comparison: Comparison, runs: Sequence[ExternalRun], words: list[str] | None = None) -> Path:
    """Write report.html and its tables into a folder; return the path of the page.

    Args:
        out: The folder.
        comparison: Of the runs.
        runs: As they were read.
        words: What the page says first; left out, the verdict on the comparison.
    """
    from steadytune.analysis.comparison.verdict import Statement
    from steadytune.external import texts_of
    from steadytune.reporting import report_of_cohorts

    texts = {found.cohort.examples: texts_of(runs) for found in comparison.profiles}
    said = None if words is None else dict.fromkeys(comparison.baselines, tuple(map(Statement, words)))
    return report_of_cohorts(comparison, out, texts, said)
