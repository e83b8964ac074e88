"""Leave-one-out stability of full fine-tuning for all cohorts of a study; every training is a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.models.parts import find_parts
from steadytune.models.random_state import preserved_random_state
from steadytune.records import RunStore
from steadytune.stabilizers.freeze import Freeze
from steadytune.study import RunSpec, Study
from steadytune.sweep.executors import Executor, check_executor, do_jobs
from steadytune.sweep.listener import Listener
from steadytune.sweep.plan import plan, prepare_store
from steadytune.tasks import load_task
from steadytune.tasks.splits import split
from steadytune.theory.inputs import need_all_weights
from steadytune.theory.loo.full import FullStability, Lost, planned, read, retry
from steadytune.theory.loo.left_out_runs import LeaveOneOut
from steadytune.theory.loo.stability import standard_error
from steadytune.theory.studies.task_loo import QUANTITIES
from steadytune.training.loading import build_model, load_tokenizer, quiet
from steadytune.training.method_check import check_methods
from steadytune.training.versions import versions

TRAININGS = "trainings"
"""Subfolder of the study's folder that holds its runs."""


@dataclass(frozen=True)
class CohortStability:
    """A cohort in full fine-tuning, and the result of leaving examples out.

    Attributes:
        spec: Its first run; the others differ only in their seeds.
        n: Training examples.
        status: "done"; "diverged"; "refused" if a method cannot leave an example out or lacks something in the model;
            "crashed" for any other reason.
        reason: Why it is not done.
        labels: (m,) classes of the left-out examples.
        exact: The measurements; None unless done.
    """

    spec: RunSpec
    n: int
    status: str
    reason: str = ""
    labels: NDArray[np.int64] | None = None
    exact: FullStability | None = None

    @property
    def name(self) -> str:
        """Model, task and recipe in one line."""
        model, task, recipe = self.spec.cohort
        return f"{model} on {task}, {recipe}"

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return self.spec.training.epochs * math.ceil(self.n / self.spec.training.batch_size)

    @cached_property
    def frozen(self) -> int:
        """Number of blocks that `freeze` keeps frozen; 0 without it."""
        for method in self.spec.stabilizers:
            if isinstance(method, Freeze):
                return _half_of_the_blocks(self.spec) if method.blocks is None else method.blocks
        return 0

    def summary(self) -> dict[str, Any]:
        """Return one row: what was trained, and "loo_..." and "seed_..." of every quantity, NaN if unknown.

        "travelled" is the mean over seeds of ||w_0 - w_T|| for the encoder. "loo_..._error" is the standard error of
        the mean over all examples that comes from sampling the left-out ones: that of the means over seeds, with the
        correction for a finite population. It is 0 if every example is left out, and NaN for a single one.

        "loo_relative" and "seed_relative" are the differences of the weights divided by the distance travelled: a
        recipe that moves twice as far has weights that lie twice as far apart, without being otherwise less stable.
        """
        model, task, recipe = self.spec.cohort
        training, exact = self.spec.training, self.exact
        row: dict[str, Any] = {"model": model, "task": task, "recipe": recipe, "n": self.n}
        row |= {"epochs": training.epochs, "steps": self.steps, "learning_rate": training.learning_rate}
        row |= {"batch_size": training.batch_size, "frozen": self.frozen}
        row |= {"left_out": len(exact.examples) if exact else 0, "seeds": len(exact.seeds) if exact else 0}
        row["travelled"] = float(exact.travelled.mean()) if exact else math.nan
        means = exact.to_frame() if exact else None
        for name, kind in product(QUANTITIES, ("leave_one_out", "seed")):
            column = f"{kind.replace('leave_one_out', 'loo')}_{name}"
            row[column] = math.nan if means is None else float(means[kind][name])
        relative = self._relative()
        row["loo_relative"] = math.nan if relative is None else float(relative.mean())
        row["seed_relative"] = row["seed_weights"] / row["travelled"] if relative is not None else math.nan
        for name in WITH_ERROR:
            values = relative if name == "relative" else None
            if exact is not None and name != "relative":
                values = getattr(exact.leave_one_out, name).mean(axis=0)
            row[f"loo_{name}_error"] = math.nan if values is None else standard_error(values, self.n)
        return {**row, "status": self.status, "reason": self.reason}

    def _relative(self) -> NDArray[np.float64] | None:
        """Return (m,) leave-one-out differences of the weights divided by the distance travelled, mean over seeds."""
        if self.exact is None or not self.exact.travelled.all():
            return None
        relative: NDArray[np.float64] = (self.exact.leave_one_out.weights / self.exact.travelled[:, None]).mean(axis=0)
        return relative

    def examples(self) -> list[dict[str, Any]]:
        """Return a row per seed and left-out example."""
        model, task, recipe = self.spec.cohort
        exact, found = self.exact, []
        if exact is None or self.labels is None:
            return []
        for (k, seed), (i, example) in product(enumerate(exact.seeds), enumerate(exact.examples)):
            row = {"model": model, "task": task, "recipe": recipe, "n": self.n, "seed": seed, "example": int(example)}
            row |= {"label": int(self.labels[i]), "loss": float(exact.losses[k, i])}
            row["left_out_loss"] = float(exact.left_out_losses[k, i])
            row |= {f"loo_{name}": float(getattr(exact.leave_one_out, name)[k, i]) for name in QUANTITIES}
            found.append(row)
        return found


