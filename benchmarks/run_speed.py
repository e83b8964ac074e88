"""`steadytune run` with its report against a shell loop over a script with the stock Trainer, per seed.

Both train MiniLM with the same data and hyper-parameters, one process after the other, with one thread, and are timed
from start to end in seconds of the processor, imports and all. The script leaves a score and logits; `steadytune run`
also curves, representations, checksums and a report. The script is run before and after, so that a change of the
machine's speed shows.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from steadytune.study import TaskSpec
from steadytune.tasks import load_task
from steadytune.training.weights import model_folder

SEEDS = 8
"""Seeds of the study; the script is timed for two."""
TRAINED, MEASURED, EPOCHS = 200, 400, 3
AIMS = {"float32": 2.0, "bf16": 3.0}
"""Both against the script in float32."""
LEAST = {"float32": 1.4, "bf16": 1.4}
"""What is claimed: 1.4 was measured on a busy machine for two seeds of a sixth of the data, mostly imports."""


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether every ratio is as claimed."""
    lines, holds = [], True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_data(folder)
        loop = [_script(folder, seed=0)]
        studies = {"float32": _study(folder, "float32")}
        if _has_bf16():
            studies["bf16"] = _study(folder, "bf16")
        loop.append(_script(folder, seed=1))
    each = sum(loop) / len(loop)
    spread = ", ".join(f"{seconds:.1f}" for seconds in loop)
    lines.append(
        f"{TRAINED} training and {MEASURED} measured sentences, {EPOCHS} epochs: the script takes {each:.1f} s of the "
        f"processor a seed ({spread})"
    )
    for precision, seconds in studies.items():
        ratio = each / (seconds / SEEDS)
        lines.append(
            f"  steadytune run, {SEEDS} seeds, {precision:<8} {seconds / SEEDS:6.1f} s a seed   ratio {ratio:4.2f} "
            f"(claimed {LEAST[precision]}, aim {AIMS[precision]})"
        )
        holds &= ratio >= LEAST[precision]
    if "bf16" not in studies:
        lines.append("  bf16: this processor computes it in float32, so there is nothing to measure")
    return lines, holds


def _write_data(folder: Path) -> None:
    task = load_task(TaskSpec(name="acceptability", train_examples=TRAINED, validation_examples=MEASURED))
    (folder / "data").mkdir()
    for split, examples in (("train", task.train), ("validation", task.validation)):
        rows = [
            {"sentence": text, "label": int(label)}
            for (((text, _),), label) in zip(examples.candidates, examples.labels, strict=True)
        ]
        path = folder / "data" / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _script(folder: Path, seed: int) -> float:
    script = Path(__file__).with_name("stock_trainer.py")
    words = ["--model", str(model_folder("minilm")), "--data", str(folder / "data"), "--epochs", str(EPOCHS)]
    return _seconds([str(script), *words, "--seed", str(seed), "--out", str(folder / f"script-{seed}")])


def _study(folder: Path, precision: str) -> float:
    # The model's own head, as in the script.
    training = {"epochs": EPOCHS, "precision": precision, "pooling": "native"}
    content = {"model": "minilm", "task": str(folder / "data"), "seeds": SEEDS, "training": training}
    study = folder / f"{precision}.yaml"
    study.write_text(yaml.safe_dump(content), encoding="utf-8")
    words = ["run", str(study), "--workers", "1", "--out", str(folder / precision)]
    return _seconds(["-m", "steadytune", *words])


def _seconds(words: list[str]) -> float:
    """Return the seconds of the processor that a Python process takes, and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def _has_bf16() -> bool:
    """Return whether the processor has instructions for products of bfloat16."""
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)
