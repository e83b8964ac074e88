"""Problems of many linear heads on the same features, and their trained heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Loss = Literal["softmax", "logistic"]
Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Heads:
    """B trained linear heads.

    Attributes:
        weight: (B, outputs, d).
        bias: (B, outputs).
        losses: Training loss. Mini-batches: (steps, B), of each head's batch before its step. Full batch: (1, B), at
            these weights. The mean over the heads of a problem if it has several.
        steps: (B,) int64 steps taken, or None for mini-batches, where each takes all of them.
        snapshots: The heads at the requested steps.
    """

    weight: Tensor
    bias: Tensor
    losses: Tensor
    steps: Tensor | None = None
    snapshots: tuple[Heads, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence[Heads]) -> Heads:
        """Concatenate the heads of several blocks of problems."""
        steps = [one.steps for one in parts if one.steps is not None]
        return cls(
            torch.cat([one.weight for one in parts]),
            torch.cat([one.bias for one in parts]),
            torch.cat([one.losses for one in parts], dim=1),
            torch.cat(steps) if steps else None,
            tuple(cls.joined(kept) for kept in zip(*(one.snapshots for one in parts), strict=True)),
        )

    def logits(self, features: Tensor) -> Tensor:
        """Return (B, n, outputs), or (B, n, c) for features (n, c, d) of c candidates."""
        # One product per head, of a copy with the same memory layout as any other: otherwise the last bits would depend
        # on the neighbouring heads.
        rows = features.flatten(0, -2)
        heads = zip(self.weight, self.bias, strict=True)
        logits = torch.stack([rows @ weight.clone().T + bias.clone() for weight, bias in heads])
        return logits.view(len(logits), *features.shape[:2]) if features.dim() == 3 else logits


@dataclass(frozen=True)
class Problems:
    """B problems on the same n examples.

    Attributes:
        features: (n, d), or (n, c, d) for c candidates each.
        labels: (n,) int64 class or choice index, or target of a regression.
        kind: Kind of task.
        loss: Loss of a classification: "softmax" is cross-entropy, "logistic" log(1 + exp(-y z)) with y = -1 or 1,
            summed over the outputs if each output separates one class from the rest.
        reduction: Weighted "mean" or "sum" over the examples.
        starts: (U, H, outputs, d) distinct initial weights of the H heads of a problem.
        begins: (B,) int64 index of those of each problem.
        bias: Whether the heads have a bias, which starts at 0.
        rates: (B,) float64 learning rates.
        l2: (B,) float64; l2 / 2 times the squared norm of a head's weights, without the bias, is added to its loss.
        weights: (B, n) or (1, n) weights of the examples, or None for 1 each.
        left_out: (B,) int64 index of the example that a problem leaves out, -1 for none; or None.
    """

    features: Tensor
    labels: Tensor
    kind: str
    loss: Loss
    reduction: Reduction
    starts: Tensor
    begins: Tensor
    bias: bool
    rates: Tensor
    l2: Tensor
    weights: Tensor | None
    left_out: Tensor | None

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def start(self) -> Tensor:
        """(B, H, outputs, d): the initial weights of every problem."""
        return self.starts[self.begins]

    def totals(self) -> Tensor:
        """Return (B,) float64: the divisor of the sum of the examples' losses."""
        n = len(self.labels)
        if self.reduction == "sum":
            return torch.ones(len(self), dtype=torch.float64, device=self.features.device)
        weights = self.features.new_ones(1, n) if self.weights is None else self.weights
        totals = weights.sum(1, dtype=torch.float64).repeat(len(self) // len(weights))
        if self.left_out is None:
            return totals
        absent = weights.expand(len(self), n).gather(1, self.left_out.clamp(min=0)[:, None]).squeeze(1)
        return totals - absent * (self.left_out >= 0)

    def weights_at(self, index: Tensor) -> Tensor | None:
        """Return (B, b): the weights of the examples at `index` (B, b) in their problems; None if all are 1."""
        if self.weights is None and self.left_out is None:
            return None
        weights = torch.ones_like(index, dtype=self.features.dtype)
        if self.weights is not None:
            weights = self.weights.expand(len(self), -1).gather(1, index)
        return weights if self.left_out is None else weights * (index != self.left_out[:, None])

    def select(self, chosen: Tensor) -> Problems:
        """Return the problems at `chosen` (k,), in that order."""
        several = self.weights is not None and len(self.weights) > 1
        return replace(
            self,
            begins=self.begins[chosen],
            rates=self.rates[chosen],
            l2=self.l2[chosen],
            weights=self.weights[chosen] if several and self.weights is not None else self.weights,
            left_out=None if self.left_out is None else self.left_out[chosen],
        )


def in_blocks(
    problems: Problems,
    most: int,
    train: Callable[[Problems, slice, Callable[[float], None]], Heads],
    progress: Callable[[float], None],
) -> Heads:
    """Train problems block by block, so that memory does not grow with their number.

    Args:
        problems: All of them.
        most: Size of a block, at least 1.
        train: Called with a block, its position among all, and a callback for the share of it that is done.
        progress: Called with the share of all done, 0 to 1.
    """
    parts: list[Heads] = []
    for low in range(0, len(problems), max(1, most)):
        place = slice(low, min(low + max(1, most), len(problems)))

        def report(share: float, place: slice = place) -> None:
            progress((place.start + share * (place.stop - place.start)) / len(problems))

        everything = torch.arange(len(problems), device=problems.begins.device)
        parts.append(train(problems.select(everything[place]), place, report))
    return parts[0] if len(parts) == 1 else Heads.joined(parts)