WITH_ERROR = ("weights", "relative", "predictions")
"""Quantities with a standard error of the leave-one-out mean."""


def _half_of_the_blocks(spec: RunSpec) -> int:
    with quiet(), preserved_random_state():
        model = build_model(spec.model, load_task(spec.task), spec.training, load_tokenizer(spec.model))
    return len(find_parts(model).blocks) // 2


@dataclass(frozen=True)
class FullCohort:
    """A cohort, and the plan to leave examples out of its training set.

    Attributes:
        specs: Its runs with every example.
        n: Number of their training examples.
        work: One job per seed; empty if the cohort is refused.
        refused: Why it cannot be done.
    """

    specs: tuple[RunSpec, ...]
    n: int
    work: tuple[LeaveOneOut, ...]
    refused: str = ""

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of all its runs."""
        return frozenset(one for job in self.work for one in job.ids)

    @property
    def effort(self) -> int:
        """Approximate number of examples that a training processes."""
        return self.specs[0].training.epochs * self.n

    def result(self, store: RunStore) -> CohortStability:
        """Return the result, once all its runs are recorded."""
        spec = self.specs[0]
        try:
            if self.refused:
                raise Lost("refused", self.refused)
            exact = read(store, self.work)
        except Lost as lost:
            return CohortStability(spec, self.n, lost.status, str(lost))
        labels = split(load_task(spec.task), spec.training, spec.seeds.data).train.labels[exact.examples]
        return CohortStability(spec, self.n, "done", "", labels, exact)


def full_cohorts(study: Study, examples: int) -> list[FullCohort]:
    """Plan to leave a sample of the training examples out of every cohort of a study; see `leave_one_out_full`.

    Args:
        study: The runs with every example.
        examples: How many examples to leave out of each cohort.

    Raises:
        UserError: A run is not in full fine-tuning, or a task has no classes or fewer examples than are to be left out.
    """
    grouped: dict[tuple[str, str, str], list[RunSpec]] = {}
    for spec in plan(study):
        grouped.setdefault(spec.cohort, []).append(spec)
    return [_planned(tuple(specs), examples) for specs in grouped.values()]


def _planned(specs: tuple[RunSpec, ...], examples: int) -> FullCohort:
    """Plan one cohort, so that what cannot work is reported before anything is trained."""
    spec, task = specs[0], load_task(specs[0].task)
    if spec.training.mode != "full":
        raise UserError(f"recipe '{spec.recipe}' is not in mode 'full', which leaving out a sample needs")
    need_all_weights(spec)
    if not KINDS[task.kind].one_class:
        raise UserError(f"leave-one-out compares predicted classes, and task '{task.name}' is {KINDS[task.kind].noun}")
    if len({one.seeds.data for one in specs}) > 1:
        raise UserError("leave-one-out needs one training set: data seeds cannot vary")
    n = len(split(task, spec.training, spec.seeds.data).train)
    if not 3 <= n >= examples:
        raise UserError(
            f"recipe '{spec.recipe}' on task '{task.name}' has {n} training examples: "
            f"to leave out {examples}, one at a time, it needs at least 3 and at least {examples}"
        )
    try:
        return FullCohort(specs, n, tuple(planned(specs, examples)))
    except Lost as lost:
        return FullCohort(specs, n, (), str(lost))


def train_cohorts(
    cohorts: Sequence[FullCohort],
    study: Study,
    out: Path,
    *,
    workers: int = 1,
    executor: str | Executor | None = None,
    listener: Listener | None = None,
) -> RunStore:
    """Train the missing runs of all cohorts. A failed run ends its cohort, not the study.

    Args:
        cohorts: As `full_cohorts` returns them.
        study: The study that they belong to.
        out: Folder in which `TRAININGS`, the folder of the runs, is made.
        workers: Number of seeds processed at the same time.
        executor: How the work is run, as for `steadytune.run`.
        listener: Receives progress.

    Returns:
        The store of the runs, all of them recorded.

    Raises:
        UserError: A method lacks something in the model that can be checked before training, the folder holds another
            study, or the disk is full.
    """
    check_executor(executor)
    if (out / "cohorts").is_dir():
        raise UserError(
            f"{out} was written by an older version that stored cohorts instead of runs: choose another --out"
        )
    store = RunStore.create(out / TRAININGS, study, versions())
    for cohort in cohorts:
        retry(store, cohort.work)
        prepare_store(store, cohort.specs)
    # The largest first, so that no single process runs on long after the others.
    work = [job for cohort in sorted(cohorts, key=lambda cohort: -cohort.effort) for job in cohort.work]
    specs = [spec for job in work for spec in job.specs.values()]
    missing = [spec for spec in specs if spec.id not in store]
    work = [job for job in work if any(one not in store for one in job.ids)]
    check_methods(missing)
    with listener or Listener() as hears:
        hears.began(store, specs, len(missing))
        do_jobs(work, store, hears, executor, workers)
    return store
