"""BitFit: train only the biases of the pre-trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import nn


class BitFit(Stabilizer):
    """Train all biases of the pre-trained part, including those of norms, and the head.

    About a thousandth of the weights is trained. A larger learning rate than in full fine-tuning is usual (1e-4 to 1e-2
    in the paper, recalled); the method leaves it to the recipe.

    Source: Ben Zaken, Ravfogel & Goldberg, arXiv 2106.10199; the variant with all biases.

    The last layer of a language model is pre-trained, so it is frozen but for its bias.

    Architectures without biases, such as Llama, T5 and ModernBERT, and models with LoRA are rejected.

    Cost: slightly less than full fine-tuning, because most weights need no gradient.
    """

    name: ClassVar[str] = "bitfit"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "bitfit trains the encoder's biases, which mode 'head' freezes: use mode 'full'"

    def equip(self, run: Run) -> None:
        """Switch off the gradients of all pre-trained weights that are not biases."""
        weights = run.parts.need_pretrained(self.name)
        if not any(map(_is_bias, weights)):
            raise UserError(f"bitfit trains biases, but {type(run.parts.encoder).__name__} has none")
        for weight in freeze_all_but_biases(weights):
            run.undo.callback(weight.requires_grad_, True)


def freeze_all_but_biases(weights: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    """Switch off the gradients of all weights but biases, by name; return those weights."""
    frozen = [weight for name, weight in weights.items() if not _is_bias(name)]
    for weight in frozen:
        weight.requires_grad_(False)
    return frozen


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"
