"""The gradient of a batch, in one pass or as many as a stabilizer needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from torch import Tensor, nn

from steadytune.models.random_state import RandomState
from steadytune.stabilizers import Changes
from steadytune.training.stabilization.losses import Losses


class Passes(Losses):
    """Computation of gradients. The third layer of `Stabilization`."""

    def backward(self, model: nn.Module, inputs: Mapping[str, Any], share: float = 1.0) -> Tensor:
        """Accumulate the gradient of a batch's loss; return the loss.

        Args:
            model: This model, or its wrapper by Accelerate.
            inputs: The batch, with labels.
            share: Share of the step's `terms` (examples, or tokens that count), if the gradients of several batches are
                accumulated.
        """

        def once() -> Tensor:
            loss = self.loss(model, inputs)[0]
            (loss * share).backward()
            return loss.detach()

        return self.passes(once, inputs)

    def passes(self, once: Callable[[], Tensor], inputs: Mapping[str, Any]) -> Tensor:
        """Compute the gradient of a batch, by one pass or as a stabilizer does; return the loss.

        Args:
            once: Calls `loss` for the batch, accumulates its gradient, and returns it, detached.
            inputs: The batch, on the model's device.
        """
        owner = self._owner("train_step")
        if owner is None:
            loss = once()
        else:
            # Recorded in the first pass: what the stabilizer draws before it must not be drawn again in the next batch.
            state = cache(partial(RandomState.now, next(self.model.parameters()).device))
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
