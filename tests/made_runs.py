"""Runs that were never trained: records and arrays made by hand."""

import numpy as np

from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec, Study

VERSIONS = {"python": "3", "steadytune": "0"}
EXAMPLES, CLASSES = 6, 2


def made_study(**content):
    return Study.parse({"model": "a-model", "task": "a/task", "seeds": 2, **content})


def made_specs(study):
    """Return the runs of a study as if its models and tasks had been looked at."""
    return [
        RunSpec(
            model=model,
            weights=(model.encode().hex() * 64)[:64],
            task=task,
            data=(task.name.encode().hex() * 64)[:64],
            recipe=recipe,
            training=study.recipe_training(recipe).resolved(model),
            stabilizers=study.recipes[recipe].stabilizers,
            seeds=seeds,
        )
        for model, task, recipe, seeds in study.grid()
    ]


def made_record(spec, **fields):
    given = {
        "status": "done",
        "metric": "accuracy",
        "score": 0.75,
        "scores": {"accuracy": 0.75},
        "majority_score": 0.5,
        "curves": {"step": [1, 2, 3], "loss": [0.7, None, 0.2]},
        "measurements": {"distance_from_start": 1.5},
        "timings": {"total": 2.0},
        "versions": VERSIONS,
    }
    return RunRecord(spec=spec, **{**given, **fields})


def made_arrays(spec, representations=True):
    """Arrays that only this run has."""
    rng = np.random.default_rng(int(spec.id, 16))
    arrays = {
        "logits": rng.normal(size=(EXAMPLES, CLASSES)).astype(np.float32),
        "labels": np.arange(EXAMPLES) % CLASSES,
    }
    if representations:
        arrays["representations"] = rng.normal(size=(2, EXAMPLES, 4)).astype(np.float16)
    return arrays


def made_store(path, study=None):
    """A folder with all runs of a study."""
    study = study or made_study()
    store = RunStore.create(path, study, VERSIONS)
    for spec in made_specs(study):
        store.write_examples(spec, "classification", [f"text {n}" for n in range(EXAMPLES)], ["no", "yes"])
        store.write(made_record(spec), made_arrays(spec))
    return store
