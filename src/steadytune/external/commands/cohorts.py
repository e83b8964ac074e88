"""From what the runs of a command left to cohorts: one per combination of values, and per task if there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steadytune.errors import UserError
from steadytune.external.cohort import runs_of
from steadytune.external.columns import Choices
from steadytune.external.commands.record import CommandRecord
from steadytune.external.commands.results import HOW
from steadytune.external.logs import tasks_of
from steadytune.external.read import read_source
from steadytune.external.run import ExternalRun
from steadytune.external.sides import part
from steadytune.grouped import grouped
from steadytune.records.cohort import Cohort, LostRun
from steadytune.shown import plural

if TYPE_CHECKING:
    from steadytune.external.commands.store import CommandStore

ALONE = "these runs"
"""Recipe of the runs of a command that has no values but the seed."""


def cohorts_of(store: CommandStore) -> tuple[list[Cohort], list[ExternalRun]]:
    """Read what the runs of a command left.

    Returns:
        The cohorts, by task and then in the order of the values, and the runs as they were read.

    Raises:
        UserError: Fewer than two runs left something, or it cannot be measured together.
    """
    sweep, records = store.sweep, store.records()
    choices = Choices.parse(sweep.columns)
    owners, lost = _split(store, records)
    if len({record.id for record in owners.values()}) < 2:
        raise UserError(_too_few(store, records, lost))
    sides = grouped(records, lambda record: record.run.recipe)
    changed = _versions(records)
    cohorts, every = [], []
    for _, held in tasks_of([read_source(Path(file), choices.encoding) for file in owners], choices):
        runs, notes = _named(runs_of(held, choices, sweep.metric), owners)
        by = grouped(runs, lambda run: owners[run.file].run.recipe)
        present = [name for name in sides if name in by]
        names = [name or ALONE for name in present]
        measured = part([by[name] for name in present], names, sweep.metric, choices, sweep.positive)
        found = dict(zip(present, measured, strict=True))
        for name, members in sides.items():
            missing = tuple(lost[record.id] for record in members if record.id in lost)
            cohort = found.get(name) or Cohort(scores=np.empty(0), task=measured[0].task, recipe=name)
            said = (*notes, *changed, *cohort.notes)
            took = {str(record.seed): record.seconds for record in members}
            seconds = np.array([took[seed] for seed in cohort.seeds])
            cohorts.append(replace(cohort, lost=(*cohort.lost, *missing), notes=said, seconds=seconds))
        every += [run for name in present for run in by[name]]
    return cohorts, every


def _split(
    store: CommandStore, records: Sequence[CommandRecord]
) -> tuple[dict[str, CommandRecord], dict[str, LostRun]]:
    """Return the files that are measured with their runs, and by id the runs that have none."""
    owners: dict[str, CommandRecord] = {}
    lost: dict[str, LostRun] = {}
    for record in records:
        seed = str(record.seed)
        if record.status != "done":
            lost[record.id] = LostRun(seed, record.status, record.reason or "")
            continue
        try:
            owners |= {str(file): record for file in store.results(record)}
        except UserError as error:
            lost[record.id] = LostRun(seed, "crashed", f"exit code 0, but {error}")
    return owners, lost


def _too_few(store: CommandStore, records: Sequence[CommandRecord], lost: Mapping[str, LostRun]) -> str:
    if not records:
        return f"{store.path} has no runs yet"
    done = [record for record in records if record.status == "done"]
    left = sum(record.id not in lost for record in done)
    why = (
        f"{plural(len(done), 'run')} of {store.path} finished and {left} left results: measuring instability needs at "
        "least two"
    )
    empty = next((record for record in done if record.id in lost), None)
    return why if empty is None else f"{why} ({empty.run.name}: {lost[empty.id].reason}).\nLet the command {HOW}"


def _named(runs: Sequence[ExternalRun], owners: Mapping[str, CommandRecord]) -> tuple[list[ExternalRun], list[str]]:
    """Give runs the seeds of the sweep; also return where the files record others.

    Raises:
        UserError: What one run left holds several runs.
    """
    found, others = [], []
    for path, members in grouped(runs, lambda run: run.file).items():
        record = owners[path]
        if len(members) > 1:
            seeds = ", ".join(str(run.seed) for run in members[:4])
            raise UserError(
                f"{path} holds {len(members)} runs (seeds {seeds}{', ...' if len(members) > 4 else ''}), but it is "
                "what one run left: let the command write one run, or name the column with --columns ignore=NAME"
            )
        (run,) = members
        if run.seed is not None and run.seed != str(record.seed):
            others.append(f"{record.run.name}: {run.seed}")
        found.append(replace(run, seed=str(record.seed)))
    if not others:
        return found, []
    return found, [
        f"{len(others)} of {plural(len(runs), 'file')} record another seed than the command was given ({others[0]}): "
        "does it use {seed}?"
    ]


def _versions(records: Sequence[CommandRecord]) -> list[str]:
    """Say which files of the command changed between runs that are measured together."""
    done = [record for record in records if record.status == "done"]
    notes = []
    for name in sorted({name for record in done for name in record.files}):
        checksums = [record.files.get(name, "") for record in done]
        by = grouped(zip(checksums, done, strict=True), lambda pair: pair[0])
        if len(by) > 1:
            parts = " and ".join(f"{plural(len(of), 'run')} (such as {of[0][1].run.name})" for of in by.values())
            notes.append(f"{name} changed between the runs: {parts} used different versions, and may differ by that.")
    return notes


__all__ = ["ALONE", "cohorts_of"]
