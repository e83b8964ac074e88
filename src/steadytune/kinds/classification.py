"""Classification: each example belongs to one of a fixed set of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from steadytune.errors import UserError
from steadytune.kinds.base import Criterion, Kind

if TYPE_CHECKING:
    from torch import Tensor


class Classification(Kind):
    """One label per example, one output per class, cross-entropy."""

    name: ClassVar[str] = "classification"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "classes"
    shared_classes: ClassVar[bool] = True
    trained: ClassVar[bool] = True
    full_batch: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "f1",
        "f1_macro",
        "matthews",
        "balanced_accuracy",
        "f1_weighted",
        "f1_micro",
        "roc_auc",
    )
    task_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def criterion(self, label_smoothing: float = 0.0) -> Criterion:
        """Return the mean cross-entropy."""
        from torch.nn.functional import cross_entropy

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            logits = self.by_example(at_least_single(logits), labels)
            return cross_entropy(logits, labels, label_smoothing=label_smoothing)

        return loss

    def by_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logits (rows, outputs) as (b, classes)."""
        return logits

    def check_batch_labels(self, labels: Tensor, examples: str = "training set") -> int | None:
        """Check that labels are classes: (b,) integers from 0."""
        import torch

        if labels.dim() != 1:
            raise UserError(
                f"stabilizers need one label per example: the labels of a {self.name} have shape ({len(labels)},), "
                f"not {tuple(labels.shape)}"
            )
        if labels.is_floating_point():
            raise UserError(
                f"the labels of a {self.name} must be integers, not {labels.dtype}: are there several per example?"
            )
        if not len(labels):
            return None
        # In a single transfer from the device, because it happens in every step.
        lowest, highest = torch.stack(torch.aminmax(labels)).tolist()
        if lowest < 0:
            raise UserError(f"a label is {lowest}: remove examples without a class from the {examples}")
        return int(highest)

    def fits_labels(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether there is a row of outputs for each label."""
        return logits.dim() == 2

    def row_classes(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """Return the labels."""
        return labels

    def head_outputs(self, labels: Tensor, features: Tensor, loss: str, asked: int | None) -> int:
        """Return one output per class; a single one for two classes with a logistic loss."""

        def count(most: int) -> int:
            if asked is None:
                return max(2, most + 1)
            if loss == "softmax" and asked < 2:
                raise UserError(f"num_outputs is {asked}: softmax needs one output per class, at least 2")
            return max(2, asked)

        classes = check_classes(labels, count)
        return 1 if loss == "logistic" and classes == 2 and asked in (None, 1) else classes

    def head_losses(self, logits: Tensor, targets: Tensor, loss: str) -> Tensor:
        """Return the cross-entropies, or the logistic losses summed over the outputs."""
        import torch

        if loss == "logistic":
            outputs = logits.shape[-1]
            positive = torch.arange(outputs, device=targets.device) if outputs > 1 else targets.new_ones(1)
            signs = torch.where(targets[:, :, None, None] == positive, 1, -1)
            return -torch.nn.functional.logsigmoid(signs * logits).sum(-1)
        return cross_entropies(logits, targets)


def at_least_single(logits: Tensor) -> Tensor:
    """Convert half precision to single precision, so that losses are not lost to rounding."""
    return logits.float() if logits.element_size() < 4 else logits


def check_classes(labels: Tensor, count: Callable[[int], int]) -> int:
    """Return the number of classes.

    Args:
        labels: (n,).
        count: The largest label -> the number of classes.

    Raises:
        UserError: The labels are not integers from 0 and below that number.
    """
    if labels.is_floating_point():
        raise UserError(f"labels are {labels.dtype}: integers from 0 are needed")
    least, most = int(labels.min()), int(labels.max())
    classes = count(most)
    if least < 0 or most >= classes:
        raise UserError(f"labels range from {least} to {most}: they must be 0 to {classes - 1}")
    return classes


def cross_entropies(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (B, b, H) from logits (B, b, H, classes) and targets (B, b)."""
    log_probabilities = logits.log_softmax(-1)
    chosen = targets[:, :, None, None].expand(-1, -1, logits.shape[2], 1)
    return -log_probabilities.gather(-1, chosen).squeeze(-1)


CLASSIFICATION = Classification()
