"""Freezing: keep the embeddings and the lowest blocks at their pre-trained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Parts, Run

if TYPE_CHECKING:
    from torch import nn


class Freeze(Stabilizer):
    """Train only the upper blocks and the head.

    Source: Lee, Tang & Lin, arXiv 1911.03090, who found that a quarter of the blocks is enough for nine tenths of the
    quality (recalled). Half of the blocks is the toolkit's choice. Position tables and norms of the embeddings are
    frozen with them, as is a language model's last layer that shares their weight; with LoRA so are the adapters of a
    frozen block. The lowest blocks of an encoder-decoder are those of the encoder.

    Cost: negative, because no gradient flows below the lowest trained block.

    Attributes:
        blocks: Number of lowest blocks to freeze; by default half of them, rounded down. At 0 with embeddings=False
            nothing is frozen.
        embeddings: Whether to freeze the embeddings.
    """

    name: ClassVar[str] = "freeze"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "mode 'head' already freezes the whole encoder: use freeze in mode 'full'"

    blocks: Annotated[int, Field(ge=0)] | None = None
    embeddings: bool = True

    def equip(self, run: Run) -> None:
        """Switch gradients off."""
        if self.blocks == 0 and not self.embeddings:
            return
        found = len(run.parts.need_blocks(self.name))
        count = found // 2 if self.blocks is None else self.blocks
        if count > found or (run.parts.shared and count):
            kind = "which all layers share" if run.parts.shared else "in all"
            raise UserError(f"freeze: blocks is {count}, but the model has {found}, {kind}")
        for weight in freeze_blocks(run.parts, count, self.embeddings):
            run.undo.callback(weight.requires_grad_, True)


def freeze_blocks(parts: Parts, blocks: int, embeddings: bool = True) -> list[nn.Parameter]:
    """Switch off the gradients of the lowest blocks and the embeddings; return the weights that had gradients."""
    levels = parts.levels[0 if embeddings else 1 : 1 + blocks]
    frozen = [weight for level in levels for weight in level if weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    return frozen
