"""Choice: one of each example's candidates is right; a model scores each separately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from steadytune.kinds.classification import Classification, check_classes, cross_entropies

if TYPE_CHECKING:
    from torch import Tensor, nn


class Choice(Classification):
    """A classification whose classes are an example's candidates: a class is merely a position."""

    name: ClassVar[str] = "choice"
    answer: ClassVar[str] = "choice"
    shared_classes: ClassVar[bool] = False
    candidates: ClassVar[bool] = True
    full_batch: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def outputs(self, classes: int) -> int:
        """Return 1: a candidate has one score."""
        return 1

    def batch(self, inputs: dict[str, Tensor], labels: Sequence[int]) -> dict[str, Tensor]:
        """Return inputs (b, c, T) and labels (b,)."""
        shaped = {name: tensor.view(len(labels), -1, tensor.shape[-1]) for name, tensor in inputs.items()}
        return super().batch(shaped, labels)

    def model(self, scorer: nn.Module) -> nn.Module:
        """Return a model of inputs (b, c, T)."""
        from steadytune.kinds.choice_model import ChoiceModel

        return ChoiceModel(scorer)

    def by_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logits (b, c) of the scores of all candidates."""
        return logits.view(len(labels), -1)

    def fits_labels(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether every example has equally many scores."""
        return logits.dim() <= 2 and logits.numel() % len(labels) == 0

    def row_classes(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """Return 1 for right candidates and 0 for the others."""
        from torch.nn.functional import one_hot

        return one_hot(labels, logits.numel() // len(labels)).flatten()

    def count_row_classes(self, logits: Tensor) -> int:
        """Return 2: right or wrong."""
        return 2

    def head_outputs(self, labels: Tensor, features: Tensor, loss: str, asked: int | None) -> int:
        """Return 1, the score of a candidate."""
        check_classes(labels, lambda most: features.shape[1])
        return 1

    def head_losses(self, logits: Tensor, targets: Tensor, loss: str) -> Tensor:
        """Return the cross-entropies over the candidates."""
        count, rows, heads, _ = logits.shape
        batch = targets.shape[1]
        return cross_entropies(logits.view(count, batch, rows // batch, heads).permute(0, 1, 3, 2), targets)


CHOICE = Choice()
