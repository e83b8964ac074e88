"""Tasks: GLUE and SuperGLUE, folders of files, named tasks, and the metrics that score them."""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS
from steadytune.registry import Registry
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Segment, Task, TaskSource
from steadytune.tasks.metrics import METRICS, evaluate, majority_score
from steadytune.tasks.split_files import file_stamp

__all__ = [
    "GENERATED",
    "METRICS",
    "TASKS",
    "Examples",
    "Segment",
    "Task",
    "TaskSource",
    "evaluate",
    "load_task",
    "majority_score",
    "task_names",
]

GENERATED = ("acceptability", "correction", "arithmetic")
"""Tasks of this package that need no file."""
_SIZES = ("train_examples", "validation_examples")


def _check(name: str, source: Any) -> str:
    if (
        getattr(source, "name", None) == name
        and callable(getattr(source, "load", None))
        and not isinstance(source, type)
    ):
        return ""
    return f"is not a task source: it needs name = {name!r} and load(spec)"


TASKS: Registry[TaskSource] = Registry(
    "task",
    {
        "acceptability": "tasks.builtin:ACCEPTABILITY",
        "correction": "tasks.correction:CORRECTION",
        "arithmetic": "tasks.arithmetic:ARITHMETIC",
    },
    _check,
)
"""Name of a task -> its source. Hub benchmarks have their own table."""


def task_names() -> list[str]:
    """Return the names of all tasks that are not folders."""
    return [*TASKS, *_benchmarks()]


def _benchmarks() -> list[str]:
    from steadytune.tasks.hub import BENCHMARKS, DIAGNOSTICS

    return [*BENCHMARKS, *DIAGNOSTICS]


def load_task(spec: TaskSpec) -> Task:
    """Load a task: by its name in `TASKS`, from the hub, or from a folder.

    A name of a hub benchmark or of `TASKS` means that task; write a folder of that name as `./glue/rte`. The latest
    tasks are kept in memory and reread when their files change.

    Raises:
        UserError: There is no such task or folder, or its data are unavailable or unusable.
    """
    _check_options(spec)
    return _load(spec, file_stamp(Path(spec.path or spec.name).expanduser().absolute()))


@lru_cache(maxsize=8)
def _load(spec: TaskSpec, stamp: tuple[tuple[str, int, int], ...]) -> Task:
    from steadytune.tasks.files import load_folder
    from steadytune.tasks.hub import load_benchmark

    if spec.name in _benchmarks():
        return load_benchmark(spec)
    if spec.name not in TASKS:
        return load_folder(spec)
    task: Any = TASKS[spec.name].load(spec)
    if not isinstance(task, Task):
        raise UserError(f"task '{spec.name}': its source returned a {type(task).__name__}, not a Task")
    return task


def _check_options(spec: TaskSpec) -> None:
    """Reject unknown names and options without effect, before anything is read or downloaded."""
    if spec.name not in task_names():
        folder = Path(spec.name).expanduser()
        meant_as_path = spec.name.startswith((".", "~")) or "/" in spec.name or os.sep in spec.name or folder.exists()
        benchmark = spec.name.startswith(("glue/", "super_glue/")) and not folder.exists()
        if not spec.name.strip() or benchmark or not meant_as_path:
            error = unknown_name("task", spec.name, task_names())
            raise UserError(f"{error}; or give a folder with train and validation files")
        if not folder.exists():
            closest = difflib.get_close_matches(spec.name, task_names(), n=1, cutoff=0.8)
            hint = f"; did you mean '{closest[0]}'?" if closest else ""
            raise UserError(f"task '{spec.name}': no such folder{hint}")
        if spec.path is not None:
            raise UserError(
                "task.path is for glue/... and super_glue/... only; for any other task give the folder as the name"
            )
    if spec.metric is not None and spec.metric not in METRICS:
        raise METRICS.unknown(spec.metric)
    if spec.kind is not None:
        if not KINDS[spec.kind].trained:
            raise UserError(f"task.kind is '{spec.kind}', which can be measured but not trained")
        if spec.name in task_names():
            raise UserError(f"task.kind is for folders of files: the kind of {spec.name} is known")
    if spec.labels is not None and spec.name in task_names():
        raise UserError(f"task.labels is for folders of files: the labels of {spec.name} are known")
    given = [name for name in _SIZES if getattr(spec, name) != TaskSpec.model_fields[name].default]
    if given and spec.name not in TASKS:
        raise UserError(
            f"task.{given[0]} is for the generated tasks {', '.join(GENERATED)} only; to train '{spec.name}' on fewer "
            "examples, set training.train_size"
        )
