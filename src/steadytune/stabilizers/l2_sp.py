"""L2-SP: a quadratic penalty on the distance from the pre-trained weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run, Step

if TYPE_CHECKING:
    from torch import Tensor


class L2SP(Stabilizer):
    """Add alpha/2 * ||w - w_0||^2 + beta/2 * ||w_head||^2 to the loss; w are all weights of the pre-trained part.

    All of a language model is pre-trained, so that there is no second term; a weight with two uses counts once.

    Unlike `wd_pre` it goes through the optimizer, so Adam rescales it like the rest of the gradient.

    Source: Li, Grandvalet & Davoine, arXiv 1802.01483, equation 2 (number recalled). Formula and beta = 0.01 are
    recalled; alpha = 0.01 is the toolkit's choice: in the paper it is tuned, and it was made for image models and SGD.

    Cost per step: one squared distance over all weights, and a copy of the pre-trained ones in memory.

    Attributes:
        alpha: Strength of the pull towards the pre-trained weights.
        beta: Strength of the pull of the head towards 0.
    """

    name: ClassVar[str] = "l2_sp"
    wrong_mode: ClassVar[str] = "l2_sp regularises the encoder's weights, which mode 'head' freezes: use mode 'full'"

    alpha: Annotated[float, Field(ge=0)] = 0.01
    beta: Annotated[float, Field(ge=0)] = 0.01

    @classmethod
    def reads_outputs(cls) -> bool:
        """Return False: the penalty is one on weights."""
        return False

    def equip(self, run: Run) -> None:
        """Store the weights at the start of training."""
        for name, weight in run.parts.need_pretrained(self.name).items():
            run.state[name] = weight.detach().clone()

    def penalty(self, step: Step) -> Tensor | None:
        """Return the two terms."""
        if self.alpha == self.beta == 0:
            return None
        weights, start = step.run.parts.trained(), step.run.state
        head = [weight for name, weight in weights.items() if name not in start]
        moved = squared_norm(weights[name] - start[name] for name in weights if name in start)
        penalty = self.alpha / 2 * moved
        return penalty + self.beta / 2 * squared_norm(head) if head else penalty


def squared_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of the squares of all entries of all tensors."""
    import torch

    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()
