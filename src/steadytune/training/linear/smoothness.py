"""How curved the loss of a linear head can be, and so how large a learning rate gradient descent bears."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.training.linear.posing import check_features
from steadytune.training.linear.problems import Loss, Problems, Reduction

_CURVATURE = {"softmax": 0.5, "logistic": 0.25}
"""Largest second derivative of an example's loss in its logits: of the matrix diag(p) - p p^T, and of p (1 - p)."""
_PRECISION = 1e-7
_ROUNDING = 1e-6
_MOST_STEPS = 1000
_CELLS = 2**24


def smoothness(
    features: Tensor | NDArray[Any],
    *,
    loss: Loss = "softmax",
    reduction: Reduction = "mean",
    l2: float = 0.0,
    bias: bool = True,
) -> float:
    """Return beta, the Lipschitz constant of the gradient of the loss that `fit_heads` minimises.

    beta = c s^2 / N + l2 with the largest singular value s of the features (with a column of ones for a bias), c = 1/2
    for softmax and 1/4 for the logistic loss, and N = n for a mean and 1 for a sum. Gradient descent at a rate of at
    most 1 / beta never raises the loss and is non-expansive up to 2 / beta. No second derivative is larger than beta,
    and at zero weights that of two classes is as large, but for l2 on the bias, which beta counts and the loss does
    not. s comes from power iteration.

    Args:
        features: (n, d).
        loss: As in `fit_heads`.
        reduction: As in `fit_heads`.
        l2: As in `fit_heads`.
        bias: As in `fit_heads`.
    """
    rows = with_ones(check_features(features), bias)
    total = len(rows) if reduction == "mean" else 1
    return float(_CURVATURE[loss] * _largest(rows, None)[0] / total + l2)


def check_rates(problems: Problems, rows: Tensor) -> None:
    """Refuse rates beyond the stability limit 2 / beta of their problem.

    Args:
        problems: Classification problems.
        rows: (n, d) features, with ones for a bias.

    Raises:
        UserError: A rate is beyond the limit, which the message names.
    """
    scale = _CURVATURE[problems.loss] / problems.totals()
    largest = _largest(rows, None).double()
    if problems.weights is not None:
        largest = largest * problems.weights.amax(1)
    beta = scale * largest + problems.l2
    # The bound over all examples is cheap. Only where it is not enough are the examples of each problem looked at.
    most = 2 * (1 + _ROUNDING)
    (doubtful,) = (problems.rates * beta > most).nonzero(as_tuple=True)
    if len(doubtful) and (problems.weights is not None or problems.left_out is not None):
        for some in doubtful.split(max(1, _CELLS // len(rows))):
            few = problems.select(some)
            everything = torch.arange(len(rows), device=rows.device).expand(len(few), -1)
            beta[some] = scale[some] * _largest(rows, few.weights_at(everything)).double() + few.l2
    beyond = problems.rates * beta > most
    if bool(beyond.any()):
        first = int(beyond.nonzero()[0])
        raise UserError(
            f"learning rate {problems.rates[first].item():g} of problem {first} is beyond the stability limit"
            f" {2 / beta[first].item():.4g} = 2 / beta ({problems.reduction} of the {problems.loss} loss; so for"
            f" {int(beyond.sum())} of {len(beta)} problems), above which gradient descent may diverge: lower it"
        )


def with_ones(features: Tensor, bias: bool) -> Tensor:
    """Return (n, d + 1) features with a constant 1, whose weight is a bias; as they are without a bias."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1) if bias else features


def _largest(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Return (k,): the largest eigenvalue of X^T diag(w) X for each of the weights (k, n), or (1,) for weights 1.

    By power iteration from a fixed random direction, until no value grows by more than 1e-7 of itself in a step.
    """
    count = 1 if weights is None else len(weights)
    start = torch.randn(rows.shape[1], 1, dtype=rows.dtype, generator=torch.Generator().manual_seed(0))
    direction = start.to(rows.device).expand(-1, count)
    value = rows.new_zeros(count)
    for _ in range(_MOST_STEPS):
        direction = direction / torch.linalg.vector_norm(direction, dim=0).clamp(min=torch.finfo(rows.dtype).tiny)
        images = rows @ direction
        direction = rows.T @ (images if weights is None else images * weights.T)
        before, value = value, torch.linalg.vector_norm(direction, dim=0)
        if bool((value - before <= _PRECISION * value).all()):
            break
    return value
