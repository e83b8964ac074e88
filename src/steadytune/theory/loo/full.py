"""Leave-one-out stability of full fine-tuning on a sample of examples, computed from runs that leave one out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.models.random_state import preserved_random_state
from steadytune.records import RunStore
from steadytune.study import RunSpec, Study, Training
from steadytune.sweep.executors import Executor, do_jobs
from steadytune.sweep.listener import Share
from steadytune.sweep.plan import prepare_store
from steadytune.tasks import load_task
from steadytune.tasks.splits import split
from steadytune.theory.inputs import chosen_examples, need_all_weights
from steadytune.theory.loo.heads import head_losses
from steadytune.theory.loo.left_out_runs import DIRECTIONS, WEIGHTS, WITH, WITHOUT, LeaveOneOut, settle
from steadytune.theory.loo.stability import Differences, Float64Array, Stability
from steadytune.training.versions import versions

_INSIDE = {"lnsr"}
_LOOK_AT_BATCHES = ("penalty", "task_loss", "train_step")


HOW = (
    "The left-out example stays in its batch, so that every other example is padded, ordered and masked by dropout as "
    "before; it is removed at the input of the last layer, before the loss and all penalties.",
    "A method that retrains the encoder on the texts, such as surt, still reads the text of the example.",
)
"""How an example is left out."""


class Lost(UserError):
    """Leave-one-out stability of these runs cannot be measured; other runs are not affected.

    Attributes:
        status: "refused" if a method or model cannot leave an example out, or lacks something; "diverged" or "crashed"
            if a training did.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, repr=False)
class FullStability(Stability):
    """Leave-one-out stability of full fine-tuning. Directions are those of the last layer, whose features move as well.

    Attributes:
        travelled: (S,) distance of the encoder's weights in A(S) from those at which fine-tuning started.
    """

    travelled: Float64Array

    def describe(self) -> list[str]:
        """Return sentences: what was compared, and what the numbers do not cover."""
        return [*super().describe(), *HOW]


