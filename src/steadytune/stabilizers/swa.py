"""Stochastic weight averaging: the mean of the weights over the last part of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.averaging import move_towards
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


class SWA(Stabilizer):
    """Keep the plain mean of the weights after each step of the last part, for evaluation and as the result.

    Source: Izmailov et al., arXiv 1803.05407, who average from 75 percent of the budget on (recalled).

    Differs from the paper: the schedule remains the recipe's, whereas the paper continues with a constant or cyclical
    rate; with a rate that falls to 0 the averaged weights are close together, so the effect is smaller. Weights are
    averaged after each step, not after each epoch. Transformers have no batch norm whose statistics would need a
    further pass.

    Cost per step: one elementwise update in the last part, and a copy of the trained weights in memory.

    A training stopped before its last part has no mean: the last weights are kept.

    Attributes:
        start: Share of the steps after which averaging starts. At 1 there is none.
    """

    name: ClassVar[str] = "swa"
    wrong_mode: ClassVar[str] = "swa averages the weights of the whole model: use mode 'full'"

    start: Annotated[float, Field(ge=0, le=1)] = 0.75

    def after_step(self, run: Run, rates: Mapping[nn.Parameter, float]) -> None:
        """Add the weights to the mean."""
        if self.start < 1 and not run.total_steps:
            raise UserError("swa averages the last part of the steps: give their number with begin(total_steps=...)")
        count = run.step - int(self.start * run.total_steps)
        if count > 0:
            move_towards(run.state, run.parts.trained(), 1 / count)

    def final_weights(self, run: Run) -> Mapping[str, Tensor] | None:
        """Return the mean."""
        return run.state or None
