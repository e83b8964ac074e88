"""The loss of many linear heads on the same examples, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

_ROWS = {"cpu": 640}
_MANY_ROWS = 16384
"""Examples of a tile: few enough for the cache of a CPU, enough to keep any other device busy."""


@dataclass(frozen=True)
class Objective:
    """For each of P columns: scale x sum over the examples of weight x loss, plus l2 / 2 x squared norm.

    With labels the loss is the cross-entropy of K logits. Without, K is 1 and the loss log(1 + exp(z)): rows
    multiplied by -y make this the logistic loss of labels y = -1 or 1, and its derivative a sigmoid, which keeps its
    precision however small it becomes.

    Attributes:
        rows: (n, d).
        labels: (n,) classes, or None.
        weights: (n, P), (n, 1) for all columns, or None for 1 each.
        left_out: (P,) index of the example that a column leaves out, -1 for none; or None.
        scale: (P,).
        l2: (P,).
        outputs: K.
        penalised: Number of the d rows of a column that are included in its norm.
    """

    rows: Tensor
    labels: Tensor | None
    weights: Tensor | None
    left_out: Tensor | None
    scale: Tensor
    l2: Tensor
    outputs: int
    penalised: int

    def gradient(self, columns: Tensor) -> Tensor:
        """Return the gradient (d, K, P) at columns (d, K, P)."""
        gradient = torch.zeros_like(columns)
        for tile, rows, logits in self._logits(columns):
            if self.labels is None:
                derivative = logits.sigmoid_()
            else:
                derivative = torch.softmax(logits, 1, out=self._buffers[1][: len(rows)])
                own = self._numbers[: len(rows)], self.labels[tile]
                # p - 1 of the true class is minus the sum of the others, which keeps the precision that p - 1 loses.
                derivative[own] = 0
                derivative[own] = -derivative.sum(1)
            gradient.flatten(1).addmm_(rows.T, self._weighted(tile, derivative).flatten(1))
        gradient *= self.scale
        gradient[: self.penalised].addcmul_(columns[: self.penalised], self.l2)
        return gradient

    def losses(self, columns: Tensor) -> Tensor:
        """Return (P,): the weighted sum of the examples' losses at columns (d, K, P), neither scaled nor penalised."""
        losses = columns.new_zeros(columns.shape[2])
        for tile, rows, logits in self._logits(columns):
            if self.labels is None:
                each = -nn.functional.logsigmoid(-logits)
            else:
                own = logits[self._numbers[: len(rows)], self.labels[tile]]
                each = (logits.logsumexp(1) - own)[:, None]
            losses += self._weighted(tile, each).sum((0, 1))
        return losses

    def select(self, chosen: Tensor) -> Objective:
        """Return the objective of the columns at `chosen` (p,)."""
        weights, left_out = self.weights, self.left_out
        if weights is not None and weights.shape[1] > 1:
            weights = weights[:, chosen]
        if left_out is not None:
            left_out = left_out[chosen]
        return replace(self, weights=weights, left_out=left_out, scale=self.scale[chosen], l2=self.l2[chosen])

    def _logits(self, columns: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield tiles of the examples: their slice, rows (r, d), and logits (r, K, P), which may be modified."""
        for low in range(0, len(self.rows), self._size):
            tile = slice(low, low + self._size)
            rows = self.rows[tile]
            logits = self._buffers[0][: len(rows)]
            torch.mm(rows, columns.flatten(1), out=logits.flatten(1))
            yield tile, rows, logits

    def _weighted(self, tile: slice, values: Tensor) -> Tensor:
        """Multiply values (r, K, P) by the examples' weights, in place."""
        if self.weights is not None:
            values *= self.weights[tile, None]
        rows, columns = self._absent[tile.start // self._size]
        values[rows, :, columns] = 0
        return values

    @cached_property
    def _size(self) -> int:
        return min(len(self.rows), _ROWS.get(self.rows.device.type, _MANY_ROWS))

    @cached_property
    def _numbers(self) -> Tensor:
        return torch.arange(len(self.rows), device=self.rows.device)

    @cached_property
    def _buffers(self) -> list[Tensor]:
        # Memory allocated in each step would have to be mapped each time, which takes as long as the derivative.
        shape = (self._size, self.outputs, len(self.scale))
        return [self.rows.new_empty(shape) for _ in range(1 if self.labels is None else 2)]

    @cached_property
    def _absent(self) -> list[tuple[Tensor, Tensor]]:
        """For each tile: which of its rows are left out, and by which columns."""
        pairs = []
        for low in range(0, len(self.rows), self._size):
            columns = self._numbers[:0]
            if self.left_out is not None:
                (columns,) = ((self.left_out >= low) & (self.left_out < low + self._size)).nonzero(as_tuple=True)
            pairs.append((columns if self.left_out is None else self.left_out[columns] - low, columns))
        return pairs
