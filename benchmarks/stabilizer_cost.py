"""Seconds per training step of each stabilizer on MiniLM, as a ratio to `standard`.

The trainers are made once and take one step each in turn, so that a change of the machine's speed meets all of them
alike; every step starts from the same weights' neighbourhood and sees the same batch. A ratio is the median over rounds
of (seconds of the method) / (mean of the seconds of the standard steps just before and after it).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.utils import logging

from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.training import full
from steadytune.training.data import run_data
from steadytune.training.models import build_model

ROUNDS = 60
WARM_UP = 5
RECIPES = ["standard", "mmr", "mhloss", "surt", "mmr+mhloss"]
LIMITS = {"mmr": 1.03, "mhloss": 1.03}


def _steppers(folder: Path) -> dict[str, Iterator[float]]:
    study = Study.parse(
        {
            "model": "minilm",
            "task": "acceptability",
            "seeds": 1,
            "training": {"learning_rate": 1e-5},
            "recipes": RECIPES,
        }
    )
    return {spec.recipe: _steps(spec, folder) for spec in plan(study)}


def _steps(spec: full.RunSpec, folder: Path) -> Iterator[float]:
    """Yield the seconds of one optimizer step after another, forward and backward pass included."""
    data = run_data(spec)
    model = build_model(spec.model, data.task, spec.training, data.tokenizer)
    trainer = full._RunTrainer(spec, data, folder, lambda share: None, str(folder / "out"), model)
    trainer.create_optimizer_and_scheduler(num_training_steps=1000)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.current_gradient_accumulation_steps = 1
    # Off the points at which the geometry of a batch is recorded, as most steps are.
    trainer.state.global_step = 1
    trainer.args.logging_steps = 1000
    while True:
        started = time.perf_counter()
        trainer.training_step(trainer.model, dict(batch))
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        yield time.perf_counter() - started
        trainer.losses.clear()


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether every method keeps within its limit."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        steppers = _steppers(Path(folder))
        standard = steppers.pop("standard")
        for stepper in (standard, *steppers.values()):
            for _ in range(WARM_UP):
                next(stepper)
        ratios: dict[str, list[float]] = {name: [] for name in steppers}
        base: list[float] = []
        before = next(standard)
        for _ in range(ROUNDS):
            for name, stepper in steppers.items():
                seconds = next(stepper)
                after = next(standard)
                ratios[name].append(2 * seconds / (before + after))
                base.append(after)
                before = after
    lines = [
        f"seconds per step, MiniLM, batch 16, one thread, {ROUNDS} rounds: standard {statistics.median(base):.3f} s",
        f"{'recipe':<12} {'ratio to standard, median [quartiles]':<40} limit",
    ]
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        limit = f"{LIMITS[name]:.2f}" if name in LIMITS else "-"
        lines.append(f"{name:<12} {middle:.3f} [{low:.3f}, {high:.3f}]{'':<19} {limit}")
    return lines, all(statistics.median(ratios[name]) <= limit for name, limit in LIMITS.items())
