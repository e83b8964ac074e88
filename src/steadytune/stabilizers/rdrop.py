"""R-Drop: penalise differences between the predictions under two dropout masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import OF_DISTRIBUTIONS, Stabilizer
from steadytune.stabilizers.context import Run, Step
from steadytune.stabilizers.divergence import symmetric_divergence

if TYPE_CHECKING:
    from torch import Tensor


class RDrop(Stabilizer):
    """Replace the task loss by (L_1 + L_2) / 2 + alpha * [KL(p_1 || p_2) + KL(p_2 || p_1)] / 2.

    p_1 and p_2 are the predictions of two passes with different dropout masks, L_1 and L_2 their task losses. All
    terms are means over examples, the divergence is summed over classes; in generation they are means over the tokens
    whose labels count, as for classes of tokens, and the divergence is summed over words. Read alpha with that
    reduction: code that sums the divergence over the batch has a different strength for the same number.

    Source: Liang et al., arXiv 2106.14448, equation 4 (number recalled); alpha = 1 and the reduction of the
    classification example in the authors' public code. In the paper L_1 + L_2 is not halved, so that its alpha is twice
    this one.

    A model without dropout, such as decoders and ModernBERT by default, is rejected: both passes would be the same.
    The masks of `mixout` can replace dropout. Regressions are rejected.

    Cost per step: one more forward and backward pass.

    Attributes:
        alpha: Weight of the divergence. At 0 there is no second pass.
    """

    name: ClassVar[str] = "rdrop"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "rdrop compares dropout masks, but mode 'head' has no dropout: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_DISTRIBUTIONS
    wrong_kind: ClassVar[str] = "compares distributions over classes or words"

    alpha: Annotated[float, Field(ge=0)] = 1.0

    def equip(self, run: Run) -> None:
        """Check that two passes can differ."""
        from steadytune.stabilizers.layers import MixLinear
        from steadytune.stabilizers.surgery import dropout_rates

        modules = list(run.parts.model.modules())
        mixed = any(isinstance(module, MixLinear) for module in modules)
        if self.alpha and not mixed and not any(getattr(module, name) for module, name in dropout_rates(modules)):
            raise UserError(
                f"rdrop compares dropout masks, but {type(run.parts.encoder).__name__} has no dropout: set a rate in"
                " the model's configuration"
            )

    def task_loss(self, step: Step) -> Tensor | None:
        """Return the loss of both passes."""
        if self.alpha == 0:
            return None
        again = step.forward()
        task = (step.criterion(step.logits, step.labels) + step.criterion(again, step.labels)) / 2
        divergence = symmetric_divergence(step.predictions(step.logits), step.predictions(again))
        return task + self.alpha / 2 * divergence
