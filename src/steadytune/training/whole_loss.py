"""Stabilizers on a loss of which nothing is known but its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds import Kind, find_kind
from steadytune.models.criterion import kind_of
from steadytune.stabilizers import Stabilizer, Step
from steadytune.stabilizers.surgery import changed_outputs
from steadytune.training.stabilization import Stabilization


class WholeLoss(Stabilization):
    """A model, stabilizers that do not read its outputs, and a loss that somebody else's trainer computes.

    Weights, gradients, the optimizer and the insides of the model are stabilized; how the loss follows from a batch,
    and what a batch is, does not matter.

    Args:
        model: The model.
        stabilizers: Stabilizers of which none `reads_outputs`.
        loss: (model, batch) -> the loss.
        options: As for `Stabilization`.
    """

    def __init__(
        self, model: nn.Module, stabilizers: Sequence[Stabilizer], loss: Callable[..., Tensor], **options: Any
    ) -> None:
        self._whole = loss
        super().__init__(model, stabilizers, criterion=_no_logits, **options)
        self._last.unwatch()

    def _kind(self, name: str | None) -> Kind:
        with suppress(UserError):  # one that is unknown here may well be trained elsewhere
            name = name or kind_of(self.model)
        return find_kind(name)

    def _plain_loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        # A trainer may take labels out of its batch.
        return self._whole(self.model, dict(inputs))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, None]:
        """Return a batch's loss as changed by the stabilizers, and no outputs."""
        return self.added(lambda: (self._whole(model, dict(inputs)), None))[0], None

    def added(self, compute: Callable[[], tuple[Tensor, Any]], share: float = 1.0) -> tuple[Tensor, Any]:
        """Compute a batch's loss and outputs in training, and add the penalties to the loss.

        Args:
            compute: Runs the model; returns the loss and the outputs.
            share: Factor of the penalties: one over the number of passes if the loss is scaled by it already.
        """
        with changed_outputs(self._changes), self._main_pass():
            loss, outputs = compute()
        self.task_loss = loss.detach()
        if not self.equipped:
            return loss, outputs
        nothing = loss.new_empty(0)
        for method, run in self._with("penalty"):
            step = Step(None, nothing, None, None, _no_logits, nothing, _no_logits, {}, run)
            if (penalty := method.penalty(step)) is not None:
                loss = loss + penalty * share
        return loss if self._share == 1 else loss * self._share, outputs


def _no_logits(*args: Any, **named: Any) -> NoReturn:
    raise UserError("a stabilizer asks for logits where there is only a loss: its reads_outputs must return True")
