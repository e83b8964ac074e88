"""Doing the missing runs of a folder: in this process, or in several that share the work by claiming runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.study import RunSpec, Study
from steadytune.sweep.listener import Listener
from steadytune.sweep.plan import jobs, plan, prepare_store

_POLL_SECONDS = 0.5


def run(
    study: Study | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    listener: Listener | None = None,
    retry_failed: bool = False,
) -> RunStore:
    """Train every run of a study that its folder does not hold yet. The main job.

    A run that diverges or raises becomes a record, and the sweep goes on. Several processes may work on one folder.

    Args:
        study: What to run: a study, its plain data, or the path of a YAML file.
        out: Folder of the study; made if it is not there.
        workers: Processes that train at the same time; 1 trains in this process, 0 means what the machine has room for.
        listener: Hears of progress.
        retry_failed: Train runs again that failed, diverged or are damaged.

    Returns:
        The folder, with all runs of the study in it.

    Raises:
        UserError: The input is at fault, or the machine: the disk is full, say. Finished runs are kept.
    """
    from steadytune.training.versions import versions

    study = _study(study)
    specs = plan(study)
    store = RunStore.create(out, study, versions())
    if retry_failed:
        store.forget_failed(spec.id for spec in specs)
    prepare_store(store, specs)
    missing = [spec for spec in specs if spec.id not in store]
    if any(spec.stabilizers for spec in missing):
        from steadytune.training.method_check import check_methods

        check_methods(missing)
    if missing and workers == 0:
        from steadytune.sweep.capacity import room_for

        workers = room_for(study)
    workers = min(workers, len(jobs(missing)))
    with listener or Listener() as hears:
        hears.began(specs, len(missing))
        if workers > 1:
            from steadytune.sweep.workers import work_in_processes

            work_in_processes(store, missing, workers, hears)
        elif missing:
            work(store, missing, hears)
    return store


def _study(given: Study | Mapping[str, Any] | str | Path) -> Study:
    if isinstance(given, Study):
        return given
    if isinstance(given, Mapping):
        return Study.parse(given, "study")
    if isinstance(given, (str, Path)):
        return Study.from_yaml(given)
    raise UserError(f"what is run is a study (st.Study), its plain data or a YAML file, not {type(given).__name__}")


def work(store: RunStore, specs: Sequence[RunSpec], listener: Listener) -> None:
    """Train runs until the folder holds them all, whoever trained them."""
    from steadytune.training.run import train

    waiting = jobs(specs)
    told: set[str] = set()
    while waiting:
        worked = False
        for job in waiting:
            with ExitStack() as stack:
                mine = [spec for spec in job if stack.enter_context(store.claim(spec.id))]
                if not mine:
                    continue
                worked = True
                for spec in mine:
                    listener.started(spec.id)

                def advance(share: float, mine: Sequence[RunSpec] = mine) -> None:
                    for spec in mine:
                        listener.advanced(spec.id, share)

                for record, arrays in train(mine, store.cache, advance):
                    listener.finished(store.write(record, arrays))
                    told.add(record.spec.id)
        for spec in specs:
            if spec.id not in told and spec.id in store:
                listener.elsewhere(store.record(spec.id))
                told.add(spec.id)
        waiting = [job for job in waiting if any(spec.id not in told for spec in job)]
        if waiting and not worked:
            # Another process holds these; if it dies, its claims fall to this one.
            time.sleep(_POLL_SECONDS)
