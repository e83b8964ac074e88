"""What kinds of task have in common whose examples have a label for every token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from steadytune.errors import UserError
from steadytune.kinds.base import Criterion, Kind
from steadytune.kinds.classification import at_least_single
from steadytune.kinds.encoding import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


class PerToken(Kind):
    """Labels (b, T), one for each of the model's outputs (b, T, C), of which those that are -100 do not count."""

    labelled: ClassVar[str] = "token"
    pooled: ClassVar[bool] = False

    def criterion(self, label_smoothing: float = 0.0) -> Criterion:
        """Return the mean cross-entropy of the labels that count; 0 for a batch without any."""
        from torch.nn.functional import cross_entropy

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            total = cross_entropy(
                at_least_single(logits).flatten(0, -2),
                labels.flatten(),
                reduction="sum",
                ignore_index=IGNORED,
                label_smoothing=label_smoothing,
            )
            return total / (labels != IGNORED).sum().clamp(min=1)

        return loss

    def counted(self, labels: Tensor) -> Tensor:
        """Return the labels that are not -100."""
        return labels != IGNORED

    def check_batch_labels(self, labels: Tensor, examples: str = "training set") -> int | None:
        """Check that labels are classes of tokens: (b, T) integers from 0, or -100."""
        import torch

        if labels.dim() != 2 or labels.is_floating_point():
            raise UserError(
                f"for {self.name} the labels must be integers (examples, tokens), not {labels.dtype} of shape "
                f"{tuple(labels.shape)}"
            )
        if not labels.numel():
            return None
        # In a single transfer from the device, because it happens in every step.
        lowest, highest = torch.stack(torch.aminmax(labels.masked_fill(labels == IGNORED, 0))).tolist()
        if lowest < 0:
            raise UserError(f"a label is {lowest}: give tokens of the {examples} that do not count the label {IGNORED}")
        return int(highest)

    def fits_labels(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether there is a row of outputs for each label."""
        return logits.dim() == 3 and logits.shape[:2] == labels.shape
