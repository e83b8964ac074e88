"""NEFTune: noise on the token embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


class NEFTune(Stabilizer):
    """Add noise from U(-1, 1) * alpha / sqrt(L * d) to the output of the token embeddings while training.

    L is the number of tokens of the padded batch, d the width of the embeddings. In an encoder-decoder noise is added
    to the encoder's input.

    Source: Jain et al., arXiv 2310.05914; alpha = 5 is the smallest value that they tried (recalled). The formula is
    that of transformers' own `neftune_noise_alpha`, which supports only `PreTrainedModel`s; this works wherever
    embeddings are found. Use only one of the two.

    Cost per step: drawing the noise.

    Attributes:
        alpha: Size of the noise.
    """

    name: ClassVar[str] = "neftune"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = (
        "neftune perturbs the encoder during training, which mode 'head' freezes: use mode 'full'"
    )

    alpha: Annotated[float, Field(ge=0)] = 5.0

    def equip(self, run: Run) -> None:
        """Hook the embeddings."""
        if self.alpha:
            embeddings = run.parts.need_embeddings(self.name)
            run.undo.callback(embeddings.register_forward_hook(self._blur).remove)

    def _blur(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return blur(output, self.alpha) if module.training else output


def blur(vectors: Tensor, alpha: float) -> Tensor:
    """Add noise from U(-1, 1) * alpha / sqrt(L * d), drawn from the global random state.

    Args:
        vectors: (b, L, d) embeddings.
        alpha: Size of the noise.
    """
    import torch

    bound = alpha / (vectors.shape[1] * vectors.shape[2]) ** 0.5
    return vectors + torch.empty_like(vectors).uniform_(-bound, bound)
