"""R3F: the prediction shall not change when the input embeddings are blurred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import OF_CLASSES, Stabilizer
from steadytune.stabilizers.context import Run, Step
from steadytune.stabilizers.divergence import symmetric_divergence

if TYPE_CHECKING:
    from torch import Tensor


class R3F(Stabilizer):
    """Adds weight * [KL(p~ || p) + KL(p || p~)] to the loss; p~ is predicted from embeddings + z, z ~ U(-eps, eps).

    The divergence is summed over classes and averaged over examples. The noise enters behind the lookup of the token
    embeddings, whose own gradient does not see the blurred pass. Of an encoder-decoder the encoder's input is blurred.

    Source: Aghajanyan et al., arXiv 2008.03156, equation 4 (number recalled). eps = 1e-5, weight = 1, the reduction and
    the detached embeddings are those of the authors' public code.

    As there, the blurred pass draws dropout masks of its own; at eps = 1e-5 they are most of the difference between the
    two predictions. Without dropout the penalty then moves the gradient by a share of 1e-7 to 1e-4 of its norm
    (measured on MiniLM and small models of six architectures), which is next to nothing: raise eps there. Regressions
    are refused, as the divergence is one between classes.

    Cost per step: one more forward and backward pass.

    Attributes:
        weight: lambda.
        eps: Half the width of the noise.
    """

    name: ClassVar[str] = "r3f"
    wrong_mode: ClassVar[str] = "this method perturbs the encoder, which mode 'head' freezes: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_CLASSES
    wrong_kind: ClassVar[str] = "needs classes"

    weight: Annotated[float, Field(ge=0)] = 1.0
    eps: Annotated[float, Field(ge=0)] = 1e-5

    def equip(self, run: Run) -> None:
        """Check that there are embeddings."""
        run.parts.need_embeddings(self.name)

    def penalty(self, step: Step) -> Tensor | None:
        """Return weight times the divergence."""
        if self.weight == 0:
            return None
        embeddings = step.run.parts.need_embeddings(self.name)
        # With a gradient of zero, not without one: data-parallel training must see that the embeddings are in use.
        blurred = step.forward({embeddings: lambda vectors: blur(vectors.detach() + 0 * vectors, self.eps)})
        return self.weight * symmetric_divergence(blurred, step.logits)


def blur(vectors: Tensor, eps: float) -> Tensor:
    """Add noise from U(-eps, eps), drawn from the global random state."""
    import torch

    return vectors + torch.empty_like(vectors).uniform_(-eps, eps)
