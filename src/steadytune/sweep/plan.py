"""From a study to the runs that it means, in the order in which to do them. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.study import RunSpec, Study
from steadytune.tasks import load_task
from steadytune.tasks.splits import split
from steadytune.training.weights import half_precision, weights_fingerprint

Job = tuple[RunSpec, ...]


def plan(study: Study) -> list[RunSpec]:
    """Expand a study, having looked at every task and model: what cannot work is said before anything is trained.

    Raises:
        UserError: A task or model cannot be had, or a recipe means nothing for a task.
    """
    specs = []
    for model, task_spec, name, seeds in study.grid():
        half_precision(model)
        specs.append(
            RunSpec(
                model=model,
                weights=weights_fingerprint(model),
                task=task_spec,
                data=load_task(task_spec).fingerprint,
                recipe=name,
                training=study.recipe_training(name).resolved(model),
                stabilizers=study.recipes[name].stabilizers,
                seeds=seeds,
            )
        )
    for spec in {(spec.cohort, spec.seeds.data): spec for spec in specs}.values():
        _check(spec)
    owners: dict[str, RunSpec] = {}
    for spec in specs:
        other = owners.setdefault(spec.id, spec)
        if other is not spec:
            what = f"models '{other.model}' and '{spec.model}'"
            if other.model == spec.model:
                what = f"tasks '{other.task.name}' and '{spec.task.name}'"
            raise UserError(f"{what} are the same, file for file: leave one out")
    return specs


def _check(spec: RunSpec) -> None:
    task = load_task(spec.task)
    split(task, spec.training, spec.seeds.data)
    for stabilizer in spec.stabilizers:
        try:
            stabilizer.check(task.kind)
        except ValueError as error:
            raise UserError(f"recipe '{spec.recipe}' on task '{task.name}': {error}") from error


def _change(held: RunSpec, asked: RunSpec) -> str:
    """Say what differs, apart from the seeds, between two runs of one cohort; empty if nothing does."""
    if held.data != asked.data:
        return f"the data of task '{asked.task.name}'"
    if held.weights != asked.weights:
        return f"the files of model '{asked.model}'"
    if held.stabilizers != asked.stabilizers:
        return f"the stabilizers of recipe '{asked.recipe}'"
    mine, theirs = held.training.model_dump(), asked.training.model_dump()
    return next((f"training.{key} of recipe '{asked.recipe}'" for key in mine if mine[key] != theirs[key]), "")


def jobs(specs: Iterable[RunSpec]) -> list[Job]:
    """Group runs that are trained together: the heads of a cohort on one training set, or one full fine-tuning."""
    groups: dict[object, list[RunSpec]] = {}
    for spec in specs:
        together = (spec.cohort, spec.seeds.data) if spec.training.setting == "head" else spec.id
        groups.setdefault(together, []).append(spec)
    return [tuple(group) for group in groups.values()]


def prepare_store(store: RunStore, specs: Iterable[RunSpec]) -> None:
    """Check what the folder holds against what shall be added, and keep the texts of the measured examples.

    Raises:
        UserError: A held run is corrupted, or was trained on other data or from other weights.
    """
    first = {spec.cohort: spec for spec in specs}
    for record in store.records():
        spec = first.get(record.spec.cohort)
        if spec is not None and (changed := _change(record.spec, spec)):
            raise UserError(
                f"{changed} changed since {store.path} was begun: its runs cannot be compared with new ones.\n"
                "Choose another --out, or undo the change."
            )
    for spec in first.values():
        task = load_task(spec.task)
        measured = split(task, spec.training).measure
        texts = [" | ".join(text for segment in one for text in segment if text) for one in measured.candidates]
        store.write_examples(spec, task.kind, texts, list(task.label_names))
