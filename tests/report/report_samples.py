"""Studies that were never trained: records and arrays made by hand, random but seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steadytune.records import RunRecord, RunStore
from steadytune.study import Recipe, RunSpec, Seeds, Study, TaskSpec

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "\"quoted\" & 'quoted' <b>bold</b> %{x} $a$",
    "naïve café – 東京 🙂   two   spaces",
    "{{ 7 * 7 }} {% if x %} <!-- comment --> <img src=x onerror=\"document.title='owned'\">",
    "unbroken" * 40,
]
WORDS = "the cat that every old teacher said would chase a bird has slept under one green table again".split()


def sentences(amount: int, rng: np.random.Generator) -> list[str]:
    made = [" ".join(rng.choice(WORDS, size=rng.integers(6, 16))).capitalize() + "." for _ in range(amount)]
    return (HOSTILE + made)[:amount]


def make_store(
    path: Path,
    *,
    recipes: dict[str, float] | None = None,
    models: tuple[str, ...] = ("minilm",),
    tasks: tuple[str, ...] = ("glue/rte",),
    seeds: int = 5,
    examples: int = 60,
    layers: int = 6,
    kind: str = "classification",
    collapsed: tuple[int, ...] = (3,),
    diverged: dict[str, tuple[int, ...]] | None = None,
    frozen: bool = False,
) -> RunStore:
    """Write a store: `recipes` maps a name to how far seeds move the runs, `collapsed` seeds of the first recipe give one
    answer to everything, `diverged` ones are lost.
    """
    recipes = recipes or {"standard": 1.0, "mmr": 0.6}
    diverged = diverged or {}
    study = Study.parse(
        {
            "model": list(models),
            "task": list(tasks),
            "seeds": seeds,
            "training": {"setting": "head"} if frozen else {"learning_rate": 5e-5},
            "recipes": {name: {} for name in recipes},
        }
    )
    store = RunStore.create(path, study, {"steadytune": "0", "torch": "0"})
    for model in models:
        for task in study.task:
            for place, (recipe, spread) in enumerate(recipes.items()):
                for seed in range(seeds):
                    lost = seed in diverged.get(recipe, ())
                    fallen = place == 0 and seed in collapsed
                    spec = make_spec(model, task, recipe, seed, study)
                    _write(store, spec, kind, spread, examples, 0 if frozen else layers, lost=lost, fallen=fallen)
    return store


def make_spec(model: str, task: TaskSpec, recipe: str, seed: int, study: Study) -> RunSpec:
    return RunSpec(
        model=model,
        weights=f"{model:0<16}",
        task=task,
        data=f"{task.name.replace('/', '_'):0<64}",
        recipe=recipe,
        training=study.recipe_training(recipe).resolved(model).model_copy(update={"epochs": 3 + len(recipe)}),
        stabilizers=Recipe().stabilizers,
        seeds=Seeds.all(seed),
    )


def _write(
    store: RunStore, spec: RunSpec, kind: str, spread: float, examples: int, layers: int, *, lost: bool, fallen: bool
) -> None:
    common = np.random.default_rng(7)
    own = np.random.default_rng([spec.seeds.init, len(spec.recipe), *map(ord, spec.recipe[:3])])
    truth = common.integers(0, 2, examples)
    labels = truth.astype(np.float64) if kind == "regression" else truth
    names = [] if kind == "regression" else ["entailment", "not_entailment"]
    store.write_examples(spec, kind, sentences(examples, common), names)
    versions = {"python": "3.11", "torch": "2.9", "device": "cpu (x86_64)", "threads": "1"}
    if lost:
        record = RunRecord(
            spec=spec,
            status="diverged",
            reason="the loss is <NaN> from step 12",
            timings={"total": 3.5},
            versions=versions,
        )
        store.write(record, {})
        return
    signal = np.where(truth[:, None] == np.arange(2), 1.0, -1.0) * common.exponential(
        0.9, (examples, 1)
    ) + common.normal(0, 0.6, (examples, 2))
    logits = signal + spread * own.normal(0, 0.8, (examples, 2))
    if fallen:
        logits = np.tile([2.0, -2.0], (examples, 1)) + own.normal(0, 0.1, (examples, 2))
    if kind == "regression":
        logits = logits[:, :1]
        score = float(np.corrcoef(logits[:, 0], labels)[0, 1])
    else:
        score = float((logits.argmax(1) == truth).mean())
    arrays = {"logits": logits.astype(np.float32), "labels": labels}
    if layers:
        base = common.normal(size=(layers, examples, 12))
        noise = own.normal(size=(layers, examples, 12)) * np.linspace(0.1, 1.1, layers)[:, None, None] * spread
        arrays["representations"] = (base + (4 if fallen else 1) * noise).astype(np.float16)
    metric = "pearson" if kind == "regression" else "accuracy"
    majority = 0.0 if kind == "regression" else float(max(truth.mean(), 1 - truth.mean()))
    record = RunRecord(
        spec=spec,
        status="done",
        metric=metric,
        score=score,
        scores={metric: score, "f1": score * 0.9},
        majority_score=majority,
        measurements={"distance_from_start": float(own.uniform(1, 2)), "margin": None},
        timings={"train": 10.0 + spec.seeds.init, "total": 12.0 + spec.seeds.init},
        versions=versions,
        notes=("the checkpoint is stored in float16 and was loaded in float32",),
    )
    store.write(record, arrays)
