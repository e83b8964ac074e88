"""`steadytune compare` of files: two single runs, one run and a folder, or folders of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steadytune.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.records import Cohort


def compare_files(
    console: Console,
    paths: Sequence[Path],
    baseline: str | None,
    detect: float | None,
    metric: str | None,
    columns: Mapping[str, str],
    positive: str | None,
    out: Path | None,
) -> None:
    """Compare runs that were trained elsewhere; the parameters are those of the command."""
    from steadytune.analysis.comparison.compare import compare
    from steadytune.analysis.wording import listed
    from steadytune.cli.compare import show_differences
    from steadytune.cli.measure import write_page
    from steadytune.cli.progress import bar
    from steadytune.external.sides import read_sides

    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names a folder")
    with console.status("reading"):
        sides = read_sides(paths, metric, columns, positive)
    for name, value in sides.cohorts[0].read.items():
        console.print(f"{name}: {value}", markup=False, highlight=False)
    words = _of_single_runs(sides.cohorts)
    if words is not None and (baseline or detect is not None):
        raise UserError("--baseline and --detect are for several runs on either side: one run has no spread over seeds")
    with bar(console, "measuring") as progress:
        comparison = compare(sides.cohorts, baseline, progress)
    if words is None:
        show_differences(console, comparison, detect)
    else:
        for sentence in words:
            console.print(f"\n{sentence}", markup=False, highlight=False)
    notes = [note for cohort in sides.cohorts for note in cohort.notes]
    if words is None and (shared := set.intersection(*(set(cohort.seeds) for cohort in sides.cohorts))):
        notes.append(
            f"runs of one name are taken for runs of one seed, and compared in pairs: {listed(sorted(shared)[:6])}"
            f"{' and more' if len(shared) > 6 else ''}"
        )
    for note in dict.fromkeys(notes):
        console.print(f"note: {note}", markup=False, highlight=False)
    if out:
        page = write_page(out, comparison, sides.runs, words)
        console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)


def _of_single_runs(cohorts: Sequence[Cohort]) -> list[str] | None:
    """Say what there is to say where a side is a single run; None where none is."""
    from steadytune.analysis.comparison.placed import describe_place
    from steadytune.analysis.comparison.single import compare_runs

    single = [cohort for cohort in cohorts if len(cohort) == 1]
    if not single:
        return None
    if len(cohorts) > 2:
        raise UserError(f"{single[0].recipe} is one run: compare it with one folder at a time")
    if len(single) == 2:
        return compare_runs(*single).sentences
    (several,) = (cohort for cohort in cohorts if len(cohort) != 1)
    return describe_place(single[0], several)
