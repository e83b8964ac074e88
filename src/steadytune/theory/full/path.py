"""Gradient descent on a mean loss, and the terms of the full fine-tuning bound along its path."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.models.random_state import spread
from steadytune.theory.full.curvature import MeanLoss
from steadytune.theory.full.lanczos import Extremes, extreme_eigenvalues

Array = NDArray[np.float64]

_PRODUCTS = 20
"""Enough for the stability limit in the message of a divergence."""


@dataclass(frozen=True)
class PathTerms:
    """Terms measured at K points of the path w_0, ..., w_T, including its ends; (K,) float64 unless stated otherwise.

    Attributes:
        step: t.
        loss: F(w_t).
        gradient: Norm of grad F.
        example_gradients: (K, n) norms of the grad f_i, in the order of `MeanLoss.examples`.
        largest_gradient: Largest of these norms.
        mean_gradient: Their mean.
        self_bounding: Largest ||grad f_i||^2 / (2 f_i): at most beta where the f_i are beta-smooth and not negative.
        largest_curvature: Largest Hessian eigenvalue of F, as Lanczos found it.
        smallest_curvature: Smallest one.
        residual: The larger of their residuals.
        margin: How far the spectrum may reach beyond them; see `lanczos.Extremes`.
        distance: ||w_t - w_0||.
        restricted_mu: 2 (F(w_T) - F(w_t) - <grad F(w_t), w_T - w_t>) / ||w_T - w_t||^2; NaN where w_t = w_T. In single
            precision its rounding error is about 1e-7 F(w_t) / ||w_T - w_t||^2.
    """

    step: Array
    loss: Array
    gradient: Array
    example_gradients: Array
    largest_gradient: Array
    mean_gradient: Array
    self_bounding: Array
    largest_curvature: Array
    smallest_curvature: Array
    residual: Array
    margin: Array
    distance: Array
    restricted_mu: Array


def gradient_descent(
    loss: MeanLoss,
    learning_rate: float,
    steps: int,
    at: Collection[int],
    order_seed: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Tensor]:
    """Train from the current weights without momentum, decay, schedule or dropout, and restore the model afterwards.

    Args:
        loss: The loss to minimise.
        learning_rate: The same at every step.
        steps: Number of steps.
        at: Steps at which to keep the weights, 0 being the start.
        order_seed: Seed of the order of the batches of `loss`, drawn anew for every pass, with one step along the
            gradient of each; None for steps along the gradient of all.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        The weights (P,) at the steps of `at`, in ascending order.

    Raises:
        UserError: The loss is not finite at the start, or no longer finite later; the message then gives the stability
            limit 2/beta at the start.
    """
    parts = itertools.repeat(loss) if order_seed is None else _shuffled(loss, order_seed)
    kept, start = [], loss.weights
    with loss.at(start):
        for step in range(steps + 1):
            weights = loss.weights
            value, gradient = (next(parts) if step < steps else loss).value_and_gradient()
            if not (math.isfinite(value) and all(bool(part.isfinite().all()) for part in (gradient, weights))):
                break
            if step in at:
                kept.append(weights)
            if step < steps:
                loss.set_weights(weights - learning_rate * gradient)
                progress((step + 1) / steps)
        else:
            return kept
    if not step:
        raise UserError(f"the loss is {value:.4g} at the initial weights, or its gradient not finite: nothing to train")
    beta = extreme_eigenvalues(loss.hessian_vector, start, steps=_PRODUCTS).largest.value
    limit = f"no curvature at the start sets a stability limit, as the largest one found is {beta:.4g}"
    if beta > 0:
        limit = f"the stability limit 2/beta is {2 / beta:.4g} at the start, and may fall on the way"
    raise UserError(
        f"gradient descent with a learning rate of {learning_rate:.4g} diverged at step {step} of {steps}: {limit}"
    )


def _shuffled(loss: MeanLoss, seed: int) -> Iterator[MeanLoss]:
    generator = torch.Generator().manual_seed(spread("order", seed))
    parts = [MeanLoss(loss.model, [batch], loss.criterion) for batch in loss.batches]
    while True:
        for index in torch.randperm(len(parts), generator=generator).tolist():
            yield parts[index]


def measure_path(
    loss: MeanLoss,
    at: Sequence[int],
    path: list[Tensor],
    start: Extremes,
    products: int,
    progress: Callable[[float], None],
) -> PathTerms:
    """Measure the terms at points of a path.

    Args:
        loss: The loss that was minimised.
        at: (K,) steps of the points.
        path: K weights (P,), the start first and the end last.
        start: The extreme eigenvalues of the Hessian at the start.
        products: Limit on the Lanczos products at each other point.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The loss of an example is negative, which the bound does not allow for.
    """
    with loss.at(path[-1]):
        final = loss.value()
    rows = []
    for point, (step, weights) in enumerate(zip(at, path, strict=True)):
        with loss.at(weights):
            value, gradient = loss.value_and_gradient()
            losses, norms = loss.example_terms()
            ends = start
            if point:

                def told(share: float, before: int = point - 1) -> None:
                    progress((before + share) / (len(at) - 1))

                ends = extreme_eigenvalues(counted(loss.hessian_vector, products, told), weights, steps=products)
        if losses.min() < 0:
            raise UserError(
                f"the bound requires losses of at least 0: example {losses.argmin()} has {losses.min():.4g}"
            )
        ahead = path[-1] - weights
        far, slope = float(ahead.norm()), float(gradient @ ahead)
        rows.append(
            {
                "step": float(step),
                "loss": value,
                "gradient": float(gradient.norm()),
                "example_gradients": norms,
                "largest_gradient": norms.max(),
                "mean_gradient": norms.mean(),
                "self_bounding": np.max(norms[losses > 0] ** 2 / (2 * losses[losses > 0]), initial=0),
                "largest_curvature": ends.largest.value,
                "smallest_curvature": ends.smallest.value,
                "residual": max(ends.largest.residual, ends.smallest.residual),
                "margin": ends.margin,
                "distance": float((weights - path[0]).norm()),
                "restricted_mu": 2 * (final - value - slope) / far**2 if far else math.nan,
            }
        )
    progress(1.0)
    return PathTerms(**{field.name: np.array([row[field.name] for row in rows]) for field in fields(PathTerms)})


def counted(
    apply: Callable[[Tensor], Tensor], products: int, progress: Callable[[float], None]
) -> Callable[[Tensor], Tensor]:
    """Return `apply`, made to report after each call the share of `products` that has been taken."""
    shares = itertools.count(1)

    def product(v: Tensor) -> Tensor:
        result = apply(v)
        progress(min(1.0, next(shares) / products))
        return result

    return product


def path_sums(terms: PathTerms, learning_rate: float, steps: int) -> Array:
    """Return eta sum_{t<T} c_t ||grad f_i(w_t)|| of every example, (n,).

    c_t is the factor by which the steps after t widen a gap.

    A step widens a gap by the factor 1 - eta * (smallest curvature) where that curvature is negative, by
    eta * (largest curvature) - 1 where that exceeds 1, and otherwise not. Between the points, all terms are
    interpolated along the steps.
    """
    every = np.arange(steps)
    low, high, *gradients = (
        np.interp(every, terms.step, values)
        for values in (terms.smallest_curvature, terms.largest_curvature, *terms.example_gradients.T)
    )
    growth = np.log(np.maximum(1, np.maximum(1 - learning_rate * low, learning_rate * high - 1)))
    after = np.append(np.cumsum(growth[:0:-1])[::-1], 0)
    with np.errstate(over="ignore"):
        sums: Array = learning_rate * (np.array(gradients) @ np.exp(after))
    return sums
