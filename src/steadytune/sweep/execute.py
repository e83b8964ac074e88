"""Training the missing runs of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadytune.errors import UserError, door, type_of
from steadytune.records import RunStore
from steadytune.study import Study
from steadytune.sweep.executors import Executor, check_executor, do_jobs, fits
from steadytune.sweep.listener import Listener
from steadytune.sweep.plan import jobs, plan, prepare_store
from steadytune.sweep.shards import read_shard, shard_of


@door
def run(
    study: Study | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    executor: str | Executor | None = None,
    listener: Listener | None = None,
    retry_failed: bool = False,
    shard: tuple[int, int] | str | None = None,
) -> RunStore:
    """Train every run of a study that its folder does not contain yet.

    A run that diverges or raises is recorded, and the sweep continues. Several processes may work on one folder.

    Args:
        study: The study, its plain data, or the path of a YAML file.
        out: Folder of the study; created if missing.
        workers: Number of concurrent jobs; 0 means as many as the machine allows.
        executor: Name of an executor, "local", "processes", "ray" or that of another package, or an instance; by
            default "local" for one worker and "processes" for several.
        listener: Receives progress events.
        retry_failed: Retrain runs that crashed, diverged or are damaged.
        shard: (i, n) trains the i-th of n parts of the study, 1 to n, and nothing else. The parts depend on the study
            alone, so that the jobs of an array, each with another i, need no coordinator.

    Returns:
        The folder, with all runs of the study, or of the shard.

    Raises:
        UserError: The input is wrong, or the machine failed, for example because the disk is full. Finished runs are
            kept.
    """
    check_executor(executor)
    from steadytune.training.versions import versions

    part = None if shard is None else read_shard(shard)
    study = _study(study)
    planned = plan(study)
    specs = planned if part is None else shard_of(planned, *part)
    store = RunStore.create(out, study, versions())
    if retry_failed:
        store.forget_failed(spec.id for spec in specs)
    prepare_store(store, planned)
    missing = [spec for spec in specs if spec.id not in store]
    if any(spec.stabilizers or spec.training.adapter for spec in missing):
        from steadytune.training.method_check import check_methods

        check_methods(missing)
    if missing and workers == 0 and not fits(executor):
        from steadytune.sweep.capacity import room_for

        workers = room_for(study)
    work = jobs(missing)
    with listener or Listener() as hears:
        hears.began(store, specs, len(missing))
        do_jobs(work, store, hears, executor, workers)
    return store


def _study(given: Study | Mapping[str, Any] | str | Path) -> Study:
    if isinstance(given, Study):
        return given
    if isinstance(given, Mapping):
        return Study.parse(given, "study")
    if isinstance(given, (str, Path)):
        return Study.from_yaml(given)
    raise UserError(f"a study must be an st.Study, its plain data or the path of a YAML file, not {type_of(given)}")
