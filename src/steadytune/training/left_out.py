"""Training without one example and everything else unchanged."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds.base import Criterion
from steadytune.training.full import RunTrainer

_KEPT = "kept"


class LeftOutTrainer(RunTrainer):
    """Trainer of a run that removes the left-out example from the input of the last layer.

    It is left out by weight 0, not by removal: in a batch of b with it, the loss is the sum over the b - 1
    others divided by b. Order, batches, padding, number of steps, schedule and the dropout masks of all others remain
    unchanged, whereas removal would shift them from the first step on. It is also excluded from stabilizers' penalties,
    which are not rescaled. Weights other than 0 and 1 would be undefined for the penalties, so they do not exist.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept: Tensor | None = None
        assert self.spec.left_out is not None
        left_out = self.data.train.rows[self.spec.left_out]
        collate, criterion = self.data.collate, self.stabilization.criterion
        # The data set returns the row itself, so it can be recognised by identity.
        self.data_collator = lambda rows: {**collate(rows), _KEPT: torch.tensor([row is not left_out for row in rows])}
        self.stabilization.criterion = partial(self._counted, criterion)
        # Before the stabilizers observe the input of the last layer.
        self._filter = self.stabilization.head.register_forward_pre_hook(self._take_out, prepend=True)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if _KEPT in prepared:
            self.kept = prepared.pop(_KEPT)
            prepared["labels"] = prepared["labels"][self.kept]
        return prepared

    def _take_out(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.kept is None:
            return None
        if inputs[0].dim() != 2:
            raise UserError(
                "this model's own head scores every token: set training.pooling to last to leave an example out"
            )
        return (inputs[0][self.kept], *inputs[1:])

    def _counted(self, criterion: Criterion, logits: Tensor, labels: Tensor) -> Tensor:
        assert self.kept is not None
        # The mean over nothing is NaN, but must be 0 here.
        return criterion(logits, labels) * (len(labels) / len(self.kept)) if len(labels) else 0 * logits.sum()

    def pick_epoch(self) -> None:
        """Score the half that selects the epoch, including every example."""
        self.kept = None
        super().pick_epoch()

    def unequip(self) -> None:
        """Make the model plain."""
        self._filter.remove()
        super().unequip()
