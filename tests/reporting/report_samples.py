"""Studies that were never trained: records and arrays made by hand, random but seeded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.records import RunRecord, RunStore
from steadytune.stabilizers import STABILIZERS
from steadytune.study import STANDARD, RunSpec, Study

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "\"quoted\" & 'quoted' <b>bold</b> %{x} $a$",
    "naïve café – 東京 🙂   two   spaces",
    "{{ 7 * 7 }} {% if x %} <!-- comment --> <img src=x onerror=\"document.title='owned'\">",
    "unbroken" * 40,
]
LABELS = ["entailment", "not_entailment"]
WORDS = ["the", "cat", "that", "every", "old", "teacher", "said", "would", "chase", "a", "bird", "again"]


@dataclass(frozen=True)
class Sample:
    """What a made-up study holds.

    Attributes:
        recipes: Name -> how far seeds move its runs.
        models: Model names.
        tasks: Task names.
        seeds: How many; of a grid, values per seed that varies.
        vary: The seeds that vary in a grid; all together if none is named.
        examples: N.
        layers: L; 0 for no representations.
        kind: "classification" or "regression".
        collapsed: Seeds of the first recipe that give one answer to everything.
        diverged: Recipe -> seeds that are lost.
        mode: "full" or "head".
    """

    recipes: dict[str, float] = field(default_factory=lambda: {STANDARD: 1.0, "mmr": 0.6})
    models: tuple[str, ...] = ("minilm",)
    tasks: tuple[str, ...] = ("glue/rte",)
    seeds: int = 5
    vary: tuple[str, ...] = ()
    examples: int = 60
    layers: int = 4
    kind: str = "classification"
    collapsed: tuple[int, ...] = (3,)
    diverged: dict[str, tuple[int, ...]] = field(default_factory=dict)
    mode: str = "full"


def sentences(amount: int) -> list[str]:
    rng = np.random.default_rng(11)
    made = [" ".join(rng.choice(WORDS, size=rng.integers(6, 16))).capitalize() + "." for _ in range(amount)]
    return (HOSTILE + made)[:amount]


def make_store(path: Path, sample: Sample) -> RunStore:
    recipes: dict[str, Any] = {}
    for place, name in enumerate(sample.recipes):
        known = set(name.split("+")) <= set(STABILIZERS)
        # A recipe without a stabilizer differs in a hyper-parameter: the same spec would be the same run.
        recipes[name] = {"stabilizers": name.split("+")} if known else {"training": {"clip": 1 + place / 10}}
    if STANDARD in recipes:
        recipes[STANDARD] = {}
    study = Study.parse(
        {
            "model": list(sample.models),
            "task": list(sample.tasks),
            "seeds": {"vary": list(sample.vary), "values": sample.seeds} if sample.vary else sample.seeds,
            "training": {"mode": sample.mode},
            "recipes": recipes,
        }
    )
    store = RunStore.create(path, study, {"steadytune": "0", "torch": "0"})
    for model, task, recipe, seeds in study.grid():
        spec = RunSpec(
            model=model,
            weights=f"{model:0<64}",
            task=task,
            data=f"{task.name.replace('/', '_'):0<64}",
            recipe=recipe,
            training=study.recipe_training(recipe).resolved(model),
            stabilizers=study.recipes[recipe].stabilizers,
            seeds=seeds,
        )
        labels = [] if sample.kind == "regression" else LABELS
        store.write_examples(spec, sample.kind, sentences(sample.examples), labels)
        if seeds.init in sample.diverged.get(recipe, ()):
            store.write(lost(spec), {})
        else:
            store.write(*finished(spec, sample))
    return store


def lost(spec: RunSpec) -> RunRecord:
    return RunRecord(
        spec=spec,
        status="diverged",
        reason="the loss is <NaN> from step 12",
        timings={"total": 3.5},
        versions={"python": "3.11"},
    )


def finished(spec: RunSpec, sample: Sample) -> tuple[RunRecord, dict[str, Any]]:
    first, spread = next(iter(sample.recipes)), sample.recipes[spec.recipe]
    fallen = spec.recipe == first and spec.seeds.init in sample.collapsed
    place = list(sample.recipes).index(spec.recipe)
    own, shared = np.random.default_rng([spec.seeds.init, spec.seeds.order, place]), np.random.default_rng(7)
    truth = shared.integers(0, 2, sample.examples)
    signs = np.where(truth[:, None] == np.arange(2), 1.0, -1.0)
    signal = signs * shared.exponential(0.9, (sample.examples, 1)) + shared.normal(0, 0.6, (sample.examples, 2))
    # The texts that try to break out are on display only if runs disagree on them.
    signal[: len(HOSTILE)] *= 0.01
    logits = signal + spread * own.normal(0, 0.8, (sample.examples, 2))
    if fallen:
        logits = np.tile([2.0, -2.0], (sample.examples, 1))
    arrays = {"logits": logits.astype(np.float32), "labels": truth}
    metric, score = "accuracy", float((logits.argmax(1) == truth).mean())
    if sample.kind == "regression":
        arrays = {"logits": logits[:, :1].astype(np.float32), "labels": truth.astype(np.float64)}
        metric, score = "pearson", float(np.corrcoef(logits[:, 0], truth)[0, 1]) ** 2
    if sample.layers:
        shape = (sample.layers, sample.examples, 12)
        growing = np.linspace(0.1, 1.1, sample.layers)[:, None, None] * spread * (4 if fallen else 1)
        arrays["representations"] = (shared.normal(size=shape) + growing * own.normal(size=shape)).astype(np.float16)
    record = RunRecord(
        spec=spec,
        status="done",
        metric=metric,
        score=score,
        scores={metric: score, "f1": score * 0.9},
        majority_score=0.0 if sample.kind == "regression" else float(max(truth.mean(), 1 - truth.mean())),
        measurements={"distance_from_start": float(own.uniform(1, 2)), "margin": None},
        timings={"train": 10.0 + spec.seeds.init, "total": 12.0 + spec.seeds.init},
        versions={"python": "3.11", "device": "cpu (x86_64)"},
        notes=("the checkpoint is stored in float16 and was loaded in float32",),
    )
    return record, arrays
