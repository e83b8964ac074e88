"""Full-batch gradient descent on many linear heads at once: two matrix products per step, and little else.

The heads are the columns of one matrix V. A step is the product X V, the derivative of the loss in each of its entries,
and the product of X^T with that. Examples and heads are processed in tiles, so that intermediate results stay
in the cache regardless of their number.

Two classes need one column per head. For the logistic loss this is the definition. For softmax it is also exact:
gradient descent moves the two rows of a head by opposite amounts, so that their difference follows the logistic loss at
twice the rate, and their sum decays by L2 alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.linear.objective import Objective
from steadytune.linear.problems import Heads, Problems, in_blocks
from steadytune.linear.smoothness import check_rates, with_ones

_COLUMNS = {"cpu": 512}
_MANY_COLUMNS = 8192
"""Columns of a tile: few enough for the cache of a CPU, enough to keep any other device busy."""
_LOOK = 10
_CELLS = 2**25
"""Numbers of the heads that are held at once, before those of a problem are averaged."""


def descend(
    problems: Problems,
    *,
    steps: int,
    at: Sequence[int] = (),
    tolerance: float = 0.0,
    progress: Callable[[float], None] = lambda share: None,
) -> Heads:
    """Take gradient steps at a constant rate on every problem.

    Args:
        problems: Classification problems on features (n, d).
        steps: Maximum number of steps of a problem.
        at: Increasing steps at which to store the heads.
        tolerance: A problem is finished once no component of its gradient is larger. Checked every tenth step.
        progress: Called with the share done, 0 to 1.

    Raises:
        UserError: A learning rate is beyond the stability limit, the tolerance is not a number of at least 0, or `at`
            is not increasing or beyond `steps`.
    """
    if not tolerance >= 0:
        raise UserError(f"tolerance is {tolerance}: it must be at least 0")
    if list(at) != sorted(set(at)) or any(not 0 <= step <= steps for step in at):
        raise UserError(f"at is {list(at)}: it must be increasing steps from 0 to {steps}")
    rows = with_ones(problems.features, problems.bias)
    check_rates(problems, rows)
    # The last step may itself be among those to store.
    marks = list(dict.fromkeys([*at, steps]))

    def train(block: Problems, place: slice, report: Callable[[float], None]) -> Heads:
        path = _Descent(block, rows, marks, tolerance, report).path()
        heads = [_averaged(block, path, k, mark) for k, mark in enumerate(marks)]
        return replace(heads[-1], snapshots=tuple(heads[: len(at)]))

    kept = math.prod(problems.starts.shape[1:]) * (2 + len(marks))
    return in_blocks(problems, _CELLS // kept, train, progress)


class _Path(NamedTuple):
    """P heads at S steps.

    Attributes:
        weights: (S, P, outputs, d).
        losses: (S, P) weighted sum of the examples' losses.
        steps: (P,) steps taken until the last of them.
    """

    weights: Tensor
    losses: Tensor
    steps: Tensor


def _averaged(problems: Problems, path: _Path, k: int, mark: int) -> Heads:
    """Return the heads at step `mark`, the k-th that was stored, averaged over each problem."""
    count, (several, outputs, width) = len(problems), problems.starts.shape[1:]
    each = path.weights[k].view(count, several, outputs, -1)
    squares = each[..., :width].square().sum((2, 3))
    losses = path.losses[k].view(count, several) / problems.totals()[:, None] + problems.l2[:, None] / 2 * squares
    mean = each.mean(1)
    bias = mean[..., width] if problems.bias else mean.new_zeros(count, outputs)
    steps = path.steps.view(count, several).amax(1).clamp(max=mark)
    return Heads(mean[..., :width], bias, losses.mean(1)[None].to(mean.dtype), steps)


@dataclass(frozen=True)
class _Descent:
    """State of `descend`: its arguments, and the rows (n, d) of the examples, with a one for the bias."""

    problems: Problems
    rows: Tensor
    marks: list[int]
    tolerance: float
    progress: Callable[[float], None]

    def path(self) -> _Path:
        """Follow every head of every problem."""
        problems = self.problems
        start = nn.functional.pad(problems.start.flatten(0, 1), (0, int(problems.bias)))
        rates, l2 = (values[self._owners].to(start.dtype) for values in (problems.rates, problems.l2))
        outputs = start.shape[1]
        if problems.loss == "softmax" and outputs == 2:
            return self._pairs(start, rates, l2)
        if problems.loss == "softmax":
            return self._run(self.rows, problems.labels, start, rates, l2)
        # Each output is a separate problem; a single one is that of class 1.
        each = [
            self._run(self._signed(1 if outputs == 1 else one), None, start[:, one : one + 1], rates, l2, part=one)
            for one in range(outputs)
        ]
        weights, losses, steps = zip(*each, strict=True)
        return _Path(torch.cat(weights, dim=2), torch.stack(losses).sum(0), torch.stack(steps).amax(0))

    def _pairs(self, start: Tensor, rates: Tensor, l2: Tensor) -> _Path:
        """Follow the difference of the two rows of each head.

        Either row changes by half as much as the difference: hence twice the rate, and half of L2.
        """
        rates, l2 = 2 * rates, l2 / 2
        total = start[:, :1] + start[:, 1:]
        unseen = l2 * total.abs().amax((1, 2))
        path = self._run(self._signed(1), None, start[:, 1:] - start[:, :1], rates, l2, unseen=unseen)
        taken = torch.stack([path.steps.clamp(max=mark) for mark in self.marks])
        total = total * ((1 - rates * l2) ** taken)[..., None, None]
        return path._replace(weights=torch.cat([total - path.weights, total + path.weights], dim=2) / 2)

    def _signed(self, positive: int) -> Tensor:
        """Return the rows times -y, with y = 1 for the examples of one class and -1 for the others."""
        return torch.where(self.problems.labels[:, None] == positive, -self.rows, self.rows)

    @cached_property
    def _owners(self) -> Tensor:
        """(P,): the problem of each head."""
        numbers = torch.arange(len(self.problems), device=self.rows.device)
        return numbers.repeat_interleave(self.problems.starts.shape[1])

    def _run(
        self,
        rows: Tensor,
        labels: Tensor | None,
        start: Tensor,
        rates: Tensor,
        l2: Tensor,
        *,
        unseen: Tensor | None = None,
        part: int = 0,
    ) -> _Path:
        """Follow heads, tile by tile.

        Args:
            rows: As in `Objective`.
            labels: As in `Objective`.
            start: (P, K, d) initial weights.
            rates: (P,) learning rates.
            l2: (P,).
            unseen: (P,) size of a part of the gradient that is not followed, because it only decays by L2.
            part: Number of this run, if each output has its own.
        """
        heads, outputs, _ = start.shape
        path = _Path(
            start.new_empty(len(self.marks), *start.shape),
            start.new_empty(len(self.marks), heads),
            torch.empty(heads, dtype=torch.int64, device=start.device),
        )
        unseen = torch.zeros_like(rates) if unseen is None else unseen
        scale = 1 / self.problems.totals()[self._owners].to(start.dtype)
        penalised = self.problems.features.shape[1]
        size = max(1, _COLUMNS.get(start.device.type, _MANY_COLUMNS) // outputs)
        for low in range(0, heads, size):
            tile = slice(low, min(low + size, heads))
            weights, left_out = self._examples(self._owners[tile])
            objective = Objective(rows, labels, weights, left_out, scale[tile], l2[tile], outputs, penalised)
            columns = start[tile].permute(2, 1, 0).contiguous()
            report = partial(self._report, part * heads + low, tile.stop - low)
            along = self._follow(objective, columns, rates[tile], unseen[tile], report)
            for k, (now, steps) in enumerate(along):
                path.weights[k, tile] = now.permute(2, 1, 0)
                path.losses[k, tile] = objective.losses(now)
                path.steps[tile] = steps
        return path

    def _examples(self, owners: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the weights of the examples and which are left out, in the form of `Objective`."""
        weights, left_out = self.problems.weights, self.problems.left_out
        if weights is not None:
            weights = (weights if len(weights) == 1 else weights[owners]).T.contiguous()
        return weights, None if left_out is None else left_out[owners]

    def _report(self, before: int, heads: int, step: int) -> None:
        """Report the share done: the heads before these, and these up to a step."""
        runs = self.problems.starts.shape[2] if self.problems.loss == "logistic" else 1
        self.progress((before + heads * step / max(1, self.marks[-1])) / (runs * len(self._owners)))

    def _follow(
        self,
        objective: Objective,
        columns: Tensor,
        rates: Tensor,
        unseen: Tensor,
        report: Callable[[int], None],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the columns (d, K, p) at each mark, and the number of steps (p,) taken."""
        now, steps = columns.clone(), torch.zeros_like(rates, dtype=torch.int64)
        going = torch.arange(len(rates), device=rates.device)
        marks = set(self.marks)
        for step in range(self.marks[-1] + 1):
            if step in marks:
                now[..., going], steps[going] = columns, step
                yield now, steps
            if step == self.marks[-1]:
                report(step)
                return
            if not len(going):
                continue
            gradient = objective.gradient(columns)
            if step % _LOOK == 0:
                report(step)
                sizes = gradient.abs().amax((0, 1)) + unseen * (1 - rates * objective.l2) ** step
                (on,) = (~(sizes <= self.tolerance)).nonzero(as_tuple=True)
                if len(on) < len(going):
                    now[..., going], steps[going] = columns, step
                    going, rates, unseen, objective = going[on], rates[on], unseen[on], objective.select(on)
                    columns, gradient = (each[..., on].contiguous() for each in (columns, gradient))
            columns.addcmul_(gradient, rates, value=-1)
