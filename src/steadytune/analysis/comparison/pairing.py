"""Whether runs of one name are runs of one seed: files are named by somebody, and what they record is better known."""

from __future__ import annotations

from dataclasses import replace

from steadytune.external.cohort import run_names
from steadytune.external.run import ExternalRun
from steadytune.external.sides import Sides
from steadytune.records import Cohort


def paired_by_seed(sides: Sides) -> tuple[Cohort, ...]:
    """Return the cohorts of files, in which runs have one name only if they may be of one seed.

    Files are named after their seeds where they record such as tell them apart, and otherwise after themselves. Where
    files of one name record other seeds, or some of one side the same, the names are no seeds: each gets that of its
    recipe before it, so that nothing is paired, and a note says so.
    """
    recorded, at = [], 0
    for cohort in sides.cohorts:
        size = len(cohort.seeds) + len(cohort.lost)
        recorded.append(_recorded(sides.runs[at : at + size]))
        at += size
    shared = set.intersection(*(set(cohort.seeds) for cohort in sides.cohorts)) if sides.cohorts else set()
    if not any(_contradicted(name, recorded) for name in shared):
        return sides.cohorts
    note = "Files of one name do not record one seed of their own: they are not compared in pairs."
    return tuple(
        replace(cohort, seeds=tuple(f"{cohort.recipe}/{seed}" for seed in cohort.seeds), notes=(*cohort.notes, note))
        for cohort in sides.cohorts
    )


def _recorded(side: tuple[ExternalRun, ...]) -> dict[str, str]:
    """Return the recorded seeds by the names of the runs; "" of a seed that another run of the side records too."""
    seeds = [run.seed for run in side]
    return {
        name: seed if seeds.count(seed) == 1 else ""
        for name, seed in zip(run_names(side), seeds, strict=True)
        if seed is not None
    }


def _contradicted(name: str, recorded: list[dict[str, str]]) -> bool:
    known = [side[name] for side in recorded if name in side]
    return "" in known or len(set(known)) > 1
