"""Executors of a sweep's jobs: one file each, looked up by name."""

from __future__ import annotations

from typing import Any

from steadytune.errors import UserError
from steadytune.registry import Registry
from steadytune.sweep.executors.base import Executor


def _check(name: str, entry: Any) -> str:
    if not (isinstance(entry, type) and issubclass(entry, Executor)):
        return "is not a subclass of steadytune.sweep.executors.Executor"
    own = getattr(entry, "name", "")
    return "" if own == name else f"has the name {own!r}"


EXECUTORS: Registry[type[Executor]] = Registry(
    "executor",
    {"local": "sweep.executors.local:Local", "processes": "sweep.executors.processes:Processes"},
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
        raise UserError(f"executor must be a name, such as 'processes', or an Executor, not {type(given).__name__}")


def find_executor(given: str | Executor | None, workers: int) -> Executor:
    """Return the executor of a name, a given instance, or the default for the number of workers.

    Raises:
        UserError: The name is unknown, or the value is not an executor.
    """
    check_executor(given)
    if isinstance(given, Executor):
        return given
    return EXECUTORS[given or ("processes" if workers > 1 else "local")](workers)


__all__ = ["EXECUTORS", "Executor", "check_executor", "find_executor"]
