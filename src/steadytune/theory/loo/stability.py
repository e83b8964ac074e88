"""Two instabilities of one training, kept apart: one example is left out, or a seed is changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from steadytune.measures import pair_mean
from steadytune.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """How far apart trained models are, one number per pair of models.

    Attributes:
        weights: Euclidean distance of all trained weights.
        directions: Euclidean distance of the last layer's weights after each is scaled to norm 1, in [0, 2].
        predictions: Share of the evaluation examples on which the predicted classes differ, in [0, 1].
        loss: Absolute difference of the loss, in nats: on the left-out example; over seeds, its mean over the same
            examples.
    """

    weights: Float64Array
    directions: Float64Array
    predictions: Float64Array
    loss: Float64Array

    def of(self, k: int) -> Differences:
        """Return the differences of seed k."""
        return Differences(*(values[k] for values in self._values()))

    def rank_correlations(self, others: Differences) -> dict[str, float]:
        """Return Spearman's correlation of each quantity with that of `others`, such as predicted and exact values.

        Both are of one seed, (m,) each. NaN where it is undefined: fewer than three numbers, one that is not finite, or
        all of them equal.
        """
        names = [field.name for field in fields(self)]
        return dict(zip(names, map(_spearman, self._values(), others._values()), strict=True))

    def _values(self) -> list[Float64Array]:
        return [getattr(self, field.name) for field in fields(self)]


def _spearman(first: Float64Array, second: Float64Array) -> float:
    if first.size < 3 or not np.isfinite([first, second]).all() or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)


def stacked(rows: Sequence[Differences]) -> Differences:
    """Stack differences along a new first axis, one entry per row."""
    return Differences(*map(np.stack, zip(*(row._values() for row in rows), strict=True)))


@dataclass(frozen=True, repr=False)
class Stability(Shown):
    """Leave-one-out stability of a training, and its stability over seeds.

    Leave-one-out compares A(S) and A(S^i), trained with the same seeds; the seed column compares A(S) and A(S), trained
    with different seeds. S^i is S with the weight 0 on example i: all others keep their weight 1/n in the mean loss, as
    in the derivation of the bounds.

    Attributes:
        n: Number of training examples.
        examples: (m,) indices of the examples that were left out.
        seeds: Names of the S seeds.
        leave_one_out: (S, m) each: A(S^i) against A(S), with the seeds held fixed.
        seed: (S, S) each: A(S) against A(S), with two different seeds.
        losses: (S, m) loss of A(S) on example i.
        left_out_losses: (S, m) loss of A(S^i) on example i.
        left_out_predictions: (S, m) class that A(S^i) gives to example i.
    """

    n: int
    examples: NDArray[np.int64]
    seeds: tuple[str, ...]
    leave_one_out: Differences
    seed: Differences
    losses: Float64Array
    left_out_losses: Float64Array
    left_out_predictions: NDArray[np.int64]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row per quantity of `Differences`, and two columns.

        "leave_one_out" is the mean over examples and seeds; for the loss, this is the pointwise hypothesis stability.
        "seed" is the mean over pairs of different seeds; NaN for a single seed.
        """
        import pandas as pd

        names = [field.name for field in fields(Differences)]
        return pd.DataFrame(
            {
                "leave_one_out": [float(getattr(self.leave_one_out, name).mean()) for name in names],
                "seed": [float(pair_mean(getattr(self.seed, name))) for name in names],
            },
            index=pd.Index(names, name="quantity"),
        )

    def summary(self) -> str:
        """Return the table, and below it what was compared and what the numbers do not cover."""
        title = f"Stability of a training on {self.n} examples: leave-one-out beside seeds"
        return "\n".join([title, self.to_frame().to_string(float_format="{:.4g}".format), *self.describe()])

    def remarks(self) -> list[str]:
        """Return what was compared."""
        return self.describe()

    def describe(self) -> list[str]:
        """Return sentences: what was compared, and what the numbers do not cover."""
        count = len(self.examples)
        which = (
            f"each of the {self.n} examples" if count == self.n else f"{count} of the {self.n} examples, one at a time,"
        )
        sentences = [
            f"Leave-one-out: {which} had weight 0 in the training loss, while initialisation, order and dropout "
            f"kept their seeds."
        ]
        if len(self.seeds) > 1:
            sentences.append(f"Seed: the same {self.n} examples, trained with {len(self.seeds)} different seeds.")
        else:
            sentences.append("Seed: not measured, as only one seed was trained.")
        if 1 < count < self.n:
            means = self.leave_one_out.weights.mean(0)
            error = standard_error(means, self.n)
            sentences.append(
                f"The mean weight distance over the sampled examples is {means.mean():.3g}, with a standard error of "
                f"{error:.2g} for the mean over all examples if they were sampled at random."
            )
        return sentences


def standard_error(sample: Float64Array, population: int) -> float:
    """Return the standard error of the mean of numbers (m,) that were drawn without replacement; NaN for a single one.

    Args:
        sample: The numbers that were drawn.
        population: How many they were drawn from.
    """
    count = len(sample)
    return float(sample.std(ddof=1) / math.sqrt(count) * math.sqrt(1 - count / population)) if count > 1 else math.nan
