"""Linear heads at the minimum of the regularised loss: logistic for two classes, softmax for more.

The objective is a sum over the examples, as in scikit-learn's `LogisticRegression` with C = 1 / l2:

    sum_i loss(W x_i + b, y_i) + l2/2 ||W||^2

A mean loss with the penalty l2/(2n) ||W||^2 has the same minimum. `logistic_loo.py` leaves examples out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, helmert
from scipy.special import log_softmax, softmax

from steadytune.errors import UserError
from steadytune.measures.inputs import to_array
from steadytune.theory.inputs import labelled_features

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

_MAX_STEPS = 200
_NO_MOVE = 1e-11
"""A step with a reach of at most this is the last: what remains is a hundredth of it."""
_SAME_HESSIAN = 0.01
"""After a step with a reach of at most this, its Hessian is reused: each further step leaves a hundredth."""
_SAFE_REACH = 1.0
"""A Newton step with a reach of at most this lowers the objective, whatever the data."""


@dataclass(frozen=True)
class HeadSolution:
    """A head at the minimum of the regularised loss.

    Attributes:
        weight: (1, d) for two classes, the logit of class 1 against class 0; (C, d) for C > 2, rows summing to zero.
        bias: (1,) or (C,), zeros without an intercept.
        l2: Weight of the penalty.
        objective: Value of the minimum, in nats.
        gradient_norm: Norm of the gradient left by rounding. Without an intercept the weights are within
            gradient_norm / l2 of the minimum, since the objective is l2-strongly convex.
        steps: Newton steps taken, including those with the Hessian of an earlier step.
    """

    weight: Array
    bias: Array
    l2: float
    objective: float
    gradient_norm: float
    steps: int

    def probabilities(self, features: Any) -> Array:
        """Return the class probabilities (n, C) of examples with features (n, d)."""
        logits = to_array(features, "features").astype(np.float64) @ self.weight.T + self.bias
        if len(self.weight) == 1:
            logits = np.column_stack([np.zeros(len(logits)), logits])
        return softmax(logits, axis=1)


def solve_heads(features: Any, labels: Any, *, l2: float, intercept: bool = False) -> HeadSolution:
    """Return the head at the minimum of the regularised loss, to the precision of float64.

    Uses Newton's method with a line search on the logits, which costs no matrix product. A step costs one Cholesky
    factorisation of a matrix of (C - 1) d rows and C (C - 1) / 2 products of n d^2 multiplications. Memory is of the
    order of (C d)^2, which is large for many classes and wide features.

    Args:
        features: (n, d), NumPy or torch; used as given, without scaling. 3 examples or more.
        labels: (n,) classes 0..C-1; C is the largest label plus 1.
        l2: Weight of the penalty l2/2 ||W||^2 added to the sum of the losses, above 0: on separable data there is no
            minimum without it.
        intercept: Whether there is a bias, which is not penalised. The theory's head has none.

    Returns:
        The head; `gradient_norm` says how exact it is.

    Raises:
        UserError: Features or labels cannot be used; there is one class; `l2` is not above 0, or too small for float64;
            or a class has no example and there is an intercept, which would then diverge.

    Example:
        >>> head = solve_heads([[1.0], [1.0], [-1.0], [-1.0]], [1, 1, 0, 0], l2=4 / (1 + np.e))
        >>> print(f"{head.weight[0, 0]:.6f}")
        1.000000
    """
    problem = Problem.read(features, labels, l2, intercept, least=1)
    return problem.solution(*problem.minimise(np.zeros(problem.shape)))


@dataclass(frozen=True)
class Problem:
    """The objective in coordinates without redundancy.

    The logits of the C classes are basis z, with m = C - 1 coordinates z = V x. For two classes they are (0, z). For
    more, the columns of the basis are orthonormal and sum to zero: adding a constant to all logits does not change the
    softmax, so with C coordinates the Hessian of an intercept would be singular. ||W|| = ||V|| in both cases.

    Attributes:
        inputs: (n, k), the features and, with an intercept, a last column of ones.
        labels: (n,).
        basis: (C, m).
        penalty: (k,), l2 and, for the intercept, 0.
        counted: (n,), 1 for examples that count and 0 for others.
    """

    inputs: Array
    labels: Labels
    basis: Array
    penalty: Array
    counted: Array

    @classmethod
    def read(cls, features: Any, labels: Any, l2: float, intercept: bool, least: int) -> Problem:
        """Check the user's input; with an intercept, every class must have at least `least` examples.

        Raises:
            UserError: As for `solve_heads`.
        """
        checked, targets = labelled_features(features, labels)
        inputs, classes = checked.cpu().numpy(), targets.cpu().numpy()
        if not 0 < l2 < math.inf:
            raise UserError(f"l2 must be finite and above 0, not {l2}: without it separable classes have no minimum")
        sizes = np.bincount(classes)
        if intercept and sizes.min() < least:
            raise UserError(
                f"class {sizes.argmin()} has too few examples for an intercept, which diverges when none is left: "
                f"{sizes.min()} of at least {least}; add examples, or leave out the intercept"
            )
        basis = np.array([[0.0], [1.0]]) if len(sizes) == 2 else helmert(len(sizes)).T
        penalty = np.full(inputs.shape[1], float(l2))
        if intercept:
            inputs, penalty = np.column_stack([inputs, np.ones(len(inputs))]), np.append(penalty, 0.0)
        return cls(inputs, classes, basis, penalty, np.ones(len(inputs)))

    @property
    def shape(self) -> tuple[int, int]:
        """(m, k), the shape of V."""
        return self.basis.shape[1], self.inputs.shape[1]

    def losses(self, logits: Array, labels: Labels) -> Array:
        """Return the loss (n,) of each example in nats, from its coordinates z (n, m)."""
        return -np.take_along_axis(log_softmax(logits @ self.basis.T, axis=1), labels[:, None], axis=1)[:, 0]

    def objective(self, weights: Array, logits: Array) -> float:
        """Return the objective at V (m, k), where the coordinates z are `logits` (n, m)."""
        return float(self.counted @ self.losses(logits, self.labels) + (self.penalty * weights**2).sum() / 2)

    def derivatives(self, logits: Array) -> tuple[Array, Array]:
        """Return the first (n, m) and second (n, m, m) derivatives of the counted losses with respect to z (n, m)."""
        errors = softmax(logits @ self.basis.T, axis=1)
        spread = self.basis - (errors @ self.basis)[:, None]
        curvature = (errors[..., None] * spread).swapaxes(1, 2) @ spread
        # The complement of a probability near 1 would keep no digit, and with a small l2 the result rests on such ones.
        own = np.arange(len(errors)), self.labels
        errors[own] = 0
        errors[own] = -errors.sum(axis=1)
        return self.counted[:, None] * (errors @ self.basis), self.counted[:, None, None] * curvature

    def gradient(self, weights: Array, residuals: Array) -> Array:
        """Return the gradient (m, k) at V, from the first derivatives there."""
        return residuals.T @ self.inputs + self.penalty * weights

    def factor(self, curvature: Array) -> Array:
        """Return the lower Cholesky factor (m k, m k) of the Hessian, from the second derivatives (n, m, m).

        Raises:
            UserError: l2 is so small that rounding makes the Hessian indefinite.
        """
        outputs, width = self.shape
        hessian = np.zeros((outputs, width, outputs, width))
        for a in range(outputs):
            # NumPy needs half the operations for a product of a matrix with its own transpose.
            rooted = self.inputs * np.sqrt(curvature[:, a, a, None])
            hessian[a, :, a] = rooted.T @ rooted
            for b in range(a):
                hessian[a, :, b] = (self.inputs * curvature[:, a, b, None]).T @ self.inputs
        matrix = hessian.reshape(outputs * width, -1)
        matrix[np.diag_indices_from(matrix)] += np.tile(self.penalty, outputs)
        try:
            return cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            raise self._too_small() from None

    def minimise(self, weights: Array) -> tuple[Array, int]:
        """Return V (m, k) at the minimum, and the number of Newton steps from the given V to it.

        The reach r of a step is the largest distance by which it moves two logits of one example apart. The third
        derivative of a softmax loss along the step is at most r times the second, so that the Hessian changes by a
        factor of at most e^r. With q = (e^r - 1 - r) / r and the Newton decrement s, the objective falls by
        (1 - q / r) s^2 or more, .28 s^2 at r = 1, and the next decrement is at most q e^(r/2) s, .06 s at r = .1
        (derived here). So only a longer step is halved until Armijo's condition holds: near the minimum, that condition
        would compare the rounding errors of two objectives. Where r is small, the Hessian hardly changes and is reused.

        Raises:
            UserError: l2 is too small for float64.
        """
        logits = self.inputs @ weights.T
        last_decrement = last_reach = math.inf
        for steps in range(1, _MAX_STEPS + 1):
            residuals, curvature = self.derivatives(logits)
            gradient = self.gradient(weights, residuals)
            if last_reach > _SAME_HESSIAN:
                lower = self.factor(curvature)
            step = -cho_solve((lower, True), gradient.ravel(), check_finite=False).reshape(self.shape)
            moves = self.inputs @ step.T
            reach = np.ptp(moves @ self.basis.T, axis=1).max()
            size, before, decrement = 1.0, self.objective(weights, logits), -float((gradient * step).sum())
            while size * reach > _SAFE_REACH and not (
                self.objective(weights + size * step, logits + size * moves) <= before - 1e-4 * size * decrement
            ):
                size /= 2
            weights, logits = weights + size * step, logits + size * moves
            # If the squared decrement has not fallen to a fraction of the last one, as it should, it is rounding error.
            if reach <= _NO_MOVE or (last_reach <= 0.1 and decrement > last_decrement / 2):
                return weights, steps
            last_decrement, last_reach = decrement, reach
        raise self._too_small()

    def heads(self, weights: Array) -> tuple[Array, Array]:
        """Return the weights (..., rows, d) and biases (..., rows) of the classes, from V (..., m, k)."""
        rows = (self.basis[1:] if len(self.basis) == 2 else self.basis) @ weights
        if self.penalty[-1]:
            return rows, np.zeros(rows.shape[:-1])
        return rows[..., :-1], rows[..., -1]

    def solution(self, weights: Array, steps: int) -> HeadSolution:
        """Return the `HeadSolution` for V (m, k) at the minimum."""
        logits = self.inputs @ weights.T
        left = self.gradient(weights, self.derivatives(logits)[0])
        objective, norm = self.objective(weights, logits), float(np.linalg.norm(left))
        return HeadSolution(*self.heads(weights), float(self.penalty[0]), objective, norm, steps)

    def _too_small(self) -> UserError:
        enough = 1e-13 * float((self.inputs**2).sum())
        return UserError(
            f"l2 = {self.penalty[0]:.3g} is too small to find the minimum in float64: use at least {enough:.1g}"
        )
