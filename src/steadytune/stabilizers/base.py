"""Base class of stabilizers: parameters, and hooks called by training. Every hook does nothing unless overridden."""

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
"""Kinds of task with one class per example."""

OF_DISTRIBUTIONS = OF_CLASSES | {"generation", "tokens"}
"""Kinds of task whose outputs are distributions over classes, or over the words that a token may be."""

WITH_NEW_HEAD = OF_CLASSES | {"regression", "tokens"}
"""Kinds of task whose models have a last layer of their own, drawn anew and shared with no other part."""

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
    and shared by many trainings: the state of each belongs in its `Run`. At strength 0
    its hooks must leave everything unchanged, to the bit.

    The hooks are listed in the order in which a training calls them.

    Attributes:
        name: Its name in recipes.
        modes: The modes that it supports. "head" calls `before_training` and no other hook.
        wrong_mode: Error message for other modes.
        kinds: Names of the kinds of task that it supports; empty for all.
        wrong_kind: Why it does not support other kinds, as the predicate of a sentence about the method.
        whole_embeddings: Whether it looks, in training, at weights of the word embeddings or at something of their
            shape. False lets studies leave out the rows of words that occur in no training example, which changes no
            bit of what is left.
    """

    name: ClassVar[str]
    modes: ClassVar[frozenset[str]] = frozenset({"full"})
    wrong_mode: ClassVar[str] = "this stabilizer works only in mode 'full'"
    kinds: ClassVar[frozenset[str]] = frozenset()
    wrong_kind: ClassVar[str] = "does not support this kind of task"
    whole_embeddings: ClassVar[bool] = True

    def entry(self) -> dict[str, dict[str, Any]]:
        """Return this stabilizer as an entry of a recipe with every parameter: {name: {parameter: value}}."""
        return {self.name: self.model_dump(mode="json")}

    @classmethod
    def has(cls, hook: str) -> bool:
        """Return whether this stabilizer overrides a hook."""
        return getattr(cls, hook) is not getattr(Stabilizer, hook)

    @classmethod
    def reads_outputs(cls) -> bool:
        """Return whether it acts on logits or the last layer, so that the loss must be one of logits and labels.

        A method whose penalty needs neither says so by overriding this: it then serves any trainer, whatever its loss.
        """
        return any(map(cls.has, ("wrap_head", "task_loss", "penalty")))

    @classmethod
    def serves(cls, kind: str) -> bool:
        """Return whether the stabilizer supports this kind of task."""
        return not cls.kinds or kind in cls.kinds

    @classmethod
    def check_kind(cls, kind: str) -> None:
        """Raise ValueError if the stabilizer does not support this kind of task."""
        if not cls.serves(kind):
            raise ValueError(f"{cls.name} {cls.wrong_kind}, but this task is of the kind '{kind}'")

    def arguments(self) -> Mapping[str, Any]:
        """Return the `TrainingArguments` that this stabilizer sets, by name."""
        return {}

    # Once, on a fresh model.

    def before_training(self, encoder: nn.Module, context: Pretraining) -> Mapping[str, Any]:
        """Change the pre-trained weights, identically for all seeds; return measurements to record."""
        return {}

    def initialise(self, run: Run) -> None:
        """Re-initialise weights from the global random state, which here belongs to the init seed."""

    def wrap_head(self, head: nn.Linear) -> nn.Module:
        """Return the replacement of the newly initialised last layer."""
        return head

    def equip(self, run: Run) -> None:
        """Install modules, hooks or switches in the model, and callbacks that remove them in `run.undo`.

        The weights are those at the start of training. Names in the model's state dict must not change.

        Raises:
            UserError: The model lacks what the stabilizer acts on.
        """

    def parameter_groups(self, run: Run, groups: list[Group]) -> list[Group]:
        """Return the optimizer's parameter groups; each weight must stay in one of them."""
        return groups

    def optimizer(self, run: Run, optimizer: Optimizer) -> Optimizer:
        """Return the optimizer that replaces this new one, with its parameter groups."""
        return optimizer

    def begin(self, run: Run, batches: Batches, loss: Loss) -> None:
        """Do what needs the training set before the first step. A resumed training does not call it.

        Args:
            run: The training.
            batches: Called for a pass over the training set, batch by batch, in a separate order.
            loss: The task loss of such a batch, in the graph; the caller sets the model's mode.
        """

    # Every batch.

    def train_step(self, run: Run, inputs: Mapping[str, Tensor], backward: Backward) -> Tensor:
        """Compute the gradient of one batch differently from a single pass; return the loss.

        Args:
            run: The training.
            inputs: The batch.
            backward: Runs one pass and adds its gradient.
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
        """Clip the gradients instead of the global clip; return their norm before clipping."""
        raise NotImplementedError

    def after_step(self, run: Run, rates: Mapping[nn.Parameter, float]) -> None:
        """Observe or change the new weights; `rates` has the learning rate of each weight's update."""

    # At the end.

    def final_weights(self, run: Run) -> Mapping[str, Tensor] | None:
        """Return weights to evaluate and keep instead of the trained ones of the same names, or None."""

    def unwrap_head(self, head: nn.Module) -> nn.Module:
        """Return the plain layer that is equivalent to the trained `head`."""
        return head
