"""Re-initialisation: redraw the topmost blocks and the pooler before fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Parts, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


class Reinit(Stabilizer):
    """Redraw the top k blocks and the pooler as the architecture does before pre-training.

    For BERT and its kin that is N(0, initializer_range) for matrices, 0 for biases and (1, 0) for LayerNorm; others
    have their own scales, such as T5, GPT-2 and ModernBERT, which are used here as well. The topmost blocks have
    specialised on the pre-training task, and a start near that minimum is said to slow down and destabilise fine-tuning
    on few examples.

    Source: Zhang et al., "Revisiting Few-sample BERT Fine-tuning", arXiv 2006.05987, section 5 (number recalled). What
    is redrawn, and k = 5 of 24 blocks, were read in their public code; k for other depths is our scaling of that. They
    found that the best k differs by task (recalled).

    The topmost blocks of an encoder-decoder are those of the decoder. The last layer of a language model is kept: it is
    pre-trained, and often the embeddings as well.

    Differs from code that calls `_init_weights` on a loaded model: transformers 5 flags loaded weights, and redrawing
    them silently does nothing. The flags are removed here. A model with LoRA is rejected, because its
    frozen blocks could not relearn.

    Cost: nothing per step.

    Attributes:
        blocks: k; by default 5/24 of the blocks, at least one. At 0 the pooler is kept as well.
    """

    name: ClassVar[str] = "reinit"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "reinit re-initialises blocks, which mode 'head' cannot train: use mode 'full'"

    blocks: Annotated[int, Field(ge=0)] | None = None

    def initialise(self, run: Run) -> None:
        """Redraw the weights."""
        if self.blocks == 0:
            return
        parts = run.parts
        found = parts.need_blocks(self.name)
        parts.need_pretrained(self.name)
        if parts.shared:
            raise UserError(
                f"reinit would erase {type(parts.encoder).__name__}, because its layers share their weights"
            )
        count = max(1, round(len(found) * 5 / 24)) if self.blocks is None else self.blocks
        if count > len(found):
            raise UserError(f"reinit: blocks is {count}, but the model has {len(found)}")
        for module in (*found[-count:], parts.pooler):
            if module is not None:
                draw_anew(module, parts)


def draw_anew(module: nn.Module, parts: Parts) -> None:
    """Redraw all weights of a module from the architecture's distributions, using the global random state.

    Raises:
        UserError: The encoder is not a transformers model, so the distributions are unknown.
    """
    import torch

    encoder: Any = parts.encoder
    if not hasattr(encoder, "_init_weights"):
        raise UserError(f"reinit: {type(encoder).__name__} does not define how its weights are initialised")
    for tensor in (*module.parameters(), *module.buffers()):
        tensor._is_hf_initialized = False  # type: ignore[attr-defined]
    with torch.no_grad():
        _draw_upwards(module, encoder._init_weights)


def _draw_upwards(module: nn.Module, draw: Callable[[nn.Module], None]) -> None:
    # As in transformers: a parent redraws some of its children's weights at a different scale.
    for child in module.children():
        _draw_upwards(child, draw)
    draw(module)
