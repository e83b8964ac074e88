"""HyPe: noise on the hidden states that enter each block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor


class HyPe(Stabilizer):
    """Replace the hidden states h before each block by h + eps * z while training; z ~ N(0, 1) or U(-1, 1).

    Source: Yuan et al., arXiv 2212.08853. The formula and its default, eps = 1e-5, were read in the authors' public
    code.

    Differs from it: its uniform noise is U(0, eps), which is not centred. ALBERT's shared block gets noise each time it
    is entered.

    Cost per step: drawing the noise.

    Attributes:
        eps: Size of the noise.
        noise: Its distribution.
    """

    name: ClassVar[str] = "hype"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "hype perturbs the encoder during training, which mode 'head' freezes: use mode 'full'"

    eps: Annotated[float, Field(ge=0)] = 1e-5
    noise: Literal["normal", "uniform"] = "normal"

    def equip(self, run: Run) -> None:
        """Hook the blocks."""
        if self.eps == 0:
            return
        from steadytune.stabilizers.surgery import change_input

        for block in run.parts.need_blocks(self.name):
            run.undo.callback(change_input(block, self._perturb, training_only=True).remove)

    def _perturb(self, states: Tensor) -> Tensor:
        return perturb(states, self.eps, self.noise)


def perturb(states: Tensor, eps: float, noise: str) -> Tensor:
    """Add eps * z, z drawn from the global random state.

    Args:
        states: (..., d).
        eps: Size of the noise.
        noise: "normal" for z ~ N(0, 1), "uniform" for U(-1, 1).
    """
    import torch

    drawn = torch.empty_like(states)
    return states + eps * (drawn.normal_() if noise == "normal" else drawn.uniform_(-1, 1))
