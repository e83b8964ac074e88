"""Describe what was run, from the study and the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from steadytune.records import RunRecord
from steadytune.reporting.blocks import Block, Entries, Facts, Folded, Text
from steadytune.reporting.naming import count, shortened
from steadytune.seeds import Seeds, spelled
from steadytune.study import Recipe, Study, TaskSpec, Training

_UNFOLDED = 8
_TASK_OPTIONS = ("path", "columns", "group", "no_label", "metric")


def facts(
    study: Study,
    records: Sequence[RunRecord],
    *,
    left_out: Sequence[str] = (),
    otherwise: Sequence[str] = (),
    data: Iterable[str] = (),
) -> list[Block]:
    """Describe what was run, from the study and the run records, each model, task and recipe once.

    Args:
        study: The study as its runs were trained.
        records: The runs.
        left_out: What else the folder holds, a sentence each.
        otherwise: Where study.yaml differs from the runs.
        data: Descriptions of the tasks' data, a sentence each.
    """
    asked = sum(1 for _ in study.grid())
    done = sum(record.status == "done" for record in records)
    runs = f"{done} of {count(asked, 'run')} finished"
    if (waiting := asked - len(records) - len(left_out)) > 0:
        runs += f", {waiting} not started yet"
    if lost := len(records) - done:
        runs += f", {lost} diverged or crashed (retry with steadytune run --retry-failed)"
    if left_out:
        runs += f", {len(left_out)} left out"
    aside = [f"left out: {reason.partition(chr(10))[0]}" for reason in left_out]
    if otherwise:
        aside.append(f"study.yaml differs from the runs, which this page describes: {', '.join(otherwise)}")
    models, tasks = study.model, [_task(task) for task in study.task]
    recipes = {name: _recipe(name, recipe, study) for name, recipe in study.recipes.items()}
    # More recipes would push the verdict off the first screen.
    folded = len(recipes) > _UNFOLDED
    details = [
        Facts({name.replace("_", " "): value for name, value in _training(study, records).items()}, small=True),
        Facts(_merged(record.versions for record in records), small=True),
    ]
    summary = f"{'Recipes, hyper-parameters' if folded else 'Hyper-parameters'} and versions"
    return [
        Facts(
            {
                "Model" if len(models) == 1 else "Models": ", ".join(models),
                "Task" if len(tasks) == 1 else "Tasks": ", ".join(tasks),
                "Seeds": _seeds(study.seeds),
                "Runs": runs,
            }
        ),
        *([] if folded else [Entries(recipes)]),
        Folded(summary, [Entries(recipes), *details] if folded else details),
        *(Text(line, "note") for line in (*data, *aside, *_notes(records))),
    ]


def _task(task: TaskSpec) -> str:
    said = {name: getattr(task, name) for name in _TASK_OPTIONS if getattr(task, name) is not None}
    return f"{task.name} ({_written(said)})" if said else task.name


def _seeds(seeds: Sequence[Seeds]) -> str:
    written = spelled(seeds)
    if isinstance(written, dict):
        return f"{' x '.join(written['vary'])}, {count(written['values'], 'value')} each"
    labels = [entry.label for entry in seeds]
    numbers = [int(label) for label in labels if label.isdecimal()]
    if len(numbers) == len(labels) > 3 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(labels)


def _recipe(name: str, recipe: Recipe, study: Study) -> str:
    """Name the stabilizers of a recipe and the hyper-parameters that it changes."""
    entries = [entry for stabilizer in recipe.stabilizers for entry in stabilizer.entry().items()]
    stabilizers = "; ".join(
        f"{stabilizer} ({_written(parameters)})" if parameters else stabilizer for stabilizer, parameters in entries
    )
    # Field by field: an adapter says in words what it is.
    changes = {key: value for key, value in study.recipe_training(name) if value != getattr(study.training, key)}
    return "; ".join(filter(None, (stabilizers or "no stabilizer", _written(changes))))


def _training(study: Study, records: Sequence[RunRecord]) -> dict[str, str]:
    """Return the hyper-parameters of the runs, without those that a recipe changes, which are shown with the recipe."""
    changed = {key for recipe in study.recipes.values() for key in recipe.training}
    used = dict.fromkeys(record.spec.training for record in records)
    if all(training.adapter is None for training in used):
        changed.add("adapter")
    names = [name for name in Training.model_fields if name not in changed]
    return _merged({name: _named(name, getattr(training, name)) for name in names} for training in used)


def _notes(records: Iterable[RunRecord]) -> tuple[str, ...]:
    notes: dict[str, dict[str, None]] = {}
    for record in records:
        for note in record.notes:
            notes.setdefault(note, {})[record.spec.model] = None
    return tuple(f"{', '.join(models)}: {note}" for note, models in notes.items())


def _merged(entries: Iterable[dict[str, str]]) -> dict[str, str]:
    merged: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, value in entry.items():
            merged.setdefault(name, {})[value] = None
    return {name: " or ".join(values) for name, values in merged.items()}


def _written(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_named(name, value)}" for name, value in values.items())


def _named(name: str, value: Any) -> str:
    return "none" if name == "adapter" and value is None else _value(value)


def _value(value: Any) -> str:
    if value is None:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), 80)
