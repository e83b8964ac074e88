"""What commands take over stored runs, again and again: processor seconds and peak memory of processes of their own.

The reference for a small command is a process that imports what a notebook with the same figures and tests would:
NumPy, pandas, scipy.stats and plotly. The reference for a command over many runs is the same command before anything
was kept of their hidden states.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPES, SEEDS, EXAMPLES, LAYERS, WIDTH = 10, 10, 120, 2, 48
AGAIN, SMALL = 0.5, 1.0
"""Claimed: share of the first `compare` that the next one takes; share of the reference that `ls` takes."""

MAKE = f"""
import csv, sys
from pathlib import Path
import numpy as np
from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec, Study

folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
labels = rng.integers(0, 2, {EXAMPLES})
shared = rng.normal(size=({LAYERS}, {EXAMPLES}, {WIDTH}))

def logits():
    margin = 1.2 * (2 * labels - 1) + rng.normal(size=len(labels))
    return np.stack([-margin, margin], 1).astype(np.float32) / 2

def store(name, recipes, seeds):
    rates = {{f"rate-{{n}}": {{"training": {{"learning_rate": n * 1e-5}}}} for n in range(3, recipes + 2)}}
    given = {{"model": "a-model", "task": "a/task", "seeds": seeds, "recipes": {{"standard": {{}}}} | rates}}
    study = Study.parse(given)
    held = RunStore.create(folder / name, study, {{"python": "3"}})
    for model, task, recipe, seed in study.grid():
        spec = RunSpec(model=model, weights="a" * 64, task=task, data="b" * 64, recipe=recipe, seeds=seed,
                       training=study.recipe_training(recipe).resolved(model), stabilizers=())
        outputs = logits()
        score = float((outputs.argmax(1) == labels).mean())
        states = (shared + 0.7 * rng.normal(size=shared.shape)).astype(np.float16)
        held.write_examples(spec, "classification", [f"text {{n}}" for n in range(len(labels))], ["no", "yes"])
        record = RunRecord(spec=spec, status="done", metric="accuracy", score=score, scores={{"accuracy": score}},
                           majority_score=0.55, timings={{"total": 1.0}})
        held.write(record, {{"logits": outputs, "labels": labels, "representations": states}})

store("many", {RECIPES}, {SEEDS})
store("few", 2, 10)
(folder / "files").mkdir()
for run in range(5):
    with (folder / "files" / f"seed{{run}}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", "logit_0", "logit_1"])
        rows.writerows([label, *row] for label, row in zip(labels.tolist(), logits().tolist()))
"""
REFERENCE = "import numpy, pandas, scipy.stats, plotly.graph_objects, plotly.io"


def _spent(*words: str) -> tuple[float, float]:
    """Return the processor seconds and the peak memory in GB of a Python process."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether both claims hold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", MAKE, name], check=True)
        command = ("-m", "steadytune")
        many, few = str(folder / "many"), str(folder / "few")
        first = _spent(*command, "compare", many)
        again = _spent(*command, "compare", many)
        report = [_spent(*command, "report", many) for _ in range(2)]
        _spent("-c", REFERENCE)
        reference = _spent("-c", REFERENCE)
        _spent(*command, "report", few)
        small = {
            "ls, 20 runs": _spent(*command, "ls", few),
            "report, 20 runs": _spent(*command, "report", few),
            "measure, 5 files, with its page": _spent(
                *command, "measure", str(folder / "files"), "--out", str(folder / "page")
            ),
        }
    lines = [
        f"{RECIPES} recipes x {SEEDS} seeds, {EXAMPLES} examples, {LAYERS} layers of {WIDTH}; processor seconds, GB",
        f"  compare, the first time {first[0]:7.1f} {first[1]:5.2f}",
        f"  compare, again          {again[0]:7.1f} {again[1]:5.2f}; claimed at most {AGAIN:g} of the first",
        f"  report                  {report[0][0]:7.1f} {report[0][1]:5.2f}",
        f"  report, again           {report[1][0]:7.1f} {report[1][1]:5.2f}",
        f"Small commands against {reference[0]:.2f} s of a process that imports NumPy, pandas, scipy.stats and plotly",
        *(f"  {what:<32} {used[0]:5.2f} s, ratio {used[0] / reference[0]:4.2f}" for what, used in small.items()),
        f"  claimed: ls at most {SMALL:g}",
    ]
    return lines, again[0] <= AGAIN * first[0] and small["ls, 20 runs"][0] <= SMALL * reference[0]
