"""`steadytune compare` for files: two single runs, one run and a folder, or folders of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steadytune.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.records import Cohort

_MANY = 6


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
    """Compare runs trained elsewhere; the parameters are those of the command."""
    from steadytune.analysis.comparison.compare import compare
    from steadytune.analysis.comparison.pairing import paired_by_seed
    from steadytune.analysis.sentences import listed, natural
    from steadytune.cli.compare import show_differences
    from steadytune.cli.measure import check_out, show_read, write_page
    from steadytune.external.sides import read_sides
    from steadytune.terminal.progress import bar

    check_out(out)
    with console.status("reading"):
        sides = read_sides(paths, metric, columns, positive)
    words = _of_single_runs(sides.cohorts)
    if words is not None and (baseline or detect is not None):
        raise UserError("--baseline and --detect need several runs on each side: a single run has no spread over seeds")
    cohorts = sides.cohorts if words is not None else paired_by_seed(sides)
    with bar(console, "measuring") as progress:
        comparison = compare(cohorts, baseline, progress)
    show_read(console, comparison)
    if words is None:
        if shared := set.intersection(*(set(cohort.seeds) for cohort in cohorts)):
            names = sorted(shared, key=natural)
            console.print(
                "note: runs with the same name are taken to share a seed and are compared in pairs: "
                f"{listed(names[:_MANY])}{' and more' if len(names) > _MANY else ''}",
                markup=False,
                highlight=False,
            )
        show_differences(console, comparison, detect)
    else:
        for sentence in words:
            console.print(f"\n{sentence}", markup=False, highlight=False)
    if out:
        page = write_page(out, comparison, sides.runs, words)
        console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)


def _of_single_runs(cohorts: Sequence[Cohort]) -> list[str] | None:
    """Return the sentences if one side is a single run; None otherwise."""
    from steadytune.analysis.comparison.placed import describe_place
    from steadytune.analysis.comparison.single import compare_runs

    single = [cohort for cohort in cohorts if len(cohort) == 1]
    if not single:
        return None
    if len(cohorts) > 2:
        raise UserError(f"{single[0].recipe} is a single run: compare it with one folder at a time")
    if len(single) == 2:
        return compare_runs(*single).sentences
    (several,) = (cohort for cohort in cohorts if len(cohort) != 1)
    return describe_place(single[0], several)
