"""Seconds per training step and peak memory of each stabilizer on MiniLM, as a ratio to `standard`.

Time: the real Trainer trains with the method and without, each in a thread of its own, and the two take one step in
turn, so that a change of the machine's speed meets both alike. Both see the same batches. A ratio is the median over
rounds of (seconds of the method's step) / (mean of the seconds of the standard steps just before and after it). What a
method does once, before its first step, is given in standard steps.

Memory: what a new process holds at most while it builds the model and takes a few steps, beyond what it held before.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.utils import logging

from steadytune.stabilizers import STABILIZERS
from steadytune.study import RunSpec, Study
from steadytune.sweep.plan import plan
from steadytune.training import full
from steadytune.training.data import run_data
from steadytune.training.loading import build_model

ROUNDS = 12
WARM_UP = 3
PASSES = {"r3f": 2.0, "r4f": 2.0, "lnsr": 2.0, "rdrop": 2.0, "freelb": 3.0, "smart": 3.33}
"""Forward and backward passes per step where a method needs more than one; a third is a forward pass alone."""
LIMITS = {"mmr": 1.03, "mhloss": 1.03, **PASSES}
RECIPES = {
    **{name: [name] for name in STABILIZERS if name != "child_tuning"},
    "child_tuning (D)": [{"child_tuning": {"variant": "D"}}],
    "child_tuning (F)": [{"child_tuning": {"variant": "F"}}],
    # Averaging is timed where it averages.
    "swa": [{"swa": {"start": 0.0}}],
    "mmr+mhloss": ["mmr", "mhloss"],
}


class Steps(TrainerCallback):
    """A training that takes a step whenever it is asked to."""

    def __init__(self, spec: RunSpec, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.stopping, self.error = False, None
        self.started = self.before_training = self.seconds = 0.0
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()
        self._wait()

    def _train(self) -> None:
        try:
            trainer = make_trainer(self.spec, self.folder)
            trainer.add_callback(self)
            self.started = time.perf_counter() - trainer.shared_seconds
            trainer.train()
        except BaseException as error:
            self.error = error
        self.done.release()

    def _wait(self) -> None:
        self.done.acquire()
        if self.error is not None:
            raise self.error

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait to be asked."""
        if not self.before_training:
            self.before_training = time.perf_counter() - self.started
        self.done.release()
        self.go.acquire()
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock; stop the training if there was nothing to time."""
        self.seconds = time.perf_counter() - self.started
        control.should_training_stop = self.stopping

    def take(self) -> float:
        """Take a step; return its seconds: forward and backward passes, clipping, optimizer and all."""
        self.go.release()
        self._wait()
        return self.seconds

    def stop(self) -> None:
        """End the training."""
        self.stopping = True
        self.go.release()
        self.thread.join()


def make_trainer(spec: RunSpec, folder: Path) -> full.RunTrainer:
    """Return a study's Trainer for a run, long enough that the curves do not fall into the measured steps."""
    data = run_data(spec)
    model = build_model(spec.model, data.task, spec.training, data.tokenizer)
    trainer = full.RunTrainer(spec, data, folder, lambda share: None, str(folder / "out"), model)
    trainer.args.logging_steps = 10_000
    # A method's own cost, whether or not it lets studies leave out the embeddings of unused words.
    trainer.trimmed = None
    return trainer


def peak_memory(spec: RunSpec, folder: Path) -> float:
    """Return the MiB that building the model and four steps take at most. In a process of its own."""
    _quiet()
    run_data(spec)
    before = _high_water_mark()
    steps = Steps(spec, folder)
    for _ in range(4):
        steps.take()
    return _high_water_mark() - before


def _high_water_mark() -> float:
    # Of this process alone: what `resource` gives is never below that of the process which started it. Linux only.
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) / 1024


def _quiet() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _specs() -> dict[str, RunSpec]:
    content = {
        "model": "minilm",
        "task": "acceptability",
        "seeds": 1,
        "training": {"learning_rate": 1e-5, "epochs": 100},
        "recipes": {"standard": {}, **{name: {"stabilizers": methods} for name, methods in RECIPES.items()}},
    }
    return {spec.recipe: spec for spec in plan(Study.parse(content))}


def _ratios(spec: RunSpec, standard: Steps, folder: Path) -> tuple[list[float], float]:
    method = Steps(spec, folder)
    for _ in range(WARM_UP):
        method.take()
    ratios = []
    before = standard.take()
    for _ in range(ROUNDS):
        seconds = method.take()
        after = standard.take()
        ratios.append(2 * seconds / (before + after))
        before = after
    method.stop()
    return ratios, method.before_training / before


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether every method keeps within its limit."""
    _quiet()
    lines, holds = [], True
    with tempfile.TemporaryDirectory() as name:
        folder, specs = Path(name), _specs()
        standard = Steps(specs.pop("standard"), folder)
        base = [standard.take() for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
            plain = processes.submit(peak_memory, standard.spec, folder).result()
            lines += [
                f"MiniLM, batch 16, one thread, {ROUNDS} rounds: standard takes {statistics.median(base):.3f} s a step "
                f"and {plain:.0f} MiB",
                f"{'recipe':<20} {'time, median [quartiles]':<28} {'limit':<6} {'memory':<7} before training, in steps",
            ]
            for recipe, spec in specs.items():
                values, once = _ratios(spec, standard, folder)
                memory = processes.submit(peak_memory, spec, folder).result() / plain
                low, middle, high = statistics.quantiles(values, n=4)
                limit = LIMITS.get(recipe)
                holds &= limit is None or middle <= limit
                time_column = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
                limit_column = "-" if limit is None else f"{limit:.2f}"
                lines.append(f"{recipe:<20} {time_column:<28} {limit_column:<6} {memory:<7.2f} {once:.1f}")
        standard.stop()
    return lines, holds
