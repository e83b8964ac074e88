"""The bound on leave-one-out stability of full fine-tuning, with every term measured on a model and its data."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from steadytune.errors import UserError
from steadytune.theory.full.curvature import MeanLoss
from steadytune.theory.full.formula import ROUNDING, FullBound, full_bound
from steadytune.theory.full.lanczos import Extremes, extreme_eigenvalues
from steadytune.theory.full.path import counted, gradient_descent, measure_path, path_sums
from steadytune.theory.full.result import FullTuningBound


def full_tuning_bound(
    loss: MeanLoss,
    *,
    learning_rate: float | None = None,
    steps: int,
    mini_batches: bool = False,
    seed: int = 0,
    points: int = 5,
    products: int = 40,
    progress: Callable[[float], None] = lambda share: None,
) -> FullTuningBound:
    """Train a model by gradient descent, and measure the terms of the bound along the path.

    There is no momentum, decay, schedule or dropout: the bound covers none. The model gets its old weights back
    afterwards. Each point costs a pass for each example and up to `products` Hessian-vector products; memory is that of
    `products` + `points` copies of the weights.

    Args:
        loss: The model and its training data, at w_0.
        learning_rate: eta; 1/beta at the start unless given, with the margin added to beta.
        steps: T.
        mini_batches: Step along the gradient of one batch of `loss` at a time, in an order drawn anew for every pass,
            instead of along that of all.
        seed: Seed of that order.
        points: K, spread evenly over the steps; steps + 1 measures at every one.
        products: Limit on the Lanczos products at each point. Fewer widen the margin of beta and mu; below about 10, it
            is infinite for all but the smallest models.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The learning rate is beyond the stability limit 2/beta at the start, or the loss diverges later (the
            message gives the limit); a loss is negative; there are too few products to choose a learning rate; or an
            argument is out of its range.
    """
    check_arguments(learning_rate, steps, points, products)
    if len(loss) < 2:
        raise UserError("full bound: leaving one example out needs at least 2 examples")
    at = np.unique(np.linspace(0, steps, points).round().astype(int)).tolist()
    parts = _efforts(steps, len(at), products, progress)
    apply = counted(loss.hessian_vector, products, parts[0])
    start = extreme_eigenvalues(apply, loss.weights, steps=products)
    rate = _learning_rate(start, learning_rate)
    path = gradient_descent(loss, rate, steps, at, seed if mini_batches else None, parts[1])
    terms = measure_path(loss, at, path, start, products, parts[2])
    towards = terms.restricted_mu[np.isfinite(terms.restricted_mu)]
    found = {
        "lipschitz": float(terms.largest_gradient.max()),
        "mean_gradient": float(terms.mean_gradient.max()),
        "beta": float((terms.largest_curvature + terms.margin).max()),
        "example_beta": float(terms.self_bounding.max()),
        "mu": float((terms.smallest_curvature - terms.margin).min()),
        "restricted_mu": float(towards.min()) if len(towards) else 0.0,
        "distance": float(terms.distance[-1]),
    }
    bound = FullBound(math.inf, math.inf, math.inf)
    if 0 < found["beta"] <= (1 + ROUNDING) / rate:
        bound = full_bound(
            found["lipschitz"],
            found["beta"],
            min(max(found["restricted_mu"], 0.0), found["beta"]),
            found["distance"],
            len(loss),
            learning_rate=rate,
            steps=steps,
            example_beta=found["example_beta"],
            minimum=float(terms.loss[-1]),
        )
    return FullTuningBound(
        bound=bound,
        example_paths=path_sums(terms, rate, steps) / len(loss),
        **found,
        n=len(loss),
        size=loss.size,
        idle=int((loss.gradient() == 0).sum()),
        learning_rate=rate,
        steps=steps,
        mini_batches=mini_batches,
        terms=terms,
        end=path[-1],
    )


def check_arguments(learning_rate: float | None, steps: int, points: int, products: int) -> None:
    """Raise UserError unless each of these arguments of `full_tuning_bound` is in its range."""
    if steps < 1 or points < 2 or products < 1 or not (learning_rate is None or 0 < learning_rate < math.inf):
        raise UserError(
            "full bound: learning_rate must be positive and finite, steps and products at least 1, points at least 2, "
            f"not {learning_rate}, {steps}, {products} and {points}"
        )


def _learning_rate(start: Extremes, asked: float | None) -> float:
    """Return the learning rate that was given, or 1/beta."""
    beta = start.largest.value
    if asked is None:
        if not 0 < beta + start.margin < math.inf:
            raise UserError(
                f"full bound: {start.products} products are too few to estimate beta for a learning rate of 1/beta: "
                f"the largest curvature found is {beta:.4g}, with a margin of {start.margin:.4g}. Raise products, or "
                "give a learning rate"
            )
        return 1 / (beta + start.margin)
    if beta > 0 and asked > 2 / beta:
        raise UserError(
            f"full bound: the learning rate {asked:.4g} is above the stability limit 2/beta = {2 / beta:.4g} at the "
            f"start, where gradient descent diverges; the bound is proved up to 1/beta = {1 / beta:.4g}"
        )
    return asked


def _efforts(
    steps: int, points: int, products: int, progress: Callable[[float], None]
) -> list[Callable[[float], None]]:
    """Split the progress into the parts of the first Lanczos run, the training, and the other points."""
    # A product costs about as much as three steps.
    ends = np.cumsum([0, 3 * products, steps, 3 * products * (points - 1)])
    ends = ends / ends[-1]

    def part(low: float, high: float) -> Callable[[float], None]:
        return lambda share: progress(low + share * (high - low))

    return [part(low, high) for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
