"""Centre loss: pull each class's features towards a centre that follows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.kinds import KINDS
from steadytune.stabilizers.base import OF_CLASSES, Stabilizer
from steadytune.stabilizers.context import Step
from steadytune.stabilizers.divergence import at_least_float

if TYPE_CHECKING:
    from torch import Tensor


class CentreLoss(Stabilizer):
    """Add weight / 2 * mean over examples of ||x - c_y||^2 to the loss; x is the last layer's input, c_y its centre.

    After each pass c_j <- c_j - rate * (sum over examples of class j of (c_j - x)) / (1 + their number). The centres
    start at 0 and receive no gradient.

    Whereas `mmr` pushes classes apart, this pulls each of them together; it is the within-class half of a margin.

    Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, equations 2
    to 4 (numbers, formulas and the defaults 0.003 and 0.5 cited from memory). The paper's formula sums over the batch;
    the mean here is that of the authors' code (recalled), and makes the weight independent of the batch size.

    Differs from much public code, which trains the centres with a separate optimizer: here there is no rate to tune
    besides the paper's. Starting at 0 is the toolkit's choice.

    For multiple choice the classes are the right and the wrong candidates. Processes of a distributed training
    update their centres by the mean of their updates.

    Cost per step: one product of a (classes, b) with a (b, d) matrix.

    Attributes:
        weight: lambda.
        rate: alpha, the step size of a centre.
    """

    name: ClassVar[str] = "centre_loss"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "centre_loss changes the encoder's features, which mode 'head' freezes: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_CLASSES
    wrong_kind: ClassVar[str] = "needs classes, one per example"

    weight: Annotated[float, Field(ge=0)] = 0.003
    rate: Annotated[float, Field(ge=0, le=1)] = 0.5

    def penalty(self, step: Step) -> Tensor | None:
        """Return the distance to the centres, then move them."""
        if self.weight == 0 or step.classes is None:
            return None
        features, run = at_least_float(step.features), step.run
        if "centres" not in run.state:
            classes = KINDS[run.kind].count_row_classes(step.logits)
            run.state["centres"] = features.new_zeros(classes, features.shape[-1])
        centres = run.state["centres"]
        # A copy, because the centres move before the gradient is computed.
        distance = (features - centres[step.classes]).square().sum(-1).mean()
        centres -= self.rate * run.average(centre_moves(features.detach(), step.classes, centres))
        return self.weight / 2 * distance


def centre_moves(features: Tensor, classes: Tensor, centres: Tensor) -> Tensor:
    """Return (classes, d): for each centre minus the sum of differences to its examples, over one plus their number.

    Args:
        features: (b, d) examples.
        classes: (b,) int64 class of each.
        centres: (classes, d).
    """
    import torch

    members = torch.nn.functional.one_hot(classes, len(centres)).to(features.dtype)
    counts = members.sum(0).unsqueeze(-1)
    with torch.autocast(features.device.type, enabled=False):
        return (counts * centres - members.T @ features) / (1 + counts)
