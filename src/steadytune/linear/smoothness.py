"""Bounds on the curvature of a linear head's loss, and thus on stable learning rates of gradient descent."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError, unknown_name
from steadytune.linear.posing import check_features
from steadytune.linear.problems import Loss, Problems, Reduction

_CURVATURE = {"softmax": 0.5, "logistic": 0.25}
"""Bound on the second derivative of an example's loss in its logits: of diag(p) - p p^T, and of p (1 - p)."""
_ROUNDING = 1e-9
_CELLS = 2**23


def smoothness(
    features: Tensor | NDArray[Any],
    *,
    loss: Loss = "softmax",
    reduction: Reduction = "mean",
    l2: float = 0.0,
    bias: bool = True,
) -> float:
    """Return beta, the Lipschitz constant of the gradient of the loss that `fit_heads` minimises.

    beta is the largest eigenvalue of c X^T X / N + l2 (the identity, but 0 for a bias), with a column of ones in X for
    a bias, c = 1/2 for softmax and 1/4 for the logistic loss, and N = n for a mean and 1 for a sum. Gradient descent at
    a rate up to 2 / beta never raises the loss and is non-expansive. No second derivative is larger than beta. At zero
    weights that of two classes attains beta, so the limit 2 / beta is sharp; for more classes it is
    conservative.

    Args:
        features: (n, d).
        loss: As in `fit_heads`.
        reduction: As in `fit_heads`.
        l2: As in `fit_heads`.
        bias: As in `fit_heads`.
    """
    if loss not in _CURVATURE:
        raise unknown_name("loss", loss, _CURVATURE)
    features = check_features(features)
    rows = with_ones(features, bias).double()
    factor = rows.new_tensor([_CURVATURE[loss] / (len(rows) if reduction == "mean" else 1)])
    return float(_largest(rows, None, factor, torch.full_like(factor, l2), features.shape[1]))


def check_rates(problems: Problems, rows: Tensor) -> None:
    """Reject rates beyond the stability limit 2 / beta of their problem.

    Args:
        problems: Classification problems.
        rows: (n, d) features, with ones for a bias.

    Raises:
        UserError: A rate is beyond the limit; names the limit.
    """
    rows, width = rows.double(), problems.features.shape[1]
    factors, l2 = _CURVATURE[problems.loss] / problems.totals(), problems.l2
    heaviest = 1.0 if problems.weights is None else problems.weights.amax(1).double()
    # The bound over all examples is cheap. Problems are examined individually only if it does not suffice.
    one, none = torch.ones_like(factors[:1]), torch.zeros_like(l2[:1])
    beta = factors * heaviest * _largest(rows, None, one, none, width) + l2
    most = 2 * (1 + _ROUNDING)
    (doubtful,) = (~(problems.rates * beta <= most)).nonzero(as_tuple=True)
    smaller = min(rows.shape)
    for some in doubtful.split(max(1, _CELLS // (len(rows) * smaller))):
        few = problems.select(some)
        weights = few.weights_at(torch.arange(len(rows), device=rows.device).expand(len(few), -1))
        beta[some] = _largest(rows, weights, factors[some], few.l2, width)
    beyond = ~(problems.rates * beta <= most)
    if bool(beyond.any()):
        first = int(beyond.nonzero()[0])
        raise UserError(
            f"learning rate {problems.rates[first].item():g} of problem {first} is beyond the stability limit"
            f" {2 / beta[first].item():.4g} = 2 / beta ({problems.reduction} of the {problems.loss} loss; likewise for"
            f" {int(beyond.sum())} of {len(beta)} problems), above which gradient descent may diverge: lower the rate"
        )


def with_ones(features: Tensor, bias: bool) -> Tensor:
    """Return (n, d + 1) features with a constant 1, whose weight is a bias; unchanged without a bias."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1) if bias else features


def _largest(rows: Tensor, weights: Tensor | None, factors: Tensor, l2: Tensor, penalised: int) -> Tensor:
    """Return (k,): the largest eigenvalue of factor X^T diag(w) X + l2 (1 on the penalised columns, else 0).

    Args:
        rows: X, shape (n, d).
        weights: (k, n), or None for 1 each.
        factors: (k,).
        l2: (k,).
        penalised: Number of penalised columns of X.
    """
    n, d = rows.shape
    scaled = rows if weights is None else rows * weights.double().sqrt()[..., None]
    if n < d and (penalised == d or not bool(l2.any())):
        # The other product has the same eigenvalues, except for zeros.
        values: Tensor = factors * torch.linalg.eigvalsh(scaled @ scaled.mT)[..., -1] + l2
        return values
    matrix = factors[:, None, None] * (scaled.mT @ scaled)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    diagonal[:, :penalised] += l2[:, None]
    largest: Tensor = torch.linalg.eigvalsh(matrix)[:, -1]
    return largest
