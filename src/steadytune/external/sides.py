"""Comparison of runs trained elsewhere: files and folders become cohorts on the same examples.

All files are first read as one set, so that examples, classes and metric agree on all sides or are rejected, and then
split.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.external.cohort import cohort_of, run_names, runs_of
from steadytune.external.columns import Choices
from steadytune.external.read import folder_files, read_source, run_name
from steadytune.external.run import ExternalRun
from steadytune.external.said import seed_notes
from steadytune.records import Cohort, LostRun
from steadytune.records.arrays import OF_TOKENS

_OF_RUN = ("logits", "probabilities", "predictions")
_LISTS = ("generations", "representations", *OF_TOKENS)


@dataclass(frozen=True, eq=False)
class Sides:
    """The sides of a comparison.

    Attributes:
        cohorts: One per path, named after it.
        runs: All runs as they were read.
    """

    cohorts: tuple[Cohort, ...]
    runs: tuple[ExternalRun, ...]


def read_sides(
    paths: Sequence[str | Path],
    metric: str | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | int | None = None,
) -> Sides:
    """Read the sides of a comparison: files of one run each, or folders of runs.

    Args:
        paths: Two files; or two or more of which at least one is a folder of runs.
        metric: As in `read_runs`.
        columns: As in `read_runs`.
        positive: As in `read_runs`.

    Raises:
        UserError: As `read_runs`; or a path is a study folder or given twice, or the runs of a recipe cannot
            be determined.
    """
    places = [Path(path) for path in paths]
    if len(places) < 2:
        raise UserError(
            f"{places[0] if places else 'nothing'} has nothing to be compared with: give two files or two folders of "
            "runs"
        )
    if all(map(_is_study, places)):
        stores = ", ".join(f"*st.RunStore({str(place)!r}).cohorts()" for place in places)
        raise UserError(
            f"{len(places)} study folders: compare takes one, and compares its recipes. Train the recipes of all into "
            f"one folder, with steadytune run --out {places[0]}\n"
            f"Or in Python, if the recipes have different names: st.compare([{stores}])"
        )
    files = [_files(place) for place in places]
    if len(places) > 2 and all(place.is_file() for place in places):
        raise UserError(
            f"{len(places)} single runs: put the runs of each recipe into a separate folder and compare the "
            "folders, or give two files"
        )
    resolved = [file.resolve() for side in files for file in side]
    for file in (file for side in files for file in side):
        if resolved.count(file.resolve()) > 1:
            raise UserError(f"{file} is given twice: compare two different runs")
    choices = Choices.parse(columns or {})
    runs = runs_of([read_source(file, choices.encoding) for side in files for file in side], choices, metric)
    sides = [[run for run in runs if Path(run.file or run.origin) in side] for side in files]
    return Sides(part(sides, _names(places), metric, choices, positive), tuple(run for side in sides for run in side))


def part(
    sides: Sequence[Sequence[ExternalRun]],
    names: Sequence[str],
    metric: str | None = None,
    choices: Choices | None = None,
    positive: str | int | None = None,
) -> tuple[Cohort, ...]:
    """Make a cohort of each side, all on the same examples and with the same metric."""
    every = [run for side in sides for run in side]
    joint = cohort_of(every, metric, choices, positive)
    # The same seed on both sides pairs the runs and is not a mistake.
    repeated = seed_notes(every, run_names(every))
    cohorts, at = [], 0
    for name, side in zip(names, sides, strict=True):
        named = list(zip(run_names(side), side, strict=True))
        seeds = tuple(called for called, run in named if run.status is None)
        lost = tuple(LostRun(called, run.status, run.reason) for called, run in named if run.status is not None)
        notes = [note for note in joint.notes if note not in repeated]
        own = {"seeds": seeds, "lost": lost, "recipe": name, "notes": (*seed_notes(side, run_names(side)), *notes)}
        cohorts.append(_rows(joint, list(range(at, at + len(seeds))), **own))
        at += len(seeds)
    return tuple(cohorts)


def _rows(joint: Cohort, rows: list[int], **own: Any) -> Cohort:
    def some(values: Any) -> Any:
        return None if values is None else [values[row] for row in rows]

    outputs = {name: getattr(joint, name) for name in _OF_RUN}
    # Probabilities and predictions are derived from the preceding arrays.
    given = next((name for name in _OF_RUN if outputs[name] is not None), None)
    parts: dict[str, Any] = {name: some(outputs[name]) if name == given else None for name in _OF_RUN}
    parts |= {name: some(getattr(joint, name)) for name in _LISTS}
    failed = None if joint.failed is None else np.asarray(joint.failed)[rows]
    return replace(joint, scores=joint.scores[rows], failed=failed, **(parts | own))


def _is_study(place: Path) -> bool:
    return (place / "study.yaml").is_file()


def _files(place: Path) -> list[Path]:
    if _is_study(place):
        raise UserError(
            f"{place} is a study folder, which cannot be compared with files: compare its recipes with "
            f"{shlex.join(['steadytune', 'compare', str(place)])}"
        )
    return folder_files(place) if place.is_dir() else [place]


def _names(places: Sequence[Path]) -> list[str]:
    """Name each side after its file or folder, by as many parts of the path as needed to be unique."""
    parts = [(*place.resolve().parts[1:-1], run_name(place.resolve())) for place in places]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return list(map(str, places))
