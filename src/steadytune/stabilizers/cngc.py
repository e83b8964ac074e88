"""Component-wise gradient norm clipping: clip each weight tensor separately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn


class CNGC(Stabilizer):
    """Clip the gradient of each weight tensor to norm c: g <- g * min(1, c / ||g||_2).

    Gradient norms of tensors differ by orders of magnitude, so a global norm is dominated by the
    largest, and clipping it slows down all the others. Here each converges at its own pace.

    Source: Yang & Ma, arXiv 2210.10325. The formula was read in the authors' public code, which searches c from 0.01 to
    5; c = 1 is in that range and the toolkit's choice. The reason above is cited from memory.

    Differs from public code, which clips in a callback that runs after the Trainer's global clip and clips what is
    left. This replaces the global clip, whose limit no longer applies.

    Cost per step: that of the global clip.

    Attributes:
        limit: c.
    """

    name: ClassVar[str] = "cngc"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = (
        "cngc clips the encoder's gradients, which mode 'head' does not compute: use mode 'full'"
    )

    limit: Annotated[float, Field(gt=0)] = 1.0

    def clip(self, run: Run, weights: list[nn.Parameter]) -> Tensor:
        """Clip each gradient; return the global norm before clipping."""
        return clip_each(weights, self.limit)


def clip_each(weights: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Clip the gradient of each tensor to a norm, in place; return their joint norm before clipping."""
    import torch

    norms = []
    for weight in weights:
        if weight.grad is not None:
            norms.append(torch.linalg.vector_norm(weight.grad))
            weight.grad.mul_((limit / norms[-1].clamp(min=1e-12)).clamp(max=1))
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
