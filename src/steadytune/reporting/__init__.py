"""Report measured runs: one HTML page with its CSV files, and a table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from steadytune.analysis.comparison.compare import Comparison, compare
from steadytune.analysis.comparison.verdict import Statement, verdict
from steadytune.analysis.validity.validate import Validation, validate
from steadytune.errors import UserError, check_path, door
from steadytune.external.cohort import texts_by_examples
from steadytune.external.commands.cohorts import cohorts_of
from steadytune.external.commands.store import CommandStore
from steadytune.external.commands.sweep import is_sweep
from steadytune.files import write_text
from steadytune.records import Cohort, RunStore
from steadytune.records.trained import as_trained
from steadytune.reporting.blocks import Page
from steadytune.reporting.command_facts import command_facts
from steadytune.reporting.explore import Texts
from steadytune.reporting.facts import facts
from steadytune.reporting.frames import comparison_frames, study_frames
from steadytune.reporting.render import render, write_page
from steadytune.reporting.study_page import Group, study_page
from steadytune.reporting.tables import comparison_table
from steadytune.reporting.validity_table import validity_table

if TYPE_CHECKING:
    import pandas as pd

    from steadytune.reporting.frames import Rows

__all__ = [
    "comparison_table",
    "render",
    "report",
    "report_of_cohorts",
    "report_of_commands",
    "report_of_study",
    "validity_table",
]

REPORT = "report.html"
# Share of the time spent on measuring; the rest is for measuring again on fewer examples.
_MEASURING = 0.8


@door
def report(
    runs: RunStore | CommandStore | str | Path | Cohort | Iterable[Cohort] | Iterable[str | Path] | Comparison,
    out: str | Path | None = None,
    *,
    baseline: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Compare runs and write report.html and the CSV files into a folder.

    Args:
        runs: A folder of runs or its path; or a cohort, cohorts or files of runs, as for `compare`; or the result of
            `compare`.
        out: The folder to write into, by default that of the runs; or a path ending in .html, for the page alone under
            that name, without the CSV files.
        baseline: Recipe to compare the others with, as for `compare`.
        progress: Called with the share of the work done.

    Returns:
        The path of the page.

    Raises:
        UserError: There are no runs, they cannot be compared, or the folder is not writable.
    """
    if out is not None:
        check_path(out, "out")
    if isinstance(runs, (str, Path)) and (Path(runs) / "study.yaml").is_file():
        runs = RunStore(runs)
    elif isinstance(runs, (str, Path)) and is_sweep(runs):
        runs = CommandStore(runs)
    if isinstance(runs, CommandStore):
        return report_of_commands(runs, baseline, progress=progress, out=out)[0]
    if isinstance(runs, RunStore):
        comparison = compare(runs, baseline) if baseline is not None else None
        return report_of_study(runs, comparison, progress=progress, out=out)[0]
    comparison = runs if isinstance(runs, Comparison) else compare(runs, baseline, progress)
    if out is None:
        raise UserError("no output folder for the report: use report(runs, out='folder')")
    return report_of_cohorts(comparison, Path(out))


def report_of_study(
    store: RunStore,
    comparison: Comparison | None = None,
    validations: Mapping[Group, Validation] | None = None,
    progress: Callable[[float], None] | None = None,
    out: str | Path | None = None,
) -> tuple[Path, Comparison]:
    """Compare the runs of a folder and write report.html and the CSV files into it.

    Args:
        store: The folder.
        comparison: The result of `compare(store)`, if available.
        validations: The result of `validate(comparison.profiles)`, if available.
        progress: Called with the share of the work done.
        out: Where to write instead, as for `report`; nothing is then written into the folder of the runs, apart from
            its cache.

    Returns:
        The path of the page, and the comparison that it shows.

    Raises:
        UserError: There are no runs yet, or the folder is not writable.
    """
    tell = progress or (lambda share: None)
    if comparison is None:
        comparison = compare(store, progress=lambda share: tell(_MEASURING * share))
    if validations is None and all(len(profile.cohort) < 2 for profile in comparison.profiles):
        validations = {}
    elif validations is None:
        rest = 1 - _MEASURING
        validations = validate(comparison.profiles, progress=lambda done, total: tell(_MEASURING + rest * done / total))
    texts = {name: store.examples_named(name) for name in {found.cohort.examples for found in comparison.profiles}}
    data = dict.fromkeys(line for entry in texts.values() for line in entry["data"])
    records = store.records()
    study, otherwise = as_trained(store.study, records)
    page = study_page(
        comparison,
        verdict(comparison),
        facts(study, records, left_out=store.skipped, otherwise=otherwise, data=data),
        texts,
        study_frames(comparison, records, texts, validations),
        validations,
    )
    hint = "" if out else "; name another folder with --out (out= in Python)"
    return _written(page, Path(out) if out else store.path, hint), comparison


def report_of_commands(
    store: CommandStore,
    baseline: str | None = None,
    *,
    progress: Callable[[float], None] | None = None,
    out: str | Path | None = None,
) -> tuple[Path, Comparison]:
    """Compare what the runs of a command left, and write report.html and the CSV files into their folder.

    Args:
        store: The folder.
        baseline: Values to compare the others with, as for `compare`; by default the first.
        progress: Called with the share of the work done.
        out: Where to write instead, as for `report`.

    Returns:
        The path of the page, and the comparison that it shows.

    Raises:
        UserError: Fewer than two runs left something to be measured, or the folder is not writable.
    """
    cohorts, runs = cohorts_of(store)
    comparison = compare(cohorts, baseline, progress)
    texts = texts_by_examples(cohorts, runs)
    frames: dict[str, pd.DataFrame | Rows] = {"runs.csv": store.to_frame(), **comparison_frames(comparison, texts)}
    page = study_page(comparison, verdict(comparison), command_facts(store, comparison), texts, frames)
    return _written(page, Path(out) if out else store.path), comparison


def report_of_cohorts(
    comparison: Comparison,
    out: Path,
    texts: Texts | None = None,
    statements: Mapping[Group, Sequence[Statement]] | None = None,
) -> Path:
    """Write report.html and the CSV files for runs trained elsewhere.

    Args:
        comparison: Of the runs.
        out: Where to write, as for `report`.
        texts: A cohort's `examples` name -> its texts and label names, if known.
        statements: The opening statements of the page; by default the verdict on the comparison.

    Returns:
        The path of the page.

    Raises:
        UserError: The folder is not writable.
    """
    said = verdict(comparison) if statements is None else statements
    tables = comparison_frames(comparison, texts or {})
    return _written(study_page(comparison, said, None, texts, tables), out)


def names_a_page(out: Path) -> bool:
    """Return whether a path names the page itself, rather than a folder for it and the CSV files."""
    return out.suffix.lower() == ".html" and not out.is_dir()


def _written(page: Page, out: Path, hint: str = "") -> Path:
    try:
        if not names_a_page(out):
            return write_page(page, out, REPORT)
        write_text(out, render(replace(page, tables={})))
        return out
    except OSError as error:
        raise UserError(f"cannot write a report into {out}: {error.strerror}{hint}") from error
