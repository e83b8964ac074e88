"""Who does the jobs of a sweep: one file each, found by name."""

from __future__ import annotations

from typing import Any

from steadytune.errors import UserError
from steadytune.registry import Registry
from steadytune.sweep.executors.base import Executor


def _check(name: str, entry: Any) -> str:
    if not (isinstance(entry, type) and issubclass(entry, Executor)):
        return "is no subclass of steadytune.sweep.executors.Executor"
    own = getattr(entry, "name", "")
    return "" if own == name else f"has the name {own!r}"


EXECUTORS: Registry[type[Executor]] = Registry(
    "executor",
    {"local": "sweep.executors.local:Local", "processes": "sweep.executors.processes:Processes"},
    _check,
)
"""Name of an executor -> its class."""


def find_executor(given: str | Executor | None, workers: int) -> Executor:
    """Return the executor of a name, one that was made already, or by default that for so many workers.

    Raises:
        UserError: There is none of this name, or it is none.
    """
    if isinstance(given, Executor):
        return given
    if given is None:
        given = "processes" if workers > 1 else "local"
    if not isinstance(given, str):
        raise UserError(f"executor is a name, such as 'processes', or an Executor, not {type(given).__name__}")
    return EXECUTORS[given](workers)


__all__ = ["EXECUTORS", "Executor", "find_executor"]
