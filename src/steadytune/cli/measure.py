"""`steadytune measure`: measure runs trained elsewhere, or a study's folder."""

from __future__ import annotations

import shlex
from dataclasses import replace
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
            help="Metric for runs in files: a recorded score, or a metric of predictions and labels.",
            show_default="the first standard score in the files, or accuracy",
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="Name or number of the positive class for F1, average precision and similar metrics.",
            show_default="class 1; for named classes, the one that is not a negation, or the rarer one",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Role of a column whose name does not show it: group=passage, label=gold, ignore=a,b; "
            "kind=regression; axes=examples-first; encoding=latin-1. Repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, measures.csv and flips.csv; or page.html.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure the instability of runs that differ only in their seed, with 95 % intervals.

    A file holds one run, or several with a column `seed`. The output starts with what was read:

    - .npz or .safetensors: arrays `logits` or `probabilities` (examples x classes) or `predictions`, `labels`,
    and optionally `representations` (layers x examples x width), `scores`, `ids`, `groups`. `st.StabilityRecorder` and
    `st.record_run` write these files.

    - .csv, .tsv, .jsonl, .json or .parquet: one row per example with `label`, `logit_0`, `logit_1` ... (or `prob_0`
    ..., or `prediction`), and optionally `id`, `text`, `group`; for generated text `generation` and `reference`.

    - Logs of evaluations, a folder per run: lm-evaluation-harness (`--log_samples`), lighteval (`--save-details`),
    Inspect (.eval). Several tasks are measured one by one; `--set task=NAME` chooses one.

    **Example**

    `steadytune measure seed0.csv seed1.csv seed2.csv`

    `steadytune measure recorded/ --metric f1 --out report`

    `steadytune measure evaluations/ --set task=hellaswag`

    `steadytune measure runs/rte`
    """
    from steadytune.analysis.comparison.compare import compare
    from steadytune.cli.report import show
    from steadytune.external.commands.store import CommandStore
    from steadytune.external.commands.sweep import is_sweep
    from steadytune.records import RunStore
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar

    console = Console()
    if len(paths) == 1 and (paths[0] / "study.yaml").is_file():
        if out or metric or assignments or positive:
            see = shlex.join(["steadytune", "report", str(paths[0])])
            raise UserError(f"{paths[0]} is a study, which defines its own metric: use {see}")
        with bar(console, "measuring") as progress:
            comparison = compare(RunStore(paths[0]), progress=progress)
        show(console, comparison)
        return
    if len(paths) == 1 and is_sweep(paths[0]):
        from steadytune.cli.sweep import measure_sweep

        if metric or assignments or positive:
            raise UserError(
                f"{paths[0]} holds runs of a command, and its sweep.yaml says how they are measured: repeat the "
                "'steadytune sweep' with --metric, --positive or --columns"
            )
        measure_sweep(console, CommandStore(paths[0]), out)
        return
    check_out(out)
    runs, comparison = _measure_files(console, paths, metric, positive, key_values(assignments or []))
    show_read(console, comparison)
    show(console, comparison, write_page(out, comparison, runs) if out else None)


def key_values(assignments: list[str], option: str = "--set") -> dict[str, str]:
    """Parse options of the form KEY=VALUE."""
    for assignment in assignments:
        if "=" not in assignment:
            raise UserError(f"{option} {assignment} must be KEY=VALUE, as in {option} group=passage")
    return {key.strip(): value.strip() for key, value in (assignment.split("=", 1) for assignment in assignments)}


def _measure_files(
    console: Console, paths: list[Path], metric: str | None, positive: str | None, columns: dict[str, str]
) -> tuple[list[ExternalRun], Comparison]:
    from steadytune.analysis.comparison.compare import compare
    from steadytune.external import Choices, cohort_of, read_source, run_files, runs_of, tasks_of
    from steadytune.terminal.progress import bar

    choices = Choices.parse(columns)
    files = run_files(paths)
    sources = []
    with console.status("reading") as status:
        for number, path in enumerate(files, start=1):
            status.update(f"reading file {number} of {len(files)}")
            sources.append(read_source(path, choices.encoding))
    # Logs of evaluation harnesses may be of several tasks: a cohort each.
    tasks = [runs_of(held, choices, metric) for _, held in tasks_of(sources, choices)]
    cohorts = [cohort_of(runs, metric, choices, positive) for runs in tasks]
    if len(cohorts) > 1:
        cohorts = [replace(cohort, recipe=f"runs on {cohort.task or 'no task'}") for cohort in cohorts]
    with bar(console, "measuring") as progress:
        return [run for runs in tasks for run in runs], compare(cohorts, progress=progress)


def show_read(console: Console, comparison: Comparison) -> None:
    """Print what was read from the files, and what the reader must know before any number."""
    from steadytune.analysis.comparison.verdict import first_notes

    read = [item for found in comparison.profiles for item in found.cohort.read.items()]
    if len({found.cohort.task for found in comparison.profiles}) == 1:
        read = list(dict.fromkeys(read))
    for line in (
        *(f"{name}: {value}" for name, value in read),
        *(f"note: {n}" for n in first_notes(comparison.rows())),
    ):
        console.print(line, markup=False, highlight=False)


def check_out(out: Path | None) -> None:
    """Refuse a file that is no page before anything is measured."""
    from steadytune.reporting import names_a_page

    if out and out.exists() and not out.is_dir() and not names_a_page(out):
        raise UserError(f"{out} is a file: --out must name a folder, or a page such as report.html")


def write_page(out: Path, comparison: Comparison, runs: Sequence[ExternalRun], words: list[str] | None = None) -> Path:
    """Write report.html and its tables into a folder, and return the path of the page.

    Args:
        out: The folder, or a path ending in .html for the page alone.
        comparison: Of the runs.
        runs: The runs as read.
        words: The opening statements of the page; by default the verdict on the comparison.
    """
    from steadytune.analysis.comparison.verdict import Statement
    from steadytune.external.cohort import texts_by_examples
    from steadytune.reporting import report_of_cohorts

    texts = texts_by_examples([found.cohort for found in comparison.profiles], runs)
    said = None if words is None else dict.fromkeys(comparison.baselines, tuple(map(Statement, words)))
    return report_of_cohorts(comparison, out, texts, said)
