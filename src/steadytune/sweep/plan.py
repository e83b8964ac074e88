"""From a study to its runs, in the order of execution. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.records import RunStore
from steadytune.records.trained import difference
from steadytune.study import RunSpec, Study
from steadytune.sweep.job import TrainingJob
from steadytune.tasks import load_task
from steadytune.tasks.data_facts import data_facts
from steadytune.tasks.splits import split
from steadytune.training.adapters import check_adapter
from steadytune.training.weights import half_precision, weights_fingerprint


def plan(study: Study) -> list[RunSpec]:
    """Expand a study and check every task and model, so that errors are raised before anything is trained.

    Raises:
        UserError: A task or model is unavailable, or a recipe does not apply to a task.
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
    for spec in {(spec.cohort, spec.seeds.data, spec.seeds.decoding): spec for spec in specs}.values():
        _check(spec)
    owners: dict[str, RunSpec] = {}
    for spec in specs:
        other = owners.setdefault(spec.id, spec)
        if other is not spec:
            what = f"models '{other.model}' and '{spec.model}'"
            if other.model == spec.model:
                what = f"tasks '{other.task.name}' and '{spec.task.name}'"
            raise UserError(f"{what} consist of identical files: leave one out")
    return specs


def _check(spec: RunSpec) -> None:
    check_adapter(spec)
    task = load_task(spec.task)
    of = KINDS[task.kind]
    if spec.training.mode == "head" and (of.several or not of.pooled):
        how = "has several labels for each text" if of.pooled else "is answered at every token"
        raise UserError(
            f"recipe '{spec.recipe}' trains a head that gives each text one answer, but task '{task.name}', of the "
            f"kind {task.kind}, {how}: use training.mode full"
        )
    decoding = spec.training.decoding
    if decoding != Decoding() and not KINDS[task.kind].has_texts:
        raise UserError(f"training.decoding is for generated texts, but task '{task.name}' is {KINDS[task.kind].noun}")
    if spec.seeds.decoding and not decoding.sample:
        raise UserError(
            f"a decoding seed has no effect on recipe '{spec.recipe}', whose words are not drawn: set "
            "training.decoding.sample=true, or leave the seed out"
        )
    split(task, spec.training, spec.seeds.data)
    for stabilizer in spec.stabilizers:
        try:
            stabilizer.check_kind(task.kind)
        except ValueError as error:
            raise UserError(f"recipe '{spec.recipe}' on task '{task.name}': {error}") from error


def jobs(specs: Iterable[RunSpec]) -> list[TrainingJob]:
    """Group runs that are trained together: the heads of a cohort on one training set, or one full fine-tuning.

    Replicates are trained apart: in one batch they would share what they are there to vary.
    """
    groups: dict[object, list[RunSpec]] = {}
    for spec in specs:
        together = (spec.cohort, spec.seeds.data, spec.seeds.replicate) if spec.training.mode == "head" else spec.id
        groups.setdefault(together, []).append(spec)
    return [TrainingJob(group) for group in groups.values()]


def prepare_store(store: RunStore, specs: Iterable[RunSpec]) -> None:
    """Check that new runs are consistent with those in the folder, and store the texts of the measured examples.

    Raises:
        UserError: One of these runs is corrupted, or an existing one was trained on different data or weights.
    """
    first: dict[tuple[str, str, str], RunSpec] = {}
    for spec in specs:
        first.setdefault(spec.cohort, spec)
        if spec.id in store:
            # A damaged run counts neither as done nor as missing: the user must decide what to do.
            store.record(spec.id)
    for record in store.records():
        asked = first.get(record.spec.cohort)
        if asked is not None and (changed := difference(record.spec, asked)):
            raise UserError(
                f"{changed} changed since {store.path} was created: its runs cannot be compared with new ones.\n"
                "Choose another --out, or undo the change."
            )
    # Recipes are measured on the same examples, whatever subset of the training set they use.
    for spec in {spec.task: spec for spec in reversed(first.values())}.values():
        task = load_task(spec.task)
        splits = split(task, spec.training, spec.seeds.data)
        texts = KINDS[task.kind].texts(splits.measure)
        references = splits.measure.labels.tolist() if KINDS[task.kind].has_texts else []
        data = data_facts(task, splits).lines()
        store.write_examples(spec, task.kind, texts, list(task.label_names), data, references)
