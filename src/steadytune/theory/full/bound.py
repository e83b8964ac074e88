"""The bound on leave-one-out stability of full fine-tuning, with every term measured on a model and its data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from steadytune.errors import UserError
from steadytune.theory.full.curvature import MeanLoss
from steadytune.theory.full.formula import FullBound, full_bound
from steadytune.theory.full.path import PathTerms, gradient_descent, measure_path, path_sum

_FITTED = 1e-4
"""Share of the initial loss that the final one may be to count as zero. The bound has its root: 1 % of the initial."""


class Assumption(NamedTuple):
    """One assumption of the bound.

    Attributes:
        name: In a few words.
        holds: Whether it does, as far as was measured.
        vital: Whether nothing is proved without it; else the bound holds without it, and is larger.
        finding: What was found, in a sentence.
    """

    name: str
    holds: bool
    vital: bool
    finding: str


@dataclass(frozen=True)
class FullTuningBound:
    """The bound on leave-one-out stability of one training by gradient descent, beside its terms.

    Attributes:
        bound: Its three forms, for u = w_T, T steps, the restricted mu and F(w_T). Infinite where the learning rate is
            above 1/beta. See `proved`.
        path: The sum in the first line of the proof, (eta/n) sum_t mean_i ||grad f_i(w_t)||, each summand grown by the
            steps after it as `path.path_sum` says. It asks for no convexity, but takes the curvature measured on
            the path for that between this path and those without an example: an estimate, not a bound.
        lipschitz: L, the largest norm of a grad f_i.
        mean_gradient: The largest mean over i of these norms; the bound holds with it in place of L, too.
        beta: Largest Hessian eigenvalue, with its margin.
        example_beta: Largest ||grad f_i||^2 / (2 f_i).
        mu: Smallest Hessian eigenvalue, less its margin; may be negative.
        restricted_mu: The smallest one; 0 where the weights do not move.
        distance: ||w_0 - w_T||, which stands for ||w_0 - w_*||.
        n: Number of examples.
        size: P, the number of trained weights.
        learning_rate: eta.
        steps: T.
        mini_batches: Whether a step saw one batch alone.
        terms: What was measured along the path.
        end: (P,), w_T.
    """

    bound: FullBound
    path: float
    lipschitz: float
    mean_gradient: float
    beta: float
    example_beta: float
    mu: float
    restricted_mu: float
    distance: float
    n: int
    size: int
    learning_rate: float
    steps: int
    mini_batches: bool
    terms: PathTerms
    end: Tensor

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What is assumed, and what was found."""
        loss, lowest = self.terms.loss, float(self.terms.smallest_curvature.min())
        rounding = 1e3 * torch.finfo(self.end.dtype).eps * float(self.terms.largest_curvature.max())
        rest = self.learning_rate * self.steps * math.sqrt(2 * self.example_beta * loss[-1]) / self.n
        return (
            Assumption(
                "every step sees all examples",
                not self.mini_batches,
                True,
                "The steps saw a batch each, and for mini-batches nothing is proved.",
            ),
            Assumption(
                "learning rate at most 1/beta",
                0 < self.beta <= 1 / self.learning_rate,
                True,
                f"It is {self.learning_rate:.3g}, with beta = {self.beta:.3g}, of which {self.terms.margin.max():.3g} "
                f"is the margin of too few products; the stability limit 2/beta is {self._limit:.3g}.",
            ),
            Assumption(
                "convexity",
                lowest >= -rounding,
                True,
                f"The Hessian's smallest eigenvalue on the path is {lowest:.3g} or less, so a step can drive two "
                "trainings apart.",
            ),
            Assumption(
                "mu > 0 in all directions",
                self.mu > rounding,
                False,
                "The bound after infinitely many steps is infinite. That after T steps uses the restricted mu.",
            ),
            Assumption(
                "restricted mu > 0",
                self.restricted_mu > 0,
                False,
                "Two of the forms then grow with T; the convex one does not need it.",
            ),
            Assumption(
                "interpolation",
                bool(loss[-1] <= _FITTED * loss[0]),
                False,
                f"The mean loss goes from {loss[0]:.3g} to {loss[-1]:.3g}, not to 0, and {rest:.3g} of each form "
                "is due to that.",
            ),
        )

    @property
    def _limit(self) -> float:
        """2 over the largest curvature that was found; infinite where there is none."""
        largest = float(self.terms.largest_curvature.max())
        return 2 / largest if largest > 0 else math.inf

    @property
    def failures(self) -> tuple[Assumption, ...]:
        """The assumptions that fail."""
        return tuple(assumption for assumption in self.assumptions if not assumption.holds)

    @property
    def proved(self) -> bool:
        """Whether no vital assumption fails, so that `bound` is one as far as its terms were measured."""
        return not any(failure.vital for failure in self.failures)

    def describe(self) -> list[str]:
        """Say what was found, one point at a time, the assumptions that fail last."""
        forms = ", ".join(f"{value:.3g} ({name})" for name, value in self.bound._asdict().items())
        status = "Leave-one-out stability is at most" if self.proved else "No bound is proved here. The formulas give"
        return [
            f"{status} {forms}; the sum over the path gives {self.path:.3g}.",
            f"L = {self.lipschitz:.3g} (mean over examples: {self.mean_gradient:.3g}), beta = {self.beta:.3g} (of "
            f"single examples: {self.example_beta:.3g}), ||w_0 - w_T|| = {self.distance:.3g}, n = {self.n}, "
            f"eta = {self.learning_rate:.3g}, T = {self.steps}.",
            f"mu: the Hessian's smallest eigenvalue is at least {self.mu:.3g}, and towards the end of the path the "
            f"loss curves by at least {self.restricted_mu:.3g} (restricted mu). {self.size} weights are trained on "
            f"{self.n} examples. Where weights are more than n times the outputs, some directions change no output, "
            "and no mu above 0 can be had in all directions.",
            f"Measured without dropout at {len(self.terms.step)} points of the path. Between them, and where an "
            "example is left out, the terms are taken to be no worse.",
            *(f"Fails: {failure.name}. {failure.finding}" for failure in self.failures),
        ]


