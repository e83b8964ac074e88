"""Executors of a sweep's jobs: one file each, looked up by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steadytune.errors import UserError, type_of
from steadytune.registry import Registry
from steadytune.sweep.executors.base import Executor
from steadytune.sweep.job import AnyJob
from steadytune.sweep.listener import Listener


def _check(name: str, entry: Any) -> str:
    if not (isinstance(entry, type) and issubclass(entry, Executor)):
        return "is not a subclass of steadytune.sweep.executors.Executor"
    own = getattr(entry, "name", "")
    return "" if own == name else f"has the name {own!r}"


EXECUTORS: Registry[type[Executor]] = Registry(
    "executor",
    {
        "local": "sweep.executors.local:Local",
        "processes": "sweep.executors.processes:Processes",
        "ray": "sweep.executors.ray:Ray",
    },
    _check,
)
"""Name of an executor -> its class."""


def check_executor(given: Any) -> None:
    """Reject anything that is not an executor or the name of one, before anything is read or trained.

    Raises:
        UserError: It is neither.
    """
    if isinstance(given, str):
        EXECUTORS[given]
    elif not (given is None or isinstance(given, Executor)):
        raise UserError(f"executor must be a name, such as 'processes', or an Executor, not {type_of(given)}")


def find_executor(given: str | Executor | None, workers: int) -> Executor:
    """Return the executor of a name, a given instance, or the default for the number of workers.

    Raises:
        UserError: The name is unknown, or the value is not an executor.
    """
    check_executor(given)
    if isinstance(given, Executor):
        return given
    return EXECUTORS[given or ("processes" if workers > 1 else "local")](workers)


def fits(given: str | Executor | None) -> bool:
    """Return whether an executor finds out by itself how many jobs fit, see `Executor.fits`."""
    chosen = EXECUTORS[given] if isinstance(given, str) else given
    return chosen is not None and chosen.fits


def do_jobs(
    jobs: Sequence[AnyJob], store: Any, listener: Listener, executor: str | Executor | None = None, workers: int = 1
) -> None:
    """Have every id of the jobs recorded in the store.

    Args:
        jobs: What to do, in the order in which to begin it; nothing happens without any.
        store: Records the results.
        listener: Hears of progress.
        executor: See `find_executor`.
        workers: Jobs done at the same time, at most; 0 only where it `fits`.

    Raises:
        UserError: As `Executor.run` does, or the executor returned before everything was recorded.
    """
    if not jobs:
        return
    chosen = find_executor(executor, min(workers, len(jobs)))
    chosen.run(jobs, store, listener)
    ids = [one for job in jobs for one in job.ids]
    if missing := [one for one in ids if one not in store]:
        name = getattr(chosen, "name", type(chosen).__name__)
        raise UserError(
            f"executor '{name}' returned with {len(missing)} of {len(ids)} results missing; finished ones are kept"
        )


__all__ = ["EXECUTORS", "Executor", "check_executor", "do_jobs", "find_executor", "fits"]
