"""R4F: R3F with a head whose Lipschitz constant is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from steadytune.stabilizers.base import OF_DISTRIBUTIONS, WITH_NEW_HEAD
from steadytune.stabilizers.r3f import R3F

if TYPE_CHECKING:
    from torch import nn


class R4F(R3F):
    """R3F with the weight of the last layer divided by its largest singular value in every pass.

    Without this the head can compensate by its scale for what the divergence demands of the encoder.

    Source: Aghajanyan et al., arXiv 2008.03156, equation 5 (number and formula recalled); the other parameters are
        those
    of R3F.

    Differs from public code: the singular value is computed exactly, not by power iteration, which for a matrix of a
    few rows costs nothing; and the trained layer becomes a plain one with the divided weight. Generation is rejected:
    the last layer of a language model is pre-trained at its scale, and often shared with the embeddings.

    Cost per step: that of R3F.
    """

    name: ClassVar[str] = "r4f"
    kinds: ClassVar[frozenset[str]] = OF_DISTRIBUTIONS & WITH_NEW_HEAD
    wrong_kind: ClassVar[str] = "needs classes, and a last layer that is not pre-trained"

    def wrap_head(self, head: nn.Linear) -> nn.Module:
        """Return a layer with the same weights that divides them in every pass."""
        from steadytune.stabilizers.layers import SpectralLinear

        return SpectralLinear(head) if self.weight else head

    def unwrap_head(self, head: nn.Module) -> nn.Module:
        """Return the plain layer with the divided weight."""
        from steadytune.stabilizers.layers import SpectralLinear

        return head.fold() if isinstance(head, SpectralLinear) else head