def full_tuning_bound(
    loss: MeanLoss,
    *,
    learning_rate: float,
    steps: int,
    mini_batches: bool = False,
    seed: int = 0,
    points: int = 5,
    products: int = 40,
    progress: Callable[[float], None] = lambda share: None,
) -> FullTuningBound:
    """Train a model by gradient descent, and measure the terms of the bound along the path.

    No momentum, decay, schedule or dropout: the bound speaks of none. The model has its old weights again after. A
    point costs a pass for each example and up to `products` Hessian-vector products; memory is that of `products` +
    `points` copies of the weights.

    Args:
        loss: The model and its training data, at w_0.
        learning_rate: eta.
        steps: T.
        mini_batches: Step along the gradient of one batch of `loss` at a time, in an order drawn anew for every pass,
            instead of along that of all.
        seed: Of that order.
        points: K, spread evenly over the steps; steps + 1 looks at every one.
        products: Limit for Lanczos at each point. Fewer make a wider margin of beta and mu, and below about 10 for
            any but the smallest models an infinite one.
        progress: Called with the share of the points that is measured, 0 to 1.

    Raises:
        UserError: The loss diverges, and what the stability limit 2/beta is; a loss is negative; or an argument is out
            of its range.
    """
    if steps < 1 or points < 2 or products < 1 or not 0 < learning_rate < math.inf:
        raise UserError(
            "full bound: learning_rate must be positive and finite, steps and products at least 1, points at least 2, "
            f"not {learning_rate}, {steps}, {products} and {points}"
        )
    if len(loss) < 2:
        raise UserError("full bound: to leave one example out takes at least 2")
    at = np.unique(np.linspace(0, steps, points).round().astype(int)).tolist()
    path = gradient_descent(loss, learning_rate, steps, at, seed if mini_batches else None)
    terms = measure_path(loss, at, path, products, progress)
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
    if 0 < found["beta"] <= 1 / learning_rate:
        bound = full_bound(
            found["lipschitz"],
            found["beta"],
            min(max(found["restricted_mu"], 0.0), found["beta"]),
            found["distance"],
            len(loss),
            learning_rate=learning_rate,
            steps=steps,
            example_beta=found["example_beta"],
            minimum=float(terms.loss[-1]),
        )
    return FullTuningBound(
        bound=bound,
        path=path_sum(terms, learning_rate, steps) / len(loss),
        **found,
        n=len(loss),
        size=loss.size,
        learning_rate=learning_rate,
        steps=steps,
        mini_batches=mini_batches,
        terms=terms,
        end=path[-1],
    )
