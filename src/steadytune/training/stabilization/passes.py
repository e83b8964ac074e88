"""The gradient of a batch, in one pass or in as many as a method makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from torch import Tensor, nn

from steadytune.models.random_state import RandomState
from steadytune.stabilizers import Changes
from steadytune.training.stabilization.losses import Losses


class Passes(Losses):
    """Makes gradients. The third storey of `Stabilization`, see there."""

    def backward(self, model: nn.Module, inputs: Mapping[str, Any], share: float = 1.0) -> Tensor:
        """Add the gradient of a batch's loss to what the weights have; return the loss.

        Args:
            model: This model, or what Accelerate has wrapped around it.
            inputs: The batch, with labels.
            share: Share of the step's examples, where the gradients of several batches add up to one step.
        """

        def once() -> Tensor:
            loss = self.loss(model, inputs)[0]
            (loss * share).backward()
            return loss.detach()

        return self.passes(once, inputs)

    def passes(self, once: Callable[[], Tensor], inputs: Mapping[str, Any]) -> Tensor:
        """Make the gradient of a batch, by one pass or as a method makes it; return the loss.

        Args:
            once: Calls `loss` for the batch, adds its gradient to what the weights have, and returns it, detached.
            inputs: The batch, on the model's device.
        """
        owner = self._owner("train_step")
        if owner is None:
            loss = once()
        else:
            # Looked at in the first pass: what the method draws before it must not be drawn again in the next batch.
            state = cache(partial(RandomState.now, inputs["labels"].device))
            loss = owner[0].train_step(owner[1], inputs, partial(self._pass, once, state))
        self._seen = None
        return loss

    def _pass(
        self,
        once: Callable[[], Tensor],
        state: Callable[[], RandomState],
        changes: Changes | None = None,
        share: float = 1.0,
    ) -> Tensor:
        state().restore()
        self._changes, self._share = changes, share
        try:
            return once()
        finally:
            self._changes, self._share = None, 1.0
