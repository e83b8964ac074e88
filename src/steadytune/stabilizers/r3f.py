"""R3F: penalise changes of the prediction under noise on the input embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import OF_DISTRIBUTIONS, Stabilizer
from steadytune.stabilizers.context import Run, Step
from steadytune.stabilizers.divergence import symmetric_divergence

if TYPE_CHECKING:
    from torch import Tensor


class R3F(Stabilizer):
    """Add weight * [KL(p~ || p) + KL(p || p~)] to the loss; p~ is predicted from embeddings + z, z ~ U(-eps, eps).

    The divergence is summed over classes and averaged over examples; in generation it is summed over words, and as for
    classes of tokens averaged over the tokens whose labels count. The noise is added after the lookup of the token
    embeddings, whose own gradient excludes the noisy pass, except where they are the last layer as well. In an
    encoder-decoder noise is added to the encoder's input.

    Source: Aghajanyan et al., arXiv 2008.03156, equation 4 (number recalled). eps = 1e-5, weight = 1, the reduction and
    the detached embeddings are those of the authors' public code.

    As there, the noisy pass draws new dropout masks; at eps = 1e-5 they cause most of the difference between the
    two predictions. Without dropout the penalty then changes the gradient by 1e-7 to 1e-4 of its norm
    (measured on MiniLM and small models of six architectures), which is negligible: raise eps there. Regressions
    are rejected, because the divergence is between distributions.

    Cost per step: one more forward and backward pass.

    Attributes:
        weight: lambda.
        eps: Half the width of the noise.
    """

    name: ClassVar[str] = "r3f"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "this method perturbs the encoder, which mode 'head' freezes: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_DISTRIBUTIONS
    wrong_kind: ClassVar[str] = "compares distributions over classes or words"

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
        # With a gradient of zero rather than none: data-parallel training must see that the embeddings are used.
        blurred = step.forward({embeddings: lambda vectors: blur(vectors.detach() + 0 * vectors, self.eps)})
        return self.weight * symmetric_divergence(step.predictions(blurred), step.predictions(step.logits))


def blur(vectors: Tensor, eps: float) -> Tensor:
    """Add noise from U(-eps, eps), drawn from the global random state."""
    import torch

    return vectors + torch.empty_like(vectors).uniform_(-eps, eps)