def leave_one_out_full(
    specs: Sequence[RunSpec],
    examples: int | Sequence[int] | NDArray[np.int64],
    *,
    out: Path,
    workers: int = 1,
    executor: str | Executor | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> FullStability:
    """Fine-tune A(S) and A(S^i) for each chosen example i and the seeds of each run, and compare them.

    An example is left out by giving it weight 0, not by removing it; see `training.left_out`.

    Cost: S (m + 1) trainings. Memory: the weights of two models per worker. Disk: those of S models, until the last
    training is recorded.

    Args:
        specs: Runs that differ only in their init, order and dropout seeds.
        examples: Indices in the training set of the runs, after it is cut to `train_size`; or how many to take: the
            first in the order in which `split_seed` draws training sets, so the same ones at every `train_size`.
        out: Folder of the runs, as for `steadytune.run`; what it already holds is not trained again.
        workers: Number of seeds that are worked on at the same time.
        executor: What runs the jobs, as for `steadytune.run`.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The runs are not a cohort of full fine-tuning on a classification task, or the examples are not in
            their training set.
        Lost: A method cannot leave an example out, or a training diverged or crashed.
    """
    work = planned(specs, examples)
    first = specs[0]
    recipe = {"stabilizers": [method.entry() for method in first.stabilizers]}
    study = Study.parse(
        {
            "model": first.model,
            "task": first.task,
            "seeds": [spec.seeds for spec in specs],
            "training": first.training,
            "recipes": {first.recipe: recipe},
        },
        held=True,
    )
    store = RunStore.create(out, study, versions())
    retry(store, work)
    prepare_store(store, specs)
    ids = [one for job in work for one in job.ids]
    listener = Share(dict.fromkeys(ids, 1.0), progress)
    with preserved_random_state():
        do_jobs(work, store, listener, executor, workers)
    return read(store, work)


def planned(specs: Sequence[RunSpec], examples: int | Sequence[int] | NDArray[np.int64]) -> list[LeaveOneOut]:
    """Return the jobs of a cohort, one per seed; see `leave_one_out_full`.

    Raises:
        UserError: The runs are not a cohort of full fine-tuning on a classification task, or the examples are not in
            their training set.
        Lost: A method cannot leave an example out.
    """
    chosen = sampled(examples, _checked(specs), specs[0].training)
    return [LeaveOneOut(tuple(specs), place, tuple(chosen.tolist())) for place in range(len(specs))]


def retry(store: RunStore, work: Sequence[LeaveOneOut]) -> None:
    """Remove runs that may succeed this time: those that crashed, were stopped, or are damaged."""
    for job in work:
        held = [one for one in job.ids if one in store]
        if _status(store, job.whole.id) != "diverged":
            store.forget_failed(one for one in held if _status(store, one) != "diverged")


def _status(store: RunStore, run_id: str) -> str:
    try:
        return store.record(run_id).status if run_id in store else ""
    except UserError:  # damaged
        return ""


def read(store: RunStore, work: Sequence[LeaveOneOut]) -> FullStability:
    """Return the stability from the records of a cohort, which must all be there.

    Raises:
        Lost: A training failed.
    """
    cohort, chosen = work[0].cohort, np.array(work[0].examples)
    labels = split(load_task(cohort[0].task), cohort[0].training, cohort[0].seeds.data).train.labels[chosen]
    seeds_apart = settle(store, cohort)
    records = [[store.record(one) for one in job.ids] for job in work]
    for record in [job[0] for job in records] + [record for job in records for record in job[1:]]:
        if record.status != "done":
            which = "" if record.spec.left_out is None else " without an example"
            named = f"the training with the seeds {record.spec.seeds.label}{which} diverged: {record.reason}"
            status = "refused" if record.status == "stopped" else record.status
            raise Lost(status, named if status == "diverged" else record.reason or "")
    arrays = [[store.arrays(record) for record in job] for job in records]
    classes = np.array([[one["logits"].argmax(1) for one in job] for job in arrays])
    logits = torch.tensor(np.array([[[one[WITH], one[WITHOUT]] for one in job[1:]] for job in arrays])).double()
    expanded = torch.from_numpy(labels).expand(len(work), -1)
    losses, left_out_losses = (head_losses(logits[:, :, k], expanded, "softmax").numpy() for k in (0, 1))

    def measured(name: str) -> Float64Array:
        return np.array([[record.measurements[name] for record in job[1:]] for job in records], dtype=np.float64)

    return FullStability(
        n=_size(cohort[0]),
        examples=chosen,
        seeds=tuple(spec.seeds.label for spec in cohort),
        leave_one_out=Differences(
            weights=measured(WEIGHTS),
            directions=measured(DIRECTIONS),
            predictions=(classes[:, 1:] != classes[:, :1]).mean(-1),
            loss=np.abs(left_out_losses - losses),
        ),
        seed=Differences(
            weights=seeds_apart[0],
            directions=seeds_apart[1],
            predictions=(classes[:, None, 0] != classes[None, :, 0]).mean(-1),
            loss=np.abs(losses[:, None] - losses).mean(-1),
        ),
        losses=losses,
        left_out_losses=left_out_losses,
        left_out_predictions=logits[:, :, 1].argmax(-1).numpy(),
        travelled=np.array([job[0].measurements["distance_from_start"] for job in records], dtype=np.float64),
    )


def _size(spec: RunSpec) -> int:
    return len(split(load_task(spec.task), spec.training, spec.seeds.data).train)


def _checked(specs: Sequence[RunSpec]) -> int:
    """Check that a cohort can leave examples out, and return its number of training examples."""
    if not specs:
        raise UserError("leave-one-out needs at least one run")
    first = specs[0]
    if first.training.mode != "full":
        raise UserError("leave_one_out_full is for mode 'full': for head tuning use leave_one_out, on features")
    need_all_weights(first)
    for spec in specs:
        if (
            spec.model_dump(exclude={"seeds"}) != first.model_dump(exclude={"seeds"})
            or spec.seeds.data != first.seeds.data
        ):
            raise UserError("the runs may differ only in their init, order and dropout seeds")
    if len({spec.seeds.label for spec in specs}) < len(specs):
        raise UserError("two of the runs have the same seeds: each needs its own")
    task = load_task(first.task)
    labels = split(task, first.training, first.seeds.data).train.labels
    for method in first.stabilizers:
        if method.name in _INSIDE:
            raise Lost("refused", f"{method.name} compares states inside the encoder, where no example can be left out")
        alone = 1 in (first.training.batch_size, len(labels) % first.training.batch_size)
        if alone and any(map(method.has, _LOOK_AT_BATCHES)):
            raise Lost(
                "refused",
                f"one batch holds a single example, without which {method.name} has no input: "
                "choose another training.batch_size",
            )
    if not KINDS[task.kind].one_class:
        raise UserError(f"leave-one-out compares predicted classes, and task '{task.name}' is {KINDS[task.kind].noun}")
    if len(labels) < 3 or len(np.unique(labels)) < 2:
        raise UserError(f"task '{task.name}' needs at least 3 training examples of at least two classes")
    return len(labels)


def sampled(examples: int | Sequence[int] | NDArray[np.int64], n: int, training: Training) -> NDArray[np.int64]:
    """Return the indices of the examples to leave out of n; see `leave_one_out_full`.

    Raises:
        UserError: They are not in the training set.
    """
    if not isinstance(examples, int):
        return chosen_examples(examples, n)
    if not 1 <= examples <= n:
        raise UserError(f"examples must be 1 to {n}, the number of training examples, not {examples}")
    # A subset is the beginning of a random order: its first examples are a uniform sample, in every larger one too.
    if training.train_size is not None:
        return np.arange(examples)
    # As `tasks.splits.split` draws the order of all examples; there is no data seed, which would need a subset.
    return np.sort(np.random.default_rng(training.split_seed).permutation(n)[:examples])
