"""Doing the missing runs of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.study import Study
from steadytune.sweep.executors import Executor, check_executor, find_executor
from steadytune.sweep.listener import Listener
from steadytune.sweep.plan import jobs, plan, prepare_store


def run(
    study: Study | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    executor: str | Executor | None = None,
    listener: Listener | None = None,
    retry_failed: bool = False,
) -> RunStore:
    """Train every run of a study that its folder does not hold yet. The main job.

    A run that diverges or raises becomes a record, and the sweep goes on. Several processes may work on one folder.

    Args:
        study: What to run: a study, its plain data, or the path of a YAML file.
        out: Folder of the study; made if it is not there.
        workers: Jobs that are done at the same time; 0 means what the machine has room for.
        executor: Name of who does them, "local", "processes" or that of another package, or an executor; by default
            this process does a single job at a time, and several do more.
        listener: Hears of progress.
        retry_failed: Train runs again that failed, diverged or are damaged.

    Returns:
        The folder, with all runs of the study in it.

    Raises:
        UserError: The input is at fault, or the machine: the disk is full, say. Finished runs are kept.
    """
    check_executor(executor)
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
    work = jobs(missing)
    with listener or Listener() as hears:
        hears.began(store, specs, len(missing))
        if work:
            find_executor(executor, min(workers, len(work))).run(work, store, hears)
    return store


def _study(given: Study | Mapping[str, Any] | str | Path) -> Study:
    if isinstance(given, Study):
        return given
    if isinstance(given, Mapping):
        return Study.parse(given, "study")
    if isinstance(given, (str, Path)):
        return Study.from_yaml(given)
    raise UserError(
        f"a study must be an st.Study, its plain data or the path of a YAML file, not {type(given).__name__}"
    )
