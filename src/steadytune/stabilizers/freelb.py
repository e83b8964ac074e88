"""FreeLB: adversarial embeddings, with the gradients of all ascent steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Backward, Run

if TYPE_CHECKING:
    from torch import Tensor


class FreeLB(Stabilizer):
    """Train on embeddings + delta for K perturbations, each one ascent step stronger than the last.

    delta_0 ~ U(-radius, radius) / sqrt(n d) for n tokens of width d; then delta <- delta + alpha * g / ||g||, g being
    the gradient of the loss by delta, projected to ||delta|| <= radius; norms are those of one example. The weights get
    the mean of the K gradients. All K passes of a batch use the same dropout masks.

    Source: Zhu et al., arXiv 1909.11764, algorithm 1 (number recalled). The formula, alpha = 0.1 and K = 3 were read in
    the authors' public code; the radius differs there from task to task, and 0.15 is the toolkit's choice. That the
    masks are the same is the paper's (recalled).

    Penalties of other stabilizers are part of the loss, including the one that the perturbation maximises. In an
    encoder-decoder the encoder's input is perturbed. Padding is not.

    Cost per step: K forward and backward passes instead of one.

    Attributes:
        steps: K.
        step_size: alpha.
        radius: Largest norm of the perturbation of an example. At 0 there is one plain pass.
    """

    name: ClassVar[str] = "freelb"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "freelb perturbs the encoder, which mode 'head' freezes: use mode 'full'"

    steps: Annotated[int, Field(ge=1, le=1000)] = 3
    step_size: Annotated[float, Field(gt=0)] = 0.1
    radius: Annotated[float, Field(ge=0)] = 0.15

    def equip(self, run: Run) -> None:
        """Check that there are embeddings."""
        run.parts.need_embeddings(self.name)

    def train_step(self, run: Run, inputs: Mapping[str, Tensor], backward: Backward) -> Tensor:
        """Run K passes, each on a stronger perturbation."""
        if self.radius == 0:
            return backward()
        import torch

        from steadytune.stabilizers.adversary import Perturbation

        # One number from the global state for each batch: the passes themselves must all draw the same dropout masks.
        seed = int(torch.randint(2**31, ()))
        attack = Perturbation(self.radius, inputs.get("attention_mask"), seed)
        embeddings = run.parts.need_embeddings(self.name)
        losses = []
        for k in range(self.steps):
            if k:
                attack.climb(self.step_size)
            losses.append(backward({embeddings: attack}, 1 / self.steps))
        return torch.stack(losses).sum()
