"""Regression: each example has a target, and a model predicts a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds.base import Criterion, Kind
from steadytune.kinds.classification import at_least_single

if TYPE_CHECKING:
    from torch import Tensor


class Regression(Kind):
    """One number per example, one output, squared error."""

    name: ClassVar[str] = "regression"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "numbers"
    answer: ClassVar[str] = "number"
    trained: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "rmse", "mse", "mae", "r2")
    task_metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearman")

    def check_outputs(self, name: str, outputs: NDArray[Any]) -> None:
        """Reject outputs that are not logits of shape (examples, 1)."""
        if name == "probabilities":
            raise ValueError("a regression has no probabilities: give its predictions as logits of shape (examples, 1)")
        if outputs.ndim != 2 or not len(outputs) or outputs.shape[1] != 1:
            raise ValueError(f"logits of a regression must have shape (examples, 1), not {outputs.shape}")

    def check_labels(
        self, labels: NDArray[Any] | None, names: Sequence[str] | None, name: str, outputs: NDArray[Any]
    ) -> None:
        """Accept everything: a target is any finite number."""

    def kept_labels(self, labels: Any) -> Any:
        """Return the targets unchanged."""
        return labels

    def outputs(self, classes: int) -> int:
        """Return 1."""
        return 1

    def batch(self, inputs: dict[str, Tensor], labels: Sequence[float]) -> dict[str, Tensor]:
        """Return the inputs and float32 targets (b,)."""
        import torch

        return {**inputs, "labels": torch.tensor(labels, dtype=torch.float32)}

    def criterion(self, label_smoothing: float = 0.0) -> Criterion:
        """Return the mean squared error."""
        from torch.nn.functional import mse_loss

        if label_smoothing:
            raise UserError("label smoothing needs classes, and this task is a regression")

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            logits = at_least_single(logits)
            return mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))

        return loss

    def check_batch_labels(self, labels: Tensor, examples: str = "training set") -> int | None:
        """Check that targets are finite."""
        if not bool(labels.isfinite().all()):
            raise UserError(f"a target is not a finite number: remove such examples from the {examples}")
        return None

    def fits_labels(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether there is one output for each target."""
        return logits.numel() == labels.numel()

    def head_outputs(self, labels: Tensor, features: Tensor, loss: str, asked: int | None) -> int:
        """Return 1."""
        return 1

    def head_losses(self, logits: Tensor, targets: Tensor, loss: str) -> Tensor:
        """Return the squared errors."""
        return (logits.squeeze(-1) - targets[..., None]).square()


REGRESSION = Regression()
