"""Instability of predicted numbers: how far apart two runs of a regression are on the same example.

Every function takes the runs of one cohort on the same N examples. Higher values mean less stable, except for
`intraclass_correlation`, which is an agreement: report 1 - ICC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import CombinedMeasure, Draw, PairMeasure, Pairs, PairTable, Seen
from .inputs import Float64Array, to_float64
from .pairs import square

# The rounding error of a constant run is not a spread: relative to its size, or that of a sum in which it cancels.
_OF_VALUES = 1e-14
_OF_SQUARES = 1e-13


def prediction_rmse(predictions: Any) -> Float64Array:
    """Return the root mean square difference between the predictions of two runs, in the unit of the target.

    Formula: D_ij = sqrt( (1/N) sum_n (y_in - y_jn)^2 ).

    Range: at least 0, unbounded. 0: the same number on every example. Two runs whose errors are independent
    with the same mean and a root mean square of e differ by sqrt(2) e; runs that are off by a constant c, by c.

    Do not compare it between tasks: it has a unit, so compare it with the standard deviation of the targets, or with
    the error of the runs. It is dominated by the few examples on which runs are far apart.

    Source: root mean square error with another run in place of the target; our choice for regressions, which Du &
    Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023, do not cover.

    Args:
        predictions: The prediction of every run and example, shape (K, N).

    Returns:
        Distances of shape (K, K), symmetric, with a zero diagonal; a single run gives one 0.

    Raises:
        ValueError: If the shape is another one, or a prediction is NaN or infinite.

    Example:
        >>> prediction_rmse([[1.0, 2.0], [4.0, 6.0]]).round(4)
        array([[0.    , 3.5355],
               [3.5355, 0.    ]])
    """
    return square(np.sqrt(pair_squared_differences(predictions).mean(axis=1)))


def pair_squared_differences(predictions: Any) -> Float64Array:
    """Return the squared difference of every pair of runs on every example.

    The root of its mean over examples is `prediction_rmse`; a bootstrap over examples needs the individual values.

    Args:
        predictions: The prediction of every run and example, shape (K, N).

    Returns:
        Shape (P, N) over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`.

    Raises:
        ValueError: As `prediction_rmse` does.

    Example:
        >>> pair_squared_differences([[1.0, 2.0], [4.0, 6.0]])
        array([[ 9., 16.]])
    """
    values = to_float64(predictions, "predictions", "(K, N)")
    return np.concatenate([(values[i + 1 :] - run) ** 2 for i, run in enumerate(values)])


def correlation_distance(predictions: Any) -> Float64Array:
    """Return 1 - Pearson's correlation between the predictions of two runs.

    Formula: D_ij = 1 - cov(y_i, y_j) / (sd(y_i) sd(y_j)), over examples.

    Range: [0, 2]. 0: one run is an increasing linear function of the other. 1: no linear relation. 2: a decreasing one.
        A run
    that predicts a constant has no correlation: it counts as at distance 1 from every other run, except one
    that predicts the same constant, from which it is at distance 0.

    Do not trust it alone: a shift or rescaling of all predictions, which changes every error, leaves it at 0; see
    `intraclass_correlation`. A single outlying example can make it small whatever the others do.

    Source: Pearson, "Note on regression and inheritance in the case of two parents", Proceedings of the Royal Society
    of London 58, 1895; our choice for regressions.

    Args:
        predictions: The prediction of every run and example, shape (K, N).

    Returns:
        Distances of shape (K, K), symmetric, with a zero diagonal; a single run gives one 0.

    Raises:
        ValueError: If the shape is another one, or a prediction is NaN or infinite.

    Example:
        >>> correlation_distance([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        array([[0., 2.],
               [2., 0.]])
    """
    return PairMoments(predictions).distances()


def intraclass_correlation(predictions: Any) -> float:
    """Return ICC(2,1), the absolute agreement of single runs in a two-way random model. Instability is 1 - ICC.

    Formula, with the mean squares of a two-way analysis of variance without replication, MSR between the N examples,
    MSC between the K runs, MSE of what is left:
        ICC = (MSR - MSE) / (MSR + (K - 1) MSE + K (MSC - MSE) / N).
    Equivalently for pairs of runs, which is how it is computed: with D the mean squared difference of two runs and C
    their covariance over examples (N - 1 in the denominator), both averaged over the pairs, 1 - ICC = D / (D + 2 C).

    Range: ICC is 1 if all runs predict the same, 0 if examples explain none of the variance, and at least
    -1/(K - 1 - K/N); so 1 - ICC lies within [0, K(N - 1)/(NK - N - K)], which is close to K/(K - 1). If all predictions
    are the same number, ICC is 0/0 and defined as 1: there is no disagreement.

    Do not compare it between tasks: it relates the differences between runs to the spread of the predictions, so the
    same differences give a lower ICC if examples are more alike. With few examples or runs it is very uncertain.

    Source: Shrout & Fleiss, "Intraclass correlations: uses in assessing rater reliability", Psychological Bulletin 86,
    1979, case 2; ICC(A,1) of McGraw & Wong, "Forming inferences about some intraclass correlation coefficients",
    Psychological Methods 1, 1996. Using runs as judges is our choice.

    Args:
        predictions: The prediction of every run and example, shape (K, N).

    Returns:
        ICC, not 1 - ICC. NaN for a single run or a single example, and where the formula divides by 0.

    Raises:
        ValueError: If the shape is another one, or a prediction is NaN or infinite.

    Example:
        >>> round(intraclass_correlation([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]), 4)
        0.6667
    """
    squares = pair_squared_differences(predictions).mean(axis=1)
    if not squares.size:
        return float("nan")
    moments = PairMoments(predictions)
    covariances = moments.covariances(np.ones((1, moments.examples)))[0]
    return 1 - float(icc_distance(squares.mean(), covariances.mean()))


def icc_distance(squares: Any, covariances: Any) -> NDArray[np.float64]:
    """Return 1 - ICC(2,1) from the mean squared difference and the mean covariance of two runs.

    Args:
        squares: D of `intraclass_correlation`, any shape.
        covariances: C, of the same shape.

    Returns:
        D / (D + 2 C); 0 if runs do not differ, NaN if D + 2 C is not above 0.
    """
    differ, shared = np.asarray(squares, dtype=np.float64), np.asarray(covariances, dtype=np.float64)
    whole = differ + 2 * shared
    known = whole > _OF_SQUARES * differ
    found = np.where(known, differ / np.where(known, whole, 1), np.nan)
    return np.where((differ == 0) & ~np.isnan(shared), 0.0, found)


class PairMoments(Pairs):
    """Covariances and correlations of every pair of runs over weighted examples.

    A weight is how often an example counts, so integer weights are equivalent to repeating examples.

    Attributes:
        examples: N.
    """

    def __init__(self, predictions: Any) -> None:
        """Take the predictions (K, N) of all runs.

        Raises:
            ValueError: If the shape is another one, or a prediction is NaN or infinite.
        """
        values = to_float64(predictions, "predictions", "(K, N)")
        self.examples = values.shape[1]
        self._first, self._second = np.triu_indices(len(values), 1)
        # Centred on its mean, a run loses no digits to its size; a mean of equal numbers may be off in the last digit.
        self._means = np.where(np.ptp(values, axis=1) == 0, values[:, 0], values.mean(axis=1))
        self._centred = values - self._means[:, None]
        self._products = self._centred[self._first] * self._centred[self._second]
        sizes, deviations = np.abs(values).max(axis=1), np.abs(self._centred).max(axis=1)
        self._no_spread = np.maximum((_OF_VALUES * sizes) ** 2, _OF_SQUARES * deviations**2)
        self._no_distance = _OF_SQUARES * sizes

    def covariances(self, weights: Float64Array) -> Float64Array:
        """Return the covariance of every pair, with one less than the sum of weights in the denominator.

        Args:
            weights: (R, N).

        Returns:
            (R, P) over the pairs i < j; NaN if weights sum to 1.
        """
        total = weights.sum(axis=1, keepdims=True)
        shares = weights / total
        shifts = shares @ self._centred.T
        found: Float64Array = np.where(total > 1, total / np.where(total > 1, total - 1, 1), np.nan) * (
            shares @ self._products.T - shifts[:, self._first] * shifts[:, self._second]
        )
        return found

    def means(self, weights: Float64Array) -> Float64Array:
        """Return 1 - Pearson's correlation of every pair, see `correlation_distance`.

        Args:
            weights: (R, N).

        Returns:
            (R, P) over the pairs i < j.
        """
        first, second = self._first, self._second
        shares = weights / weights.sum(axis=1, keepdims=True)
        shifts = shares @ self._centred.T
        variances = shares @ (self._centred**2).T - shifts**2
        covariances = shares @ self._products.T - shifts[:, first] * shifts[:, second]
        constant = variances <= self._no_spread
        spreads = np.sqrt(np.where(constant, 0, variances))
        spread = spreads[:, first] * spreads[:, second]
        correlations = np.where(spread > 0, covariances / np.where(spread > 0, spread, 1), 0.0)
        means = self._means + shifts
        near = np.abs(means[:, first] - means[:, second]) <= np.maximum(*self._no_distance[[first, second]])
        same = constant[:, first] & constant[:, second] & near
        # Only rounding leads out of the range.
        found: Float64Array = np.where(same, 0.0, np.clip(1 - correlations, 0, 2))
        return found


def _squares(numbers: Any) -> PairTable:
    return PairTable(pair_squared_differences(numbers), root=True)


def _icc(means: Mapping[str, Float64Array], covariances: Float64Array, draw: Draw) -> Float64Array:
    """Return 1 - ICC (R,), see `intraclass_correlation`."""
    return icc_distance(draw.pair_mean(means["prediction_rmse"] ** 2), draw.pair_mean(covariances))


def _largest_icc(runs: int, examples: int) -> float:
    least = examples * (runs - 1) - runs
    return runs * (examples - 1) / least if least > 0 else math.inf


def _constant(seen: Seen) -> str:
    numbers = seen.outputs.numbers
    constant = [run for run, values in enumerate(() if numbers is None else numbers) if np.ptp(values) == 0]
    if not constant:
        return ""
    verb = "predicts" if len(constant) == 1 else "predict"
    return (
        f"{seen.named(constant)} {verb} the same number for every example: its correlation with others is 0/0 and "
        "counts as 0, or as full agreement with a run that predicts the same."
    )


def _one_example(seen: Seen) -> str:
    return "ICC needs at least two examples; there is 1." if seen.examples < 2 else ""


PREDICTION_RMSE = PairMeasure(
    name="prediction_rmse",
    title="Pairwise RMSE",
    short="RMSE",
    called="pairwise RMSE",
    meaning="Root mean square difference between the predictions of two runs, averaged over all pairs of runs, in the "
    "unit of the target: compare it with the SD of the labels. 0: identical predictions. Regression only.",
    in_units=True,
    preference=None,
    claimed=True,
    of={"numbers": _squares},
)

PREDICTION_CORRELATION = PairMeasure(
    name="prediction_correlation",
    title="1 − Pearson’s r",
    short="1 − r",
    called="1 − Pearson",
    meaning="One minus the correlation between the predictions of two runs, averaged over all pairs of runs. 0: one is "
    "an increasing linear function of the other, perhaps shifted or scaled; 1: uncorrelated; 2: reversed. "
    "Regression only.",
    largest=2.0,
    preference=None,
    doubt=_constant,
    of={"numbers": PairMoments},
)

ICC = CombinedMeasure(
    name="icc",
    title="1 − ICC",
    short="1 − ICC",
    meaning="One minus the intraclass correlation ICC(2,1): differences between runs, including shifts, relative "
    "to the spread of the predictions. 0: identical predictions; 1: the example explains nothing. "
    "Regression only.",
    largest=_largest_icc,
    preference=None,
    doubt=_one_example,
    of={"numbers": PairMoments},
    reads=("prediction_rmse",),
    sums=PairMoments.covariances,
    combine=_icc,
)
