"""Leave-one-out stability of full fine-tuning, over all cohorts of a study: each is kept as it is done."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.files import canonical_json, read_content, sha256, write_text
from steadytune.kinds import KINDS
from steadytune.models.parts import find_parts
from steadytune.models.random_state import preserved_random_state
from steadytune.stabilizers.freeze import Freeze
from steadytune.study import RunSpec
from steadytune.tasks import load_task
from steadytune.tasks.splits import split
from steadytune.theory.loo.full import FullStability, Unmeasured, leave_one_out_full
from steadytune.theory.loo.stability import Differences, standard_error
from steadytune.theory.studies.processes import Progress, do_all
from steadytune.theory.studies.task_loo import QUANTITIES
from steadytune.training.data import run_data
from steadytune.training.loading import build_model, load_tokenizer, quiet
from steadytune.training.method_check import check_methods

Status = Literal["done", "diverged", "refused", "failed"]

_FORMAT = 1
"""Of the kept files: another number for other fields, other numbers in them, or other examples that are left out."""


@dataclass(frozen=True)
class CohortStability:
    """A cohort in full fine-tuning, and what came of leaving examples out of it.

    Attributes:
        spec: Its first run: the others differ in their seeds alone.
        n: Training examples.
        status: "done"; "diverged"; "refused", as a method cannot leave an example out or lacks something in the model;
            "failed" for another reason.
        reason: Why it is not done.
        labels: (m,) classes of the left-out examples.
        exact: What was measured; None where it is not done.
    """

    spec: RunSpec
    n: int
    status: Status
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
        """Steps of the optimizer."""
        return self.spec.training.epochs * math.ceil(self.n / self.spec.training.batch_size)

    @cached_property
    def frozen(self) -> int:
        """Blocks that freeze keeps as they were; without it none."""
        for method in self.spec.stabilizers:
            if isinstance(method, Freeze):
                return _half_of_the_blocks(self.spec) if method.blocks is None else method.blocks
        return 0

    def summary(self) -> dict[str, Any]:
        """Return one row: what was trained, and "loo_..." and "seed_..." of every quantity, NaN where it is not known.

        "travelled" is the mean over seeds of ||w_0 - w_T||, of the encoder. "loo_..._error" is the standard error that
        the drawing of the left-out examples leaves in a mean over all examples: of the means over seeds, with the
        correction for a finite population, so 0 where every example is left out, and NaN for a single one.

        "loo_relative" and "seed_relative" are the differences of the weights over the distance travelled: a recipe that
        moves twice as far has weights that lie twice as far apart, without being less stable in any other sense.
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
        """Return (m,) the leave-one-out differences of the weights over the distance travelled, a mean over seeds."""
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
"""Quantities whose leave-one-out mean stands with its standard error."""


def _half_of_the_blocks(spec: RunSpec) -> int:
    with quiet(), preserved_random_state():
        model = build_model(spec.model, load_task(spec.task), spec.training, load_tokenizer(spec.model))
    return len(find_parts(model).blocks) // 2


@dataclass(frozen=True)
class _Job:
    """What one process does.

    Attributes:
        specs: Runs of a cohort.
        n: Their training examples.
        examples: How many to leave out.
        cache: Folder of what seeds share.
        path: Where the result is kept.
    """

    specs: tuple[RunSpec, ...]
    n: int
    examples: int
    cache: Path
    path: Path


def cohorts_stability(
    specs: Sequence[RunSpec],
    examples: int,
    out: Path,
    *,
    workers: int = 1,
    began: Callable[[int, int], None] = lambda missing, kept: None,
    progress: Progress = lambda share: None,
    done: Callable[[CohortStability], None] = lambda cohort: None,
) -> list[CohortStability]:
    """Leave a sample of the training examples out of every cohort; see `leave_one_out_full`.

    A cohort that diverges, that a method refuses or that raises is a result with its reason. Those that are done or
    diverged are kept in the folder, under the hash of all that determines them, and not computed again.

    Args:
        specs: The runs of a study.
        examples: How many examples to leave out of each cohort.
        out: Folder for "cohorts" and "cache".
        workers: Processes, as `do_all` has it.
        began: Called first with the number of cohorts to train and of those that the folder holds.
        progress: Called with the share that is done, 0 to 1.
        done: Called with each cohort, as it comes.

    Returns:
        The cohorts in the order of `specs`.

    Raises:
        UserError: A run is not in full fine-tuning, a task has no classes or fewer examples than shall be left out, a
            method lacks something in the model that can be looked for before the training, or the disk is full.
    """
    grouped: dict[tuple[str, str, str], list[RunSpec]] = {}
    for spec in specs:
        grouped.setdefault(spec.cohort, []).append(spec)
    jobs = [_job(tuple(cohort), examples, out) for cohort in grouped.values()]
    found = [_kept(job) for job in jobs]
    missing = [job for job, cohort in zip(jobs, found, strict=True) if cohort is None]
    check_methods(spec for job in missing for spec in job.specs)
    began(len(missing), len(jobs) - len(missing))
    trained = iter(
        do_all(_studied, missing, [_effort(job) for job in missing], workers=workers, progress=progress, done=done)
    )
    return [cohort or next(trained) for cohort in found]


