"""LNSR: penalise the growth of noise on one block's hidden states in the blocks above it."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run, Step
from steadytune.stabilizers.divergence import at_least_float

if TYPE_CHECKING:
    from torch import Tensor


_MOST = 10
"""How many times the task loss a penalty may be without a word."""


class LNSR(Stabilizer):
    """Add weight * sum over blocks r >= b of ||f_r(h_b + e) - f_r(h_b)||^2 to the loss.

    h_b are the hidden states that enter block b, f_r(h_b) those that leave block r. For each token e = noise * ||h_b||
    / sqrt(d) * z, z ~ N(0, I): the noise has that share of the token's norm. The square is summed over the d entries of
    a token and averaged over the tokens that are not padding, in the decoder of an encoder-decoder that writes over
    those whose labels count. Both passes use the same dropout masks, so that they differ only by the noise, and both
    carry gradient.

    Source: Hua et al., "Noise Stability Regularization for Improving BERT Fine-tuning", arXiv 2107.04835. The formula
    is cited from memory, as are its weights for each block, which are one number here. Noise of 5 percent is that of
    the paper's figure 1, which was read; whether training uses the same is not known. Weight and block are the
    toolkit's choice: with them the penalty is a tenth of the first task loss of MiniLM (measured). Where a few entries
    of the states are huge, as in large decoders, it is far more: 185 times the task loss on SmolLM2-135M (measured). A
    first penalty of more than ten times the task loss is warned of, with the weight that would make it a tenth. There
    is no public code by the authors. The variant with noise from the manifold is not implemented.

    The blocks are counted from 1 in the order in which the input passes them, in an encoder-decoder those of the
    encoder first; ALBERT's shared block counts each time it is entered. Blocks that are recomputed in the backward
    pass (gradient checkpointing) are rejected, because the noise would be missing there.

    Cost per step: one more forward and backward pass, and one state per block in memory.

    Attributes:
        weight: The weight of every block.
        noise: Norm of the noise relative to that of the states.
        block: b.
    """

    name: ClassVar[str] = "lnsr"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "lnsr regularises the encoder's blocks, which mode 'head' freezes: use mode 'full'"

    weight: Annotated[float, Field(ge=0)] = 0.1
    noise: Annotated[float, Field(ge=0)] = 0.05
    block: Annotated[int, Field(ge=1)] = 1

    def equip(self, run: Run) -> None:
        """Store each block's output in the pass of the loss."""
        if self.weight == 0:
            return
        from steadytune.stabilizers.surgery import changed_outputs

        states: list[Tensor] = []
        run.scratch["states"] = states

        def keep(given: Tensor) -> Tensor:
            if run.main_pass:
                states.append(given)
            return given

        blocks = run.parts.need_blocks(self.name)
        count = run.parts.layers
        if self.block > count:
            raise UserError(f"lnsr: block is {self.block}, but the model has {count}")
        run.undo.enter_context(changed_outputs(dict.fromkeys(blocks, keep)))
        run.undo.callback(states.clear)

    def penalty(self, step: Step) -> Tensor | None:
        """Return weight times the sum over blocks."""
        if self.weight == 0:
            return None
        import torch

        parts, kept = step.run.parts, step.run.scratch["states"]
        if any(getattr(module, "gradient_checkpointing", False) for module in parts.model.modules()):
            raise UserError("lnsr does not support gradient checkpointing: switch it off")
        clean = list(kept)
        kept.clear()
        # Drawn before the pass: inside it the noise would shift the dropout masks.
        noisy = self._noisy(step, int(torch.randint(2**31, ())))
        states = list(zip(clean, noisy, tokens_of(step, len(clean)), strict=True))
        penalty = self.weight * torch.stack([squared_change(*one) for one in states[self.block - 1 :]]).sum()
        if step.run.scratch.setdefault("first", True):
            step.run.scratch["first"] = False
            self._say_size(float(penalty.detach()), float(step.criterion(step.logits, step.labels).detach()))
        return penalty

    def _say_size(self, penalty: float, task: float) -> None:
        if penalty > _MOST * task > 0:
            warnings.warn(
                f"lnsr: the penalty of the first batch is {penalty:.3g}, its task loss {task:.3g}, so that hardly "
                f"anything else would be learnt: weight={self.weight * task / penalty / 10:.1g} would make it a tenth",
                stacklevel=2,
            )

    def _noisy(self, step: Step, seed: int) -> list[Tensor]:
        from steadytune.stabilizers.surgery import change_input

        states: list[Tensor] = []

        def enter(given: Tensor) -> Tensor:
            return add_noise(given, self.noise, seed) if len(states) == self.block - 1 else given

        def keep(given: Tensor) -> Tensor:
            states.append(given)
            return given

        blocks = step.run.parts.need_blocks(self.name)
        with ExitStack() as stack:
            for block in blocks:
                stack.callback(change_input(block, enter).remove)
            step.forward(dict.fromkeys(blocks, keep), same_dropout=True)
        return states


def tokens_of(step: Step, states: int) -> list[Tensor | None]:
    """Return for the states after each block which tokens count, (b, T) each, or None for all.

    Args:
        step: The batch.
        states: How many there are.
    """
    shown, parts = step.inputs.get("attention_mask"), step.run.parts
    if parts.decoder is None or step.counted is None:
        return [shown] * states
    written = set(parts.decoder.modules())
    return [step.counted if block in written else shown for block in parts.blocks]


def add_noise(states: Tensor, share: float, seed: int) -> Tensor:
    """Add Gaussian noise whose expected squared norm is `share` squared times that of each token.

    Args:
        states: (..., d).
        share: Norm of the noise relative to that of the states; the latter is treated as a constant.
        seed: Of the noise.
    """
    import torch

    generator = torch.Generator(states.device).manual_seed(seed)
    drawn = torch.empty_like(states).normal_(generator=generator)
    return states + share * states.detach().square().mean(-1, keepdim=True).sqrt() * drawn


def squared_change(clean: Tensor, noisy: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over tokens of ||noisy - clean||^2.

    Args:
        clean: (rows, tokens, d), or (tokens, d) if the model packs its batch without padding.
        noisy: Same shape.
        mask: (..., tokens) 1 at tokens that count; None for all.
    """
    squares = (at_least_float(noisy) - at_least_float(clean)).square().sum(-1)
    if mask is None or squares.dim() == 1:
        return squares.mean()
    shown = mask.flatten(0, -2).to(squares.dtype)
    return (squares * shown).sum() / shown.sum().clamp(min=1)
