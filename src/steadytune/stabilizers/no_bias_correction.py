"""Baseline that provokes failures: Adam without bias correction, as BERT was first fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from steadytune.errors import UserError
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch.optim import Optimizer


class NoBiasCorrection(Stabilizer):
    """Trains with theta <- theta - eta * (m / (sqrt(v) + eps) + wd * theta), m and v as they are.

    At step t Adam divides m by 1 - beta_1^t and v by 1 - beta_2^t. Without that the first step is
    (1 - beta_1) / sqrt(1 - beta_2) = 3.2 times as long, and steps stay too long for about 1 / (1 - beta_2) = 1000 of
    them, which is more than the whole training on a small task.

    Source: the optimizer of BERT's first public code; Mosbach et al., arXiv 2006.04884, and Zhang et al.,
    arXiv 2006.05987, found it a main cause of failed runs. All recalled, not read; the factor 3.2 is computed. It makes
    trainings worse on purpose.

    AdamW alone is taken over: other kinds of Adam decay weights, or correct, in other ways.

    Cost per step: a loop over the weights takes the place of an optimizer that updates all of them at once.
    """

    name: ClassVar[str] = "no_bias_correction"
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
