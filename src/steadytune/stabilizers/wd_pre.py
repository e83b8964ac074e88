"""Weight decay towards the pre-trained weights instead of towards zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import Group, Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


class WDPre(Stabilizer):
    """After each step move theta by -eta * lambda * (theta - theta_0), eta being the rate of that step and weight.

    Weights of the head decay to 0; all of a language model is pre-trained, and a weight with two uses decays once.
    Biases and norms are not decayed. It replaces the optimizer's own decoupled weight decay, which would pull to 0 what
    this pulls to theta_0.

    Source: the decay of Zhang et al., arXiv 2006.05987, one of the methods that they compare; they trace it to Wiese et
    al. 2017 (recalled). The formula, what is not decayed and lambda = 0.01 were read in their public code.

    Differs from public code: another public version also decays the head to its initial weights.

    Cost per step: one elementwise update, and a copy of the pre-trained weights in memory.

    Attributes:
        decay: lambda. At 0 the optimizer's own decay is unchanged.
    """

    name: ClassVar[str] = "wd_pre"
    wrong_mode: ClassVar[str] = "wd_pre regularises the encoder's weights, which mode 'head' freezes: use mode 'full'"

    decay: Annotated[float, Field(ge=0)] = 0.01

    def equip(self, run: Run) -> None:
        """Store the weights at the start of training."""
        if self.decay:
            for name, weight in run.parts.need_pretrained(self.name).items():
                if decays(name, weight):
                    run.state[name] = weight.detach().clone()

    def parameter_groups(self, run: Run, groups: list[Group]) -> list[Group]:
        """Switch off the optimizer's own decay."""
        return [{**group, "weight_decay": 0.0} for group in groups] if self.decay else groups

    def after_step(self, run: Run, rates: Mapping[nn.Parameter, float]) -> None:
        """Decay."""
        if self.decay:
            for name, weight in run.parts.trained().items():
                if decays(name, weight):
                    decay_towards(weight, run.state.get(name), rates[weight] * self.decay)


def decays(name: str, weight: Tensor) -> bool:
    """Return whether a weight belongs to neither a bias nor a norm; stacked biases of heads have two dimensions."""
    return weight.dim() > 1 and not name.endswith("bias")


def decay_towards(weight: Tensor, target: Tensor | None, share: float) -> None:
    """Move a weight by `share` of the way to a target, or to 0, in place."""
    if target is None:
        weight.mul_(1 - share)
    else:
        weight.lerp_(target, share)
