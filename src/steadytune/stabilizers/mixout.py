"""Mixout: dropout that reverts to the pre-trained weights instead of zero."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor


class Mixout(Stabilizer):
    """Compute each training pass with W~ = ((1 - M) W_0 + M W - p W_0) / (1 - p), M ~ Bernoulli(1 - p).

    M has one number per input column of a linear layer; E W~ = W, and the gradient is M / (1 - p) times that of W~. In
    expectation it is a penalty on the distance from the pre-trained weights, whose strength follows the loss's own
    curvature. Linear layers of the pre-trained part are mixed; the head, embeddings and biases are not, and neither is
    the last layer of a language model, whose weight is often that of the embeddings.

    Source: Lee, Cho & Kang, arXiv 1909.11299, equation 5 (number recalled). p = 0.1 is the default of public code; the
    paper uses 0.7 to 0.9 (recalled). As in public code, mixout replaces all dropout, which is switched off.

    Differs from public code: its gradient lacks the 1 / (1 - p), and it keeps W_0 as a buffer that is saved with the
    model. Here W_0 is saved only beside checkpoints, and the saved model is a plain one. Each forward pass draws its
    own masks, so that accumulating gradients over small batches draws more of them than one large batch.

    Cost per step: a few elementwise operations per weight, and a copy of the mixed weights in memory.

    Attributes:
        p: Probability of reverting to the pre-trained weight.
    """

    name: ClassVar[str] = "mixout"
    wrong_mode: ClassVar[str] = "mixout mixes the encoder's weights, which mode 'head' freezes: use mode 'full'"

    p: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def equip(self, run: Run) -> None:
        """Replace linear layers by mixing ones, and switch dropout off."""
        if self.p == 0:
            return
        from torch import nn

        from steadytune.stabilizers.layers import MixLinear
        from steadytune.stabilizers.surgery import silence_dropout, swap_modules

        weights = run.parts.need_pretrained(self.name)
        names = {id(weight): name for name, weight in weights.items()}
        mixed: dict[nn.Module, nn.Module] = {}
        for module in run.parts.encoder.modules():
            if type(module) is nn.Linear and id(module.weight) in names and module is not run.parts.output:
                name = names[id(module.weight)]
                run.state[name] = module.weight.detach().clone()
                mixed[module] = MixLinear(module, partial(run.state.__getitem__, name), self.p)
        if not mixed:
            raise UserError(
                f"mixout mixes linear layers, but {type(run.parts.encoder).__name__} has none that are trained"
            )
        swap_modules(run.parts.encoder, mixed, run.undo)
        silence_dropout(run.parts.model.modules(), run.undo)


def mix(weight: Tensor, start: Tensor, p: float) -> Tensor:
    """Return W~ of the class docstring with a mask drawn from the global random state.

    Args:
        weight: (out, in) W.
        start: (out, in) W_0.
        p: Probability of reverting.
    """
    import torch

    mask = torch.empty(weight.shape[1], dtype=weight.dtype, device=weight.device).bernoulli_(1 - p)
    return torch.lerp(start, weight, mask).sub(start, alpha=p) / (1 - p)
