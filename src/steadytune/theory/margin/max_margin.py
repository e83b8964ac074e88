"""The exact max-margin head without bias on given features, and its leave-one-out versions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.theory.margin.hard import hard_margin
from steadytune.theory.margin.rows import Float64Array, Indices, MarginRows, margin_rows
from steadytune.theory.margin.soft import soft_margin
from steadytune.theory.margin.updates import ActiveSet, without

# Above this C, for rows of norm 1, rounding hides which rows lie on the soft margin.
_HARDEST = 1e6


@dataclass(frozen=True)
class MaxMargin:
    """The head w that minimises ||w||^2 / 2 with z . w >= 1 for all rows, or its soft-margin version.

    Attributes:
        constraints: The rows z, which example each belongs to, and the shape of the weights.
        weights: w, shape (d,) for two classes, (C, d) for more.
        multipliers: (m,) one per row, at least 0: w is the sum of multiplier times row.
        largest_norm: B, the largest ||z||. Two classes: the largest feature norm. More: sqrt(2) times that.
        penalty: C of the soft margin, ||w||^2 / 2 + C sum_j max(0, 1 - z_j . w); None for the hard margin.
        residual: Violation of the Karush-Kuhn-Tucker conditions, z . w >= 1 among them: about 1e-12 for a hard
            margin; for a soft one occasionally up to 1e-4, where rows lie almost on a bound.
    """

    constraints: MarginRows
    weights: Float64Array
    multipliers: Float64Array
    largest_norm: float
    penalty: float | None
    residual: float

    @property
    def separable(self) -> bool:
        """Whether some weights classify every example correctly, with a margin above 1e-6 B."""
        return self.penalty is None

    @property
    def gamma(self) -> float:
        """The margin 1 / ||w||: that of the nearest row, or the soft margin; infinite where the latter has w = 0."""
        norm = float(np.linalg.norm(self.weights))
        return 1 / norm if norm else np.inf

    @cached_property
    def alpha(self) -> Float64Array:
        """The multipliers (n,) of the examples, summed over their rows. For a hard margin they sum to 1 / gamma^2."""
        return self.constraints.of_examples(self.multipliers)

    @property
    def support(self) -> Indices:
        """The examples with a multiplier above 0: all others can be left out without changing w."""
        return np.flatnonzero(self.alpha)


@dataclass(frozen=True)
class MaxMarginLeaveOneOut:
    """The hard-margin head of S compared with those of all S^i.

    Attributes:
        weights: w^i, shape (n, d) or (n, C, d).
        differences: ||w - w^i||, shape (n,).
        direction_differences: || w / ||w|| - w^i / ||w^i|| ||, shape (n,), at most sqrt(2).
    """

    weights: Float64Array
    differences: Float64Array
    direction_differences: Float64Array


def max_margin(features: Any, labels: Any, *, penalty: float = 1.0) -> MaxMargin:
    """Return the hard-margin head without bias, exact to about 1e-8, or the soft-margin one if none separates.

    The features are used as given: scale them first if they should be scaled; for a bias, append a feature that is
    always 1. A margin below 1e-6 B counts as none: then `separable` is False.

    Args:
        features: (n, d), an array or a tensor.
        labels: (n,) classes 0..C-1.
        penalty: C of the soft margin, used only where the classes are not separable.

    Raises:
        UserError: Features or labels have the wrong shape, are not finite, or are of one class; there are fewer than
            three examples; all features are 0; the penalty is not above 0, or above 1e6 / B^2 where it is used; or
            rounding errors prevent a solution.
    """
    if not 0 < penalty < np.inf:
        raise UserError(f"the soft-margin penalty must be a number above 0, not {penalty}")
    constraints = margin_rows(features, labels)
    largest = float(np.linalg.norm(constraints.rows, axis=1).max())
    rows = constraints.rows / largest
    try:
        found = hard_margin(rows)
    except ArithmeticError as error:
        raise UserError(f"{error}. Scale the features: their columns or rows differ too much in size") from None
    if found is None:
        if penalty * largest**2 > _HARDEST:
            raise UserError(
                f"no direction separates the classes with a margin above 1e-6 of the largest norm, {largest:.3g}, and "
                f"for such features the soft margin with penalty {penalty:g} cannot be computed: use a penalty up to "
                f"{_HARDEST / largest**2:.2g}, or scale the features"
            )
        multipliers, residual = soft_margin(rows, penalty * largest**2)
        if not residual < np.inf:
            raise UserError("the soft margin could not be computed: scale the features, or choose another penalty")
        weights = multipliers @ rows
    else:
        weights, multipliers, residual = found.weights, found.multipliers, found.residual
    # The rows were divided by B, which makes w B times as long, and the multipliers B^2 times as large.
    return MaxMargin(
        constraints,
        (weights / largest).reshape(constraints.shape),
        multipliers / largest**2,
        largest,
        penalty if found is None else None,
        residual,
    )


def max_margin_leave_one_out(solution: MaxMargin) -> MaxMarginLeaveOneOut:
    """Return the exact hard-margin heads of S without each of its examples.

    Only leaving out a support vector changes w, and the solution of S is then a close starting point.

    Args:
        solution: The hard-margin solution of S.

    Raises:
        UserError: The solution is a soft margin, or rounding errors prevent a result.
    """
    if not solution.separable:
        raise UserError("the classes are not separable: leave-one-out of the hard margin is undefined")
    constraints, largest = solution.constraints, solution.largest_norm
    # In coordinates of the space that the rows span: fewer coordinates if there are few rows.
    basis, coordinates = np.linalg.qr((constraints.rows / largest).T)
    whole = ActiveSet(coordinates.T, solution.gamma / largest, solution.multipliers)
    weights = np.repeat(solution.weights[None], constraints.n, axis=0)
    for example in solution.support:
        try:
            found = basis @ without(whole, np.flatnonzero(constraints.owner == example))
        except ArithmeticError as error:
            raise UserError(f"without example {example}: {error}. Scale the features") from None
        weights[example] = (found / largest).reshape(constraints.shape)
    return MaxMarginLeaveOneOut(
        weights, norms(weights - solution.weights), norms(directions(weights) - directions(solution.weights[None]))
    )


def norms(weights: Float64Array) -> Float64Array:
    """Return the Euclidean norms, shape (n,), of heads (n, ...)."""
    return np.asarray(np.linalg.norm(weights.reshape(len(weights), -1), axis=1))


def directions(weights: Float64Array) -> Float64Array:
    """Return heads (n, ...) scaled to norm 1.

    Raises:
        UserError: A head is 0.
    """
    lengths = norms(weights)
    if not lengths.all():
        raise UserError("zero weights have no direction: train for at least one step")
    return np.asarray(weights / lengths.reshape(-1, *[1] * (weights.ndim - 1)))
