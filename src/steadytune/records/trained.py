"""How a study's runs were trained according to the runs themselves, which take precedence over study.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steadytune.records.record import RunRecord
from steadytune.study import Recipe, RunSpec, Study, Training


def difference(held: RunSpec, asked: RunSpec) -> str:
    """Return what differs, apart from the seeds, between two runs of one cohort; "" if nothing does."""
    if held.data != asked.data:
        return f"the data of task '{asked.task.name}'"
    if held.weights != asked.weights:
        return f"the files of model '{asked.model}'"
    if held.stabilizers != asked.stabilizers:
        return f"the stabilizers of recipe '{asked.recipe}'"
    mine, theirs = held.training.model_dump(), asked.training.model_dump()
    return next((f"training.{key} of recipe '{asked.recipe}'" for key in mine if mine[key] != theirs[key]), "")


def as_trained(study: Study, records: Sequence[RunRecord]) -> tuple[Study, tuple[str, ...]]:
    """Return the study as its runs were trained, and where study.yaml contradicts them.

    Parts without runs are taken from study.yaml.
    """
    tasks, recipes = {task.name: task for task in study.task}, dict(study.recipes)
    said: dict[str, None] = {}
    for spec in _one_of_each(records):
        if tasks.get(spec.task.name, spec.task) != spec.task:
            tasks[spec.task.name] = spec.task
            said[f"task '{spec.task.name}'"] = None
        recipe = study.recipes.get(spec.recipe)
        if recipe is None:
            recipes[spec.recipe] = Recipe.model_construct(training=_changes(study, spec), stabilizers=spec.stabilizers)
            said[f"recipe '{spec.recipe}', which it does not define"] = None
            continue
        if recipe.stabilizers != spec.stabilizers:
            said[f"the stabilizers of recipe '{spec.recipe}'"] = None
        planned = study.recipe_training(spec.recipe).resolved(spec.model).model_dump()
        used = spec.training.model_dump()
        wrong = {key: value for key, value in used.items() if planned[key] != value}
        said |= dict.fromkeys(f"training.{key} of recipe '{spec.recipe}'" for key in wrong)
        if wrong or recipe.stabilizers != spec.stabilizers:
            # Not validated: a recipe cannot set everything that the study sets for it.
            training = {**recipe.training, **wrong}
            recipes[spec.recipe] = Recipe.model_construct(training=training, stabilizers=spec.stabilizers)
    trained = study.model_copy(update={"task": tuple(tasks.values()), "recipes": recipes})
    return trained, tuple(said)


def retrained_apart(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return a note if finished runs of one cohort, on the same data, began with different re-trained weights.

    SURT trains once for all of them. An earlier version re-trained BART otherwise, under the same ids of runs.
    """
    # How far the weights moved tells two of them apart.
    moved: dict[object, dict[float | None, str]] = {}
    for record in records:
        seen = moved.setdefault(record.spec.seeds.data, {})
        seen.setdefault(record.measurements.get("surt_distance"), record.spec.seeds.label)
    apart = next((list(seen.values()) for seen in moved.values() if len(seen) > 1), None)
    if apart is None:
        return ()
    return (
        f"surt gave runs on the same data different weights to begin with, such as seeds {' and '.join(apart[:2])}: "
        "they differ in more than their seeds, as runs of different versions do. Train all of them in a new folder.",
    )


def _one_of_each(records: Iterable[RunRecord]) -> Iterable[RunSpec]:
    return {record.spec.cohort: record.spec for record in reversed(list(records))}.values()


def _changes(study: Study, spec: RunSpec) -> dict[str, object]:
    shared: Training = study.training.resolved(spec.model)
    return {key: value for key, value in spec.training.model_dump().items() if getattr(shared, key) != value}