def _job(specs: tuple[RunSpec, ...], examples: int, out: Path) -> _Job:
    """Look at a cohort: what cannot work is said before anything is trained."""
    spec, task = specs[0], load_task(specs[0].task)
    if spec.training.mode != "full":
        raise UserError(f"recipe '{spec.recipe}' is not in mode 'full', which is where a sample is left out")
    if not KINDS[task.kind].shared_classes:
        raise UserError(f"leave-one-out compares predicted classes, and task '{task.name}' is a {task.kind}")
    if len({one.seeds.data for one in specs}) > 1:
        raise UserError("leave-one-out is of one training set: seeds of the data cannot vary")
    n = len(split(task, spec.training, spec.seeds.data).train)
    if not 3 <= n >= examples:
        raise UserError(
            f"recipe '{spec.recipe}' on task '{task.name}' has {n} training examples: "
            f"{examples} cannot be left out, one by one, of fewer than 3 or than {examples}"
        )
    # How many are left out is all that is asked beside the runs: which ones follows from them.
    key = sha256(canonical_json([_FORMAT, [one.id for one in specs], examples]))[:16]
    return _Job(specs, n, examples, out / "cache", out / "cohorts" / f"{key}.json")


def _effort(job: _Job) -> float:
    """Return about how many examples are read."""
    return len(job.specs) * (1 + job.examples) * job.specs[0].training.epochs * job.n


def _studied(job: _Job, progress: Progress) -> CohortStability:
    spec = job.specs[0]
    try:
        exact = leave_one_out_full(job.specs, job.examples, cache=job.cache, progress=progress)
        labels = run_data(spec).splits.train.labels[exact.examples]
        cohort = CohortStability(spec, job.n, "done", "", labels, exact)
    except UserError as error:
        status: Status = error.status if isinstance(error, Unmeasured) else "refused"
        cohort = CohortStability(spec, job.n, status, str(error))
        # Something may be put right before the next time: it is not kept.
        if status == "refused":
            return cohort
    except Exception as error:  # whatever it is, it is this cohort's fate and not the study's
        reason = str(error).strip().partition("\n")[0][:300]
        # It may go better the next time, with more memory say, and is not kept.
        return CohortStability(spec, job.n, "failed", f"{type(error).__name__}: {reason}".rstrip(": "))
    content = json.dumps(
        {"status": cohort.status, "reason": cohort.reason, "labels": cohort.labels, "exact": _dict(cohort.exact)},
        default=np.ndarray.tolist,
    )
    write_text(job.path, f"{sha256(content.encode())}\n{content}\n")
    return cohort


def _kept(job: _Job) -> CohortStability | None:
    """Return what the folder holds of a cohort; None if that is nothing, or not what is written."""
    try:
        checksum, content = read_content(job.path).decode("utf-8").splitlines()
    except ValueError:
        return None
    if sha256(content.encode()) != checksum:
        return None
    try:
        held = json.loads(content)
        if held["exact"] is None:
            return CohortStability(job.specs[0], job.n, held["status"], held["reason"])
        labels, exact = np.array(held["labels"]), _stability(held["exact"])
        return CohortStability(job.specs[0], job.n, held["status"], held["reason"], labels, exact)
    except (KeyError, TypeError, ValueError):  # whole, but with other fields
        return None


def _dict(exact: FullStability | None) -> dict[str, Any] | None:
    return None if exact is None else asdict(exact)


def _stability(held: dict[str, Any]) -> FullStability:
    """Turn lists back into arrays: JSON spells float64 so that it is read back to the bit."""
    leave_one_out, seed = (Differences(**_arrays(held.pop(name))) for name in ("leave_one_out", "seed"))
    n, seeds = held.pop("n"), tuple(held.pop("seeds"))
    return FullStability(n=n, seeds=seeds, leave_one_out=leave_one_out, seed=seed, **_arrays(held))


def _arrays(lists: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(values) for name, values in lists.items()}
