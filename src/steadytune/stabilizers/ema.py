"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.averaging import move_towards
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


class EMA(Stabilizer):
    """Keep a moving average of the weights, for evaluation and as the result; training itself does not use it.

    After t steps the average is sum_i decay^(t - i) theta_i / sum_i decay^(t - i) over the weights after steps 1 to t.

    Source: the averaging of Polyak & Juditsky (1992), recalled, with exponential weights; the decay of 0.999 was read
    in public code.

    Differs from it: the average is normalised by the sum of its coefficients. One that starts at theta_0 would,
    at 0.999 and after the 300 steps of a small task, still consist of theta_0 by 74 percent.

    Checkpoints contain the trained weights, with the average beside them; evaluation during training is that of the
    average, as is the best checkpoint that the Trainer loads at the end.

    Cost per step: one elementwise update, and a copy of the trained weights in memory.

    Attributes:
        decay: Share of the average kept in each step. At 0 the result is the last weights.
    """

    name: ClassVar[str] = "ema"
    wrong_mode: ClassVar[str] = "ema averages the weights of the whole model: use mode 'full'"

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999

    def after_step(self, run: Run, rates: Mapping[nn.Parameter, float]) -> None:
        """Move the average."""
        if self.decay:
            share = (1 - self.decay) / (1 - self.decay**run.step)
            move_towards(run.state, run.parts.trained(), share)

    def final_weights(self, run: Run) -> Mapping[str, Tensor] | None:
        """Return the average."""
        return run.state or None
