"""The task loss, and the kind of task that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from steadytune.errors import UserError

Criterion = Callable[[Tensor, Tensor], Tensor]


def task_criterion(kind: str, label_smoothing: float = 0.0) -> Criterion:
    """Return (logits (rows, outputs), labels (b,)) -> mean cross-entropy over classes or choices, or squared error.

    Raises:
        UserError: Label smoothing is asked for where labels are no classes.
    """
    if label_smoothing and kind == "regression":
        raise UserError("label smoothing needs classes, and this task is a regression")

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if logits.element_size() < 4:
            logits = logits.float()
        if kind == "regression":
            return nn.functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
        if kind == "choice":
            logits = logits.view(len(labels), -1)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


def kind_of(model: nn.Module) -> str:
    """Return the kind of task that a transformers model's configuration is made for.

    Raises:
        UserError: It is made for several labels per example.
    """
    config: Any = getattr(model, "config", None)
    if getattr(config, "problem_type", None) == "multi_label_classification":
        raise UserError("stabilizers speak of one class or one number per example: this model is made for many labels")
    return "regression" if getattr(config, "num_labels", 2) == 1 else "classification"
