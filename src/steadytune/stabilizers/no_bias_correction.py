"""Baseline that provokes failures: Adam without bias correction, as BERT was first fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch.optim import Optimizer


class NoBiasCorrection(Stabilizer):
    """Train with theta <- theta - eta * (m / (sqrt(v) + eps) + wd * theta), without correcting m and v.

    At step t Adam divides m by 1 - beta_1^t and v by 1 - beta_2^t. Without that the first step is
    (1 - beta_1) / sqrt(1 - beta_2) = 3.2 times as large, and steps stay too large for about 1 / (1 - beta_2) = 1000 of
    them, which is more than the whole training on a small task.

    Source: the optimizer of BERT's first public code; Mosbach et al., arXiv 2006.04884, and Zhang et al.,
    arXiv 2006.05987, found it a main cause of failed runs. All cited from memory; the factor 3.2 is computed. It makes
    training worse on purpose.

    Only AdamW is supported: other variants of Adam differ in weight decay or correction.

    Cost per step: a loop over the weights replaces an optimizer that updates all of them at once.
    """

    name: ClassVar[str] = "no_bias_correction"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = (
        "no_bias_correction replaces the optimizer, but mode 'head' has its own: use mode 'full'"
    )

    def optimizer(self, run: Run, optimizer: Optimizer) -> Optimizer:
        """Return the uncorrected optimizer on the same groups."""
        from torch.optim import AdamW

        from steadytune.stabilizers.optimizers import UncorrectedAdamW

        if not isinstance(optimizer, AdamW):
            raise UserError(f"no_bias_correction supports AdamW, not {type(optimizer).__name__}")
        return UncorrectedAdamW(optimizer.param_groups)
