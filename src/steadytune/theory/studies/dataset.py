"""One data set under study: its geometry, and heads trained on it from many starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.linear.fit import fit_heads
from steadytune.linear.problems import Loss
from steadytune.linear.smoothness import smoothness
from steadytune.theory.margin.bound import HeadBound, head_tuning_bound
from steadytune.theory.margin.max_margin import MaxMarginLeaveOneOut, max_margin_leave_one_out

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class DataSet:
    """Features and labels, with quantities that are computed once for all settings.

    Attributes:
        features: (n, d).
        labels: (n,) classes.
        seed: Seed of the initial weights.
        scale: Standard deviation of the initial weights at a scale of 1.
    """

    features: Array
    labels: Indices
    seed: int
    scale: float = 1.0

    @cached_property
    def bound(self) -> HeadBound:
        """The max-margin head and the bounds that follow from it."""
        return head_tuning_bound(self.features, self.labels)

    @property
    def separable(self) -> bool:
        """Whether a head without bias separates the classes."""
        return self.bound.solution.separable

    @cached_property
    def without(self) -> MaxMarginLeaveOneOut:
        """The max-margin heads with each example left out; requires separable classes."""
        return max_margin_leave_one_out(self.bound.solution)

    @cached_property
    def limit(self) -> Array:
        """The max-margin direction (p,); requires separable classes."""
        return unit(self.bound.solution.weights.ravel())

    @cached_property
    def limits(self) -> Array:
        """The max-margin directions (n, p) with each example left out; requires separable classes."""
        return unit(self.without.weights.reshape(len(self.labels), -1))

    @property
    def outputs(self) -> int:
        """Number of outputs of a head: 1 for two classes, C for more."""
        shape = self.bound.solution.constraints.shape
        return 1 if len(shape) == 1 else shape[0]

    @property
    def loss(self) -> Loss:
        """Name of the loss in `fit_heads`: logistic for two classes, softmax for more."""
        return "logistic" if self.outputs == 1 else "softmax"

    @cached_property
    def rate(self) -> float:
        """1/beta, with beta the Lipschitz constant of the gradient of the mean loss."""
        return 1 / smoothness(torch.from_numpy(self.features), loss=self.loss, bias=False)

    def noise(self, seeds: int, heads: int) -> Array:
        """Return initial weights (seeds, heads, outputs, d) of scale 1; larger counts only append to smaller ones."""
        shape = (heads, self.outputs, self.features.shape[1])
        drawn = [np.random.default_rng([self.seed, 1, seed]).standard_normal(shape) for seed in range(seeds)]
        return self.scale * np.stack(drawn)

    def train(self, init: Array, left_out: Indices, rates: Array, steps: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Train heads by full-batch gradient descent; yield (step, weights as `init`) at each of the steps.

        Leaving an example out removes it from the mean loss; the others keep their weight 1/n.

        Args:
            init: (..., outputs, d).
            left_out: Index of the example to leave out, -1 for none; its shape and that of `rates` broadcast to (...).
            rates: Learning rates in units of 1/beta.
            steps: Increasing.
        """
        shape = init.shape[:-2]
        trained = fit_heads(
            self.features,
            self.labels,
            # Copies: torch does not accept read-only arrays.
            learning_rate=np.broadcast_to(rates * self.rate / len(self.labels), shape).flatten(),
            epochs=steps[-1],
            loss=self.loss,
            reduction="sum",
            init=init.reshape(-1, *init.shape[-2:]),
            bias=False,
            left_out=np.broadcast_to(left_out, shape).flatten(),
            at=steps,
        )
        for step, heads in zip(steps, trained.snapshots, strict=True):
            yield step, heads.weight.numpy().reshape(init.shape)

    def directions(self, weights: Array) -> Array:
        """Return (..., p): weights (..., outputs, d), less the part that affects no prediction, at length 1."""
        axes = weights.shape[:-2]
        return unit(self.bound.solution.constraints.canonical(weights, axes).reshape(*axes, -1))


def unit(vectors: Array) -> Array:
    """Return vectors (..., p) scaled to length 1.

    Raises:
        UserError: A vector is 0.
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not lengths.all():
        raise UserError("weights stay 0 and have no direction: the classes have the same features")
    return np.asarray(vectors / lengths)
