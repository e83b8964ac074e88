"""What a stabilizer is: parameters, and hooks that training calls. Every hook does nothing unless overridden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from steadytune.config import Config
from steadytune.stabilizers.context import Backward, Pretraining, Run, Step

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

Group = dict[str, Any]
Batches = Callable[[], Iterable[Mapping[str, "Tensor"]]]
Loss = Callable[[Mapping[str, "Tensor"]], "Tensor"]

OF_CLASSES = frozenset({"classification", "choice"})
"""Kinds of task whose labels are classes."""

EXCLUSIVE = {
    "wrap_head": "the last layer",
    "task_loss": "the task loss",
    "train_step": "the training step",
    "clip": "gradient clipping",
    "optimizer": "the optimizer",
    "final_weights": "the final weights",
}
"""Hook that only one stabilizer of a recipe may implement -> what it replaces."""


class Stabilizer(Config):
    """One published mitigation method.

    A subclass sets `name`, declares its parameters as fields, and overrides the hooks that it needs. It is immutable
    and serves many trainings at a time: what it keeps for one belongs into that one's `Run`. Where its strength is 0,
    its hooks must leave everything as it is, to the bit.

    The hooks stand in the order in which a training calls them.

    Attributes:
        name: What a recipe calls it.
        modes: The modes in which it means something. "head" calls `before_training` and no other hook.
        wrong_mode: What to say where it means nothing.
        kinds: Names of the kinds of task that it serves; empty for all.
        wrong_kind: What it does, as a sentence says it of the method, that other kinds lack.
    """

    name: ClassVar[str]
    modes: ClassVar[frozenset[str]] = frozenset({"full"})
    wrong_mode: ClassVar[str] = "this stabilizer works only in mode 'full'"
    kinds: ClassVar[frozenset[str]] = frozenset()
    wrong_kind: ClassVar[str] = "does not support this kind of task"

    def entry(self) -> dict[str, dict[str, Any]]:
        """Return the spelling of this stabilizer in a recipe, every parameter named: {name: {parameter: value}}."""
        return {self.name: self.model_dump(mode="json")}

    @classmethod
    def has(cls, hook: str) -> bool:
        """Whether this method overrides a hook."""
        return getattr(cls, hook) is not getattr(Stabilizer, hook)

    @classmethod
    def check_kind(cls, kind: str) -> None:
        """Raise ValueError if the method means nothing for a task of this kind."""
        if cls.kinds and kind not in cls.kinds:
            raise ValueError(f"{cls.name} {cls.wrong_kind}, but this task is a {kind}")

    def arguments(self) -> Mapping[str, Any]:
        """Return the `TrainingArguments` that this method is about, by name."""
        return {}

    # Once, on a fresh model.

    def before_training(self, encoder: nn.Module, context: Pretraining) -> Mapping[str, Any]:
        """Change the pre-trained weights, the same for all seeds; return what to record about it."""
        return {}

    def initialise(self, run: Run) -> None:
        """Draw weights anew, from the global random state, which belongs to the seed of new weights here."""

    def wrap_head(self, head: nn.Linear) -> nn.Module:
        """Return what shall stand in the place of the freshly initialised last layer."""
        return head

    def equip(self, run: Run) -> None:
        """Put modules, hooks or switches into the model, and callbacks that take them out again into `run.undo`.

        The weights are those that training starts from. Names in the model's state dict must not change.

        Raises:
            UserError: The model lacks what the method acts on.
        """

    def parameter_groups(self, run: Run, groups: list[Group]) -> list[Group]:
        """Return the optimizer's parameter groups; each weight must stay in one of them."""
        return groups

    def optimizer(self, run: Run, optimizer: Optimizer) -> Optimizer:
        """Return the optimizer that takes the place of this fresh one, with its parameter groups."""
        return optimizer

    def begin(self, run: Run, batches: Batches, loss: Loss) -> None:
        """Do what takes a look at the training set before the first step. A resumed training does not call it.

        Args:
            run: The training.
            batches: Called for a pass over the training set, batch by batch, in an order of its own.
            loss: The task loss of such a batch, in the graph; the model's mode is the caller's business.
        """

    # Every batch.

    def train_step(self, run: Run, inputs: Mapping[str, Tensor], backward: Backward) -> Tensor:
        """Make the gradient of one batch in another way than by one pass; return the loss.

        Args:
            run: The training.
            inputs: The batch.
            backward: Makes one pass and adds its gradient.
        """
        return backward()

    def task_loss(self, step: Step) -> Tensor | None:
        """Return a loss that replaces the task loss, or None."""

    def penalty(self, step: Step) -> Tensor | None:
        """Return a term to add to the loss, or None."""

    # Every step of the optimizer.

    def after_backward(self, run: Run) -> None:
        """Change the finished gradients, before they are clipped. Under float16 they are still scaled."""

    def clip(self, run: Run, weights: list[nn.Parameter]) -> Tensor:
        """Clip the gradients in the place of the global clip; return their norm before."""
        raise NotImplementedError

    def after_step(self, run: Run, rates: Mapping[nn.Parameter, float]) -> None:
        """Look at the new weights, or change them; `rates` has the learning rate that each was moved with."""

    # In the end.

    def final_weights(self, run: Run) -> Mapping[str, Tensor] | None:
        """Return weights to evaluate and to keep in the place of the trained ones of the same names, or None."""

    def unwrap_head(self, head: nn.Module) -> nn.Module:
        """Return the plain layer that the trained `head` amounts to."""
        return head
