"""Leave-one-out stability of full fine-tuning, on a sample of examples, by the training that every run goes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.kinds.base import Criterion
from steadytune.models.modules import find_head
from steadytune.models.random_state import preserved_random_state
from steadytune.models.states import logits_of
from steadytune.study import RunSpec, Training
from steadytune.theory.inputs import chosen_examples
from steadytune.theory.loo.heads import canonical, direction, head_losses
from steadytune.theory.loo.stability import Differences, Float64Array, Stability
from steadytune.training.data import Row, RunData, run_data
from steadytune.training.full import RunTrainer, fine_tune, outputs_of
from steadytune.training.loading import quiet
from steadytune.training.run_record import Diverged

_KEPT = "kept"
_INSIDE = {"lnsr"}
_LOOK_AT_BATCHES = ("penalty", "task_loss", "train_step")


HOW = (
    "The left-out example stays in its batch, so that every other example is padded, ordered and masked by dropout as "
    "before; what reaches the last layer is taken out of it, before the loss and all penalties.",
    "A method that re-trains the encoder on the texts, such as surt, still reads the text of the example.",
)
"""How an example is left out."""


class Unmeasured(UserError):
    """Leave-one-out of these runs cannot be had, which says nothing of other runs.

    Attributes:
        status: "diverged" if a training did, "refused" if a method cannot be told to leave an example out.
    """

    def __init__(self, status: Literal["diverged", "refused"], reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, repr=False)
class FullStability(Stability):
    """Leave-one-out stability of full fine-tuning. Directions are those of the last layer, whose features move as well.

    Attributes:
        travelled: (S,) distance of the encoder's weights of A(S) from where fine-tuning started.
    """

    travelled: Float64Array

    def describe(self) -> list[str]:
        """Return sentences: what was compared, and what the numbers do not cover."""
        return [*super().describe(), *HOW]


def leave_one_out_full(
    specs: Sequence[RunSpec],
    examples: int | Sequence[int] | NDArray[np.int64],
    *,
    cache: Path,
    progress: Callable[[float], None] = lambda share: None,
) -> FullStability:
    """Fine-tune A(S) and A(S^i) for each of some examples and each run's seeds, and compare.

    An example is left out by the weight 0, not by its removal: of a batch of b with it, the loss is the sum over the
    b - 1 others divided by b. Order, batches, padding, number of steps, schedule and the dropout masks of all others
    stay what they are, which a removal would shift from the first step on. Removed rows also do not enter penalties
    such as that of MMR, which are not rescaled.

    Cost: S (m + 1) trainings. Memory: the weights of S + 1 models.

    Args:
        specs: Runs that differ in their init, order and dropout seeds alone.
        examples: Indices in the training set of the runs, as it is cut to `train_size`; or how many to take of the
            order in which `split_seed` draws training sets: the first, so the same ones at every `train_size`.
        cache: Folder of what seeds share.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The runs are no cohort in full fine-tuning on classes, or the examples are none of theirs.
        Unmeasured: A method cannot be told to leave an example out, or a training diverged.
    """
    data = _checked(specs)
    torch.set_num_threads(specs[0].training.threads)
    chosen = _sampled(examples, len(data.train), specs[0].training)
    rows = [data.train.rows[i] for i in chosen]
    labels = torch.from_numpy(data.splits.train.labels[chosen])
    trainings = _Trainings(data, cache, progress, len(specs) * (len(chosen) + 1))
    with quiet(), preserved_random_state():
        whole = [trainings.outcome(spec, rows) for spec in specs]
        apart = []
        left_out_logits = torch.zeros(len(specs), len(rows), data.task.num_outputs)
        for k, (spec, known) in enumerate(zip(specs, whole, strict=True)):
            for j, row in enumerate(rows):
                other = trainings.outcome(spec, [row], left_out=row)
                left_out_logits[k, j] = other.logits[0]
                apart.append(known.apart(other))
    losses, left_out_losses = (
        head_losses(logits.double(), labels.expand(len(specs), -1), "softmax").numpy()
        for logits in (torch.stack([one.logits for one in whole]), left_out_logits)
    )
    over_examples = np.array(apart).reshape(len(specs), len(rows), 3)
    over_seeds = np.array([[one.apart(other) for other in whole] for one in whole])
    gaps = np.abs(losses[:, None] - losses).mean(-1)
    return FullStability(
        n=len(data.train),
        examples=chosen,
        seeds=tuple(spec.seeds.label for spec in specs),
        leave_one_out=_differences(over_examples, np.abs(left_out_losses - losses)),
        seed=_differences(over_seeds, gaps),
        losses=losses,
        left_out_losses=left_out_losses,
        left_out_predictions=left_out_logits.argmax(-1).numpy(),
        travelled=np.array([one.travelled for one in whole]),
    )


@dataclass(frozen=True)
class _Outcome:
    """What is kept of a trained model.

    Attributes:
        weights: By name.
        head: (classes, d) last layer, scaled to norm 1.
        predictions: (N,) classes of the measured examples.
        logits: (k, classes) of the examples that it was asked about.
        travelled: Distance of the encoder's weights from their start, with every example.
    """

    weights: Mapping[str, Tensor]
    head: Tensor
    predictions: NDArray[np.int64]
    logits: Tensor
    travelled: float

    def apart(self, other: _Outcome) -> tuple[float, float, float]:
        """Return how far weights, directions and predictions lie apart."""
        squares = [
            float((weight - other.weights[name]).double().square().sum()) for name, weight in self.weights.items()
        ]
        disagreement = float((self.predictions != other.predictions).mean())
        return math.sqrt(sum(squares)), float((self.head - other.head).norm()), disagreement


class _Trainings:
    """Trains one model after the other and says how much is done."""

    def __init__(self, data: RunData, cache: Path, progress: Callable[[float], None], total: int) -> None:
        self.data, self.cache, self.progress, self.total = data, cache, progress, total
        self.done = 0

    def outcome(self, spec: RunSpec, asked: Sequence[Row], left_out: Row | None = None) -> _Outcome:
        """Train a run, with or without one example, and ask it about some."""
        make = RunTrainer if left_out is None else partial(_WithoutOne, left_out=left_out)
        try:
            trainer = fine_tune(spec, self.data, self.cache, self._report, make)
        except Diverged as error:
            which = "" if left_out is None else " without an example"
            reason = f"the training with the seeds {spec.seeds.label}{which} diverged: {error}"
            raise Unmeasured("diverged", reason) from error
        self.done += 1
        self._report(0)
        data, model = self.data, trainer.model
        device, bf16 = trainer.args.device, spec.training.precision == "bf16"
        measured, _ = outputs_of(model, data.measure, data.collate, device, bf16)
        # One by one: what an example is padded to must not depend on what it is asked together with.
        logits, _ = logits_of(model, [data.collate([row]) for row in asked], device, bf16)
        _, _, head = find_head(model)
        return _Outcome(
            weights={name: weight.detach().cpu().clone() for name, weight in model.named_parameters()},
            head=direction(canonical(head.weight.detach().cpu().double(), "softmax")),
            predictions=measured.argmax(1),
            logits=torch.from_numpy(logits),
            travelled=trainer.distance() if left_out is None else math.nan,
        )

    def _report(self, share: float) -> None:
        self.progress((self.done + share) / self.total)


class _WithoutOne(RunTrainer):
    """Trains as a run does, and takes one example out of what reaches the last layer."""

    def __init__(self, *args: Any, left_out: Row) -> None:
        super().__init__(*args)
        self.kept: Tensor | None = None
        collate, criterion = self.data.collate, self.stabilization.criterion
        # The data set hands out the row itself, so that it is known by its identity.
        self.data_collator = lambda rows: {**collate(rows), _KEPT: torch.tensor([row is not left_out for row in rows])}
        self.stabilization.criterion = partial(self._counted, criterion)
        # Before the stabilizers look at what enters the last layer.
        self._filter = self.stabilization.head.register_forward_pre_hook(self._take_out, prepend=True)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if _KEPT in prepared:
            self.kept = prepared.pop(_KEPT)
            prepared["labels"] = prepared["labels"][self.kept]
        return prepared

    def _take_out(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.kept is None:
            return None
        if inputs[0].dim() != 2:
            raise Unmeasured(
                "refused", "this model's own head scores every token: set training.pooling to last, to leave one out"
            )
        return (inputs[0][self.kept], *inputs[1:])

    def _counted(self, criterion: Criterion, logits: Tensor, labels: Tensor) -> Tensor:
        assert self.kept is not None
        # The mean over nothing is not a number, and what it should be is 0.
        return criterion(logits, labels) * (len(labels) / len(self.kept)) if len(labels) else 0 * logits.sum()

    def pick_epoch(self) -> None:
        """Score the half that picks the epoch, with every example in it."""
        self.kept = None
        super().pick_epoch()

    def unequip(self) -> None:
        """Make the model plain."""
        self._filter.remove()
        super().unequip()


def _differences(apart: Float64Array, loss: Float64Array) -> Differences:
    return Differences(weights=apart[..., 0], directions=apart[..., 1], predictions=apart[..., 2], loss=loss)


def _checked(specs: Sequence[RunSpec]) -> RunData:
    if not specs:
        raise UserError("leave-one-out needs at least one run")
    first = specs[0]
    if first.training.mode != "full":
        raise UserError("leave_one_out_full is for mode 'full': leave_one_out has head tuning, on its features")
    for spec in specs:
        if (
            spec.model_dump(exclude={"seeds"}) != first.model_dump(exclude={"seeds"})
            or spec.seeds.data != first.seeds.data
        ):
            raise UserError("the runs must differ in their init, order and dropout seeds alone")
    if len({spec.seeds.label for spec in specs}) < len(specs):
        raise UserError("two of the runs have the same seeds: each must have others")
    data = run_data(first)
    labels = data.splits.train.labels
    for method in first.stabilizers:
        if method.name in _INSIDE:
            raise Unmeasured(
                "refused", f"{method.name} compares states inside the encoder, where no example can be left out"
            )
        alone = 1 in (first.training.batch_size, len(labels) % first.training.batch_size)
        if alone and any(map(method.has, _LOOK_AT_BATCHES)):
            raise Unmeasured(
                "refused",
                f"there is a batch of one example, without which {method.name} has nothing to look at: "
                "choose another training.batch_size",
            )
    if not KINDS[data.task.kind].shared_classes:
        raise UserError(f"leave-one-out compares predicted classes, and task '{data.task.name}' is a {data.task.kind}")
    if len(labels) < 3 or len(np.unique(labels)) < 2:
        raise UserError(f"task '{data.task.name}' needs at least 3 training examples of at least two classes")
    return data


def _sampled(examples: int | Sequence[int] | NDArray[np.int64], n: int, training: Training) -> NDArray[np.int64]:
    if not isinstance(examples, int):
        return chosen_examples(examples, n)
    if not 1 <= examples <= n:
        raise UserError(f"examples must be 1 to {n}, the number of training examples, not {examples}")
    # A subset is the beginning of a random order, which is a uniform sample already, and is in every larger subset.
    if training.train_size is not None:
        return np.arange(examples)
    # `tasks.splits.split` draws that order of all examples so; data seeds need a subset.
    return np.sort(np.random.default_rng(training.split_seed).permutation(n)[:examples])
