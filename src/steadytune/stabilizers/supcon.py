"""Supervised contrastive loss: make examples of one class more similar than those of different classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import OF_CLASSES, Stabilizer
from steadytune.stabilizers.context import Step
from steadytune.stabilizers.divergence import at_least_float

if TYPE_CHECKING:
    from torch import Tensor


class SupCon(Stabilizer):
    """Replace the task loss L by (1 - weight) * L + weight * S.

    S is the mean over examples i that have another of their class in the batch of
    -mean over those j of log( exp(x_i.x_j / t) / sum over all k other than i of exp(x_i.x_k / t) ),
    x being the input features of the last layer, divided by their norm.

    Source: S is that of Khosla et al., arXiv 2004.11362, equation 2 (number recalled: the mean outside of the log); its
    mixture with the task loss in fine-tuning is that of Gunel et al., arXiv 2011.01403, who read the normalised CLS
    state. weight = 0.9 and t = 0.3 are recalled as that paper's best; they are tuned there from task to task.

    Differs from the papers, which sum S over the batch: the mean makes the weight independent of the batch size. S is 0
    if no class occurs twice in a batch. There is no second view of an example, as in Gunel et al. Nor is there a
    projection. Each process of a distributed training contrasts its own part of a batch.

    For multiple choice the classes are the right and the wrong candidates.

    Cost per step: one (b, d) by (d, b) product.

    Attributes:
        weight: lambda.
        temperature: t.
    """

    name: ClassVar[str] = "supcon"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "supcon changes the encoder's features, which mode 'head' freezes: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_CLASSES
    wrong_kind: ClassVar[str] = "needs classes, one per example"

    weight: Annotated[float, Field(ge=0, lt=1)] = 0.9
    temperature: Annotated[float, Field(gt=0)] = 0.3

    def task_loss(self, step: Step) -> Tensor | None:
        """Return the mixture."""
        if self.weight == 0 or step.classes is None:
            return None
        task = step.criterion(step.logits, step.labels)
        return (1 - self.weight) * task + self.weight * contrast(step.features, step.classes, self.temperature)


def contrast(features: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return S of the class docstring.

    Args:
        features: (b, d) encoded examples, of any norm.
        classes: (b,) int64 classes.
        temperature: t.
    """
    import torch

    rows = torch.nn.functional.normalize(at_least_float(features), dim=-1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    partner = (classes[:, None] == classes) & ~itself
    if not partner.any():
        return rows.new_zeros(())
    with torch.autocast(rows.device.type, enabled=False):
        alike = rows @ rows.T / temperature
    logs = alike - alike.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    partners = partner.sum(1)
    losses = -logs.masked_fill(~partner, 0).sum(1) / partners.clamp(min=1)
    return losses.sum() / (partners > 0).sum()
