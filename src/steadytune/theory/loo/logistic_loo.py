"""Leave-one-out of the regularised logistic head: by one Newton step for all examples at once, or exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.special import softmax

from steadytune.theory.inputs import chosen_examples
from steadytune.theory.loo.logistic import Array, HeadSolution, Problem

_ENTRIES = 2**22
"""Largest number of entries in a temporary array: 32 MiB."""


@dataclass(frozen=True)
class LeftOutHeads:
    """Heads trained on all examples but one, and the prediction of each for its left-out example.

    Attributes:
        full: The head trained on all examples.
        examples: (e,) indices of the left-out examples.
        weight: (e, 1, d) for two classes, (e, C, d) for more, as in `HeadSolution`.
        bias: (e, 1) or (e, C).
        probabilities: (e, C) of the left-out example.
        loss: (e,) of the left-out example, in nats.
    """

    full: HeadSolution
    examples: NDArray[np.int64]
    weight: Array
    bias: Array
    probabilities: Array
    loss: Array

    @property
    def predictions(self) -> NDArray[np.int64]:
        """(e,) most probable class of the left-out example."""
        chosen: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return chosen


def approximate_leave_one_out(features: Any, labels: Any, *, l2: float, intercept: bool = False) -> LeftOutHeads:
    """Return the heads without each example, one Newton step away from the head of all examples.

    Let H be the Hessian of all examples, g_i and A_i the first and second derivatives of loss i with respect to the
    m = C - 1 coordinates of its logits, U_i = I_m (x) x_i, and K_i = U_i^T H^-1 U_i. Without i, the step is

        V^i - V = (H - U_i A_i U_i^T)^-1 U_i g_i = H^-1 U_i (I - A_i K_i)^-1 g_i,

    by the Woodbury identity, since the gradient of all examples is 0. So one factorisation of H serves all examples.
    For two classes a_i K_i is the leverage of example i, and its logit moves by K_i g_i / (1 - a_i K_i). Derived here;
    for two classes it is the one-step estimate of Pregibon, "Logistic Regression Diagnostics", Annals of Statistics
    1981, and the approximate leave-one-out of Rad & Maleki, JRSS B 2020 (both recalled rather than read).

    The error falls as 1/n^2 with the number n of examples, and the change caused by leaving one out falls as 1/n.
    Where the classes are separable and l2 is small, a few examples determine the head, and the error can be as large
    as the change: compare with `exact_leave_one_out` on some examples.

    Args:
        features: As for `solve_heads`.
        labels: As for `solve_heads`.
        l2: As for `solve_heads`; it stays as it is when an example is left out.
        intercept: As for `solve_heads`.

    Returns:
        One head per example, in their order.

    Raises:
        UserError: As for `solve_heads`; or a class has a single example and there is an intercept.
    """
    problem = Problem.read(features, labels, l2, intercept, least=2)
    weights, steps = problem.minimise(np.zeros(problem.shape))
    residuals, curvature = problem.derivatives(problem.inputs @ weights.T)
    outputs, width = problem.shape
    inverse = cho_solve((problem.factor(curvature), True), np.eye(outputs * width), check_finite=False)
    heads = np.empty((len(residuals), outputs, width))
    for rows in _chunks(len(residuals), outputs * outputs * width):
        inputs = problem.inputs[rows]
        # H^-1 U_i: the one large product.
        columns = (inputs @ inverse.reshape(-1, width).T).reshape(len(inputs), outputs, width, outputs)
        left = np.eye(outputs) - curvature[rows] @ np.einsum("nk,nakb->nab", inputs, columns)
        heads[rows] = weights + np.einsum(
            "nakb,nb->nak", columns, np.linalg.solve(left, residuals[rows, :, None])[..., 0]
        )
    return _left_out(problem, problem.solution(weights, steps), np.arange(len(residuals)), heads)


def exact_leave_one_out(
    features: Any, labels: Any, *, l2: float, intercept: bool = False, examples: Sequence[int] | None = None
) -> LeftOutHeads:
    """Return the heads without each example, by Newton's method to convergence, from the head of all examples.

    Args:
        features: As for `solve_heads`.
        labels: As for `solve_heads`.
        l2: As for `solve_heads`; it stays as it is when an example is left out.
        intercept: As for `solve_heads`.
        examples: Indices of the examples to leave out, one at a time; all unless given.

    Returns:
        One head per left-out example, in their order.

    Raises:
        UserError: As for `approximate_leave_one_out`; or `examples` are not distinct indices of the examples.
    """
    problem = Problem.read(features, labels, l2, intercept, least=2)
    chosen = chosen_examples(examples, len(problem.labels))
    weights, steps = problem.minimise(np.zeros(problem.shape))
    found = np.empty((len(chosen), *problem.shape))
    for position, example in enumerate(chosen):
        counted = problem.counted.copy()
        counted[example] = 0.0
        found[position], _ = replace(problem, counted=counted).minimise(weights)
    return _left_out(problem, problem.solution(weights, steps), chosen, found)


def _left_out(problem: Problem, full: HeadSolution, examples: NDArray[np.int64], weights: Array) -> LeftOutHeads:
    logits = (weights @ problem.inputs[examples, :, None])[..., 0]
    probabilities = softmax(logits @ problem.basis.T, axis=1)
    loss = problem.losses(logits, problem.labels[examples])
    return LeftOutHeads(full, examples, *problem.heads(weights), probabilities, loss)


def _chunks(count: int, entries: int) -> list[slice]:
    """Split `count` examples of `entries` numbers each into parts of at most `_ENTRIES` numbers."""
    size = max(1, _ENTRIES // entries)
    return [slice(start, start + size) for start in range(0, count, size)]
