r"""The bound on the leave-one-out stability of full fine-tuning, from its terms alone.

F = (1/n) sum_i f_i is minimised by T steps of gradient descent, w_{t+1} = w_t - eta grad F(w_t), and again without f_i,
the other examples keeping their weight 1/n. Leave-one-out (LOO) stability is the mean over i of the distance between
the two ends. The assumptions: f_i >= 0 and convex, F beta-smooth, eta <= 1/beta, and ||grad f_i||^2 <= 2 b f_i on the
path, which holds with b = beta where each f_i is itself beta-smooth.

The proof (derived in this project):

1. The step on the other examples is non-expansive, so the gap grows by at most (eta/n) ||grad f_i(w_t)|| a step. Its
   mean over i is at most (eta/n) sqrt(2 b F(w_t)), by Jensen.
2. For a point u that the steps approach, ||w_{t+1} - u||^2 <= (1 - eta mu) ||w_t - u||^2, and D = ||w_0 - u||:
   F(w_t) <= F(u) + L (1 - eta mu)^(t/2) D                                              ("lipschitz")
   sqrt F(w_t) <= sqrt F(u) + sqrt(beta/2) (1 - eta mu)^(t/2) D, as |slope of sqrt F| <= sqrt(beta/2)     ("tight")
3. Without mu, F(w_t) <= F(u) + D^2 / (2 eta t) for any u                                 ("convex")

Line 2 holds where u is the minimiser, and also where u is the end w_T of the path itself, since a step lowers F by
(eta/2) ||grad F||^2. It does not need a Hessian >= mu, but only, at the points w of the path,
F(u) >= F(w) + <grad F(w), u - w> + (mu/2) ||u - w||^2: the restricted mu. With eta = 1/beta = 1/b, F(u) = 0 and
T -> infinity the first two forms are

    sqrt(2 L D / beta) / (n (1 - q^(1/4)))    and    D / (n (1 - q^(1/2))),    q = 1 - mu/beta.

If the weights of the other examples become 1/(n - 1), the mean over i of ||grad f_i - grad F^i|| is at most
n/(n - 1) of the same root, so that all forms hold with n - 1 in place of n.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from steadytune.errors import UserError

ROUNDING = 1e-9
"""Relative amount by which rounding may put a term outside its range."""


class FullBound(NamedTuple):
    """Three bounds on the same leave-one-out stability, in the unit of the weights; the smallest one counts.

    Attributes:
        tight: From smoothness and mu.
        lipschitz: From L and mu.
        convex: From smoothness alone; infinite for an infinite number of steps.
    """

    tight: float
    lipschitz: float
    convex: float


def full_bound(
    lipschitz: float,
    beta: float,
    mu: float,
    distance: float,
    n: int,
    *,
    learning_rate: float | None = None,
    steps: int | None = None,
    example_beta: float | None = None,
    minimum: float = 0.0,
) -> FullBound:
    """Bound the mean distance between the weights trained on n examples and on all but one of them.

    Args:
        lipschitz: L, the largest gradient of F on the path, or of any f_i.
        beta: Smoothness of F, its largest Hessian eigenvalue.
        mu: Strong convexity of F, or its restricted version towards u; 0 if there is none.
        distance: D = ||w_0 - u||.
        n: Number of examples.
        learning_rate: eta; 1/beta unless given.
        steps: T; None for infinitely many.
        example_beta: b of the module's docstring; beta unless given, which assumes that each f_i is beta-smooth.
        minimum: F(u): 0 if u fits every example.

    Raises:
        UserError: A term is out of its range, such as a learning rate above 1/beta.
    """
    eta = 1 / beta if learning_rate is None and beta > 0 else learning_rate
    b = beta if example_beta is None else example_beta
    rules = {
        f"beta must be positive and finite, not {beta}": 0 < beta < math.inf,
        f"mu must lie in [0, beta], not {mu}": 0 <= mu <= beta * (1 + ROUNDING),
        f"n must be at least 2, not {n}": n >= 2,
        f"the number of steps must be at least 1, not {steps}": steps is None or steps >= 1,
    }
    for name, value in {"L": lipschitz, "the distance": distance, "F(u)": minimum, "example_beta": b}.items():
        rules[f"{name} must be finite and not negative, not {value}"] = 0 <= value < math.inf
    for words, holds in rules.items():
        if not holds:
            raise UserError(f"full bound: {words}")
    assert eta is not None
    if not 0 < eta <= (1 + ROUNDING) / beta:
        raise UserError(
            f"full bound: proved only for learning rates up to 1/beta = {1 / beta:.4g}, not {eta:.4g}; "
            f"gradient descent itself is unstable above 2/beta = {2 / beta:.4g}"
        )
    factors = {
        "tight": (math.sqrt(b * beta) * distance, _series(eta * mu, 1 / 2, steps)),
        "lipschitz": (math.sqrt(2 * b * lipschitz * distance), _series(eta * mu, 1 / 4, steps)),
        # The sum of 1, 1, 1/sqrt(2), ..., 1/sqrt(T - 1) is at most 2 sqrt(T - 1) from T = 2 on.
        "convex": (math.sqrt(b / eta) * distance, math.inf if steps is None else max(1.0, 2 * math.sqrt(steps - 1))),
    }
    # The loss that remains at u moves the weights at every step.
    rest = _product(math.sqrt(2 * b * minimum), math.inf if steps is None else steps)
    return FullBound(**{name: eta / n * (_product(*pair) + rest) for name, pair in factors.items()})


def _product(size: float, times: float) -> float:
    """Return size * times, with 0 for a size of 0 even if times is infinite."""
    return size * times if size else 0.0


def _series(shrink: float, power: float, steps: int | None) -> float:
    """Return the sum over t = 0..T-1 of (1 - shrink)^(power t)."""
    if shrink >= 1:
        return 1.0
    if shrink == 0:
        return math.inf if steps is None else float(steps)
    exponent = power * math.log1p(-shrink)
    return (1.0 if steps is None else -math.expm1(steps * exponent)) / -math.expm1(exponent)
