"""Decide whether runs of the same name share a seed: recorded seeds are more reliable than file names."""

from __future__ import annotations

from dataclasses import replace

from steadytune.external.cohort import run_names
from steadytune.external.run import ExternalRun
from steadytune.external.sides import Sides
from steadytune.records import Cohort


def paired_by_seed(sides: Sides) -> tuple[Cohort, ...]:
    """Return the cohorts of files, in which runs share a name only if they may share a seed.

    Runs are named after their recorded seeds if these are distinct, and otherwise after their files. If files of the
    same name record different seeds, or several files of one side the same seed, names are not seeds: each is prefixed
    with its recipe, so that nothing is paired, and a note says so.
    """
    recorded, at = [], 0
    for cohort in sides.cohorts:
        size = len(cohort.seeds) + len(cohort.lost)
        recorded.append(_recorded(sides.runs[at : at + size]))
        at += size
    shared = set.intersection(*(set(cohort.seeds) for cohort in sides.cohorts)) if sides.cohorts else set()
    if not any(_contradicted(name, recorded) for name in shared):
        return sides.cohorts
    note = "Files of the same name do not record the same, distinct seed: they are not compared in pairs."
    return tuple(
        replace(cohort, seeds=tuple(f"{cohort.recipe}/{seed}" for seed in cohort.seeds), notes=(*cohort.notes, note))
        for cohort in sides.cohorts
    )


def _recorded(side: tuple[ExternalRun, ...]) -> dict[str, str]:
    """Return run name -> recorded seed; "" for a seed that another run of the same side also records."""
    seeds = [run.seed for run in side]
    return {
        name: seed if seeds.count(seed) == 1 else ""
        for name, seed in zip(run_names(side), seeds, strict=True)
        if seed is not None
    }


def _contradicted(name: str, recorded: list[dict[str, str]]) -> bool:
    known = [side[name] for side in recorded if name in side]
    return "" in known or len(set(known)) > 1
