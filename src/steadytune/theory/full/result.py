"""The measured bound of full fine-tuning: its terms, which assumptions fail, and a description of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from steadytune.theory.full.formula import ROUNDING, FullBound
from steadytune.theory.full.path import Array, PathTerms

_FITTED = 1e-4
"""A final loss up to this share of the initial one counts as zero. The bound has its root: 1 % of the initial."""


class Assumption(NamedTuple):
    """One assumption of the bound.

    Attributes:
        name: The assumption in a few words.
        holds: Whether it holds, as far as was measured.
        vital: Whether nothing is proved without it; else the bound holds without it, and is larger.
        finding: What was found, in a sentence.
        otherwise: What follows where it fails, in a sentence.
    """

    name: str
    holds: bool
    vital: bool
    finding: str
    otherwise: str


@dataclass(frozen=True)
class FullTuningBound:
    """The bound on leave-one-out stability of one training by gradient descent, with its terms.

    Attributes:
        bound: Its three forms, for u = w_T, T steps, the restricted mu and F(w_T). Infinite where the learning rate is
            above 1/beta. See `proved`.
        example_paths: (n,) the sum in the first line of the proof for each example, (eta/n) sum_t ||grad f_i(w_t)||,
            each summand grown by the steps after it as in `path.path_sums`. It needs no convexity, but uses the
            curvature measured on the path for that between this path and the one without the example, and interpolates
            between the measured points: an estimate, not a bound. In 60 convex problems it was never exceeded with
            every step measured, at rates up to 1.9/beta (0 of 1,904 examples), nor with 5 points at 1/beta (0 of 952);
            with 5 points at 1.9/beta, where gradients swing between the points, 3 of 952 lay above it, by up to 39 %.
        lipschitz: L, the largest norm of a grad f_i.
        mean_gradient: The largest mean over i of these norms; the bound holds with it in place of L, too.
        beta: Largest Hessian eigenvalue, with its margin.
        example_beta: Largest ||grad f_i||^2 / (2 f_i).
        mu: Smallest Hessian eigenvalue, less its margin; may be negative.
        restricted_mu: The smallest restricted mu on the path; 0 where the weights do not move.
        distance: ||w_0 - w_T||, which stands for ||w_0 - w_*||.
        n: Number of examples.
        size: P, the number of trained weights.
        idle: How many of them have a gradient of exactly 0 at the start, such as rows of an embedding table for tokens
            that no example contains.
        learning_rate: eta.
        steps: T.
        mini_batches: Whether each step saw only one batch.
        terms: What was measured along the path.
        end: (P,), w_T.
    """

    bound: FullBound
    example_paths: Array
    lipschitz: float
    mean_gradient: float
    beta: float
    example_beta: float
    mu: float
    restricted_mu: float
    distance: float
    n: int
    size: int
    idle: int
    learning_rate: float
    steps: int
    mini_batches: bool
    terms: PathTerms
    end: Tensor

    @property
    def path(self) -> float:
        """The mean of `example_paths`, to compare with `bound`."""
        return float(self.example_paths.mean())

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """The assumptions, and what was found for each."""
        loss, lowest = self.terms.loss, float(self.terms.smallest_curvature.min())
        rounding = 1e3 * torch.finfo(self.end.dtype).eps * float(self.terms.largest_curvature.max())
        rest = self.learning_rate * self.steps * math.sqrt(2 * self.example_beta * loss[-1]) / self.n
        return (
            Assumption(
                "every step sees all examples",
                not self.mini_batches,
                True,
                "Every step saw only one batch." if self.mini_batches else "Every step saw all of them.",
                "For mini-batches the bound is not proved.",
            ),
            Assumption(
                "learning rate at most 1/beta",
                0 < self.beta <= (1 + ROUNDING) / self.learning_rate,
                True,
                f"It is {self.learning_rate:.3g}, with beta = {self.beta:.3g}, of which {self.terms.margin.max():.3g} "
                f"is the margin for the limited number of products; the stability limit 2/beta is {self._limit:.3g}.",
                "The forms are infinite: a step may drive two trainings apart along directions of that curvature.",
            ),
            Assumption(
                "convexity",
                self.mu >= -rounding,
                True,
                f"The Hessian's smallest eigenvalue on the path is {lowest:.3g} or less, and with the margin for the "
                f"limited number of products at least {self.mu:.3g}.",
                "A step may drive two trainings apart.",
            ),
            Assumption(
                "mu > 0 in all directions",
                self.mu > rounding,
                False,
                f"It is at least {self.mu:.3g}.",
                "The bound for infinitely many steps is infinite. The bound for T steps uses the restricted mu.",
            ),
            Assumption(
                "restricted mu > 0",
                self.restricted_mu > 0,
                False,
                f"It is {self.restricted_mu:.3g}.",
                "Two of the forms then grow in proportion to T, the convex one with its square root.",
            ),
            Assumption(
                "interpolation",
                bool(loss[-1] <= _FITTED * loss[0]),
                False,
                f"The mean loss goes from {loss[0]:.3g} to {loss[-1]:.3g}.",
                f"As it does not end at 0, {rest:.3g} is added to each form.",
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
        """Whether no vital assumption fails, so that `bound` is proved as far as its terms were measured."""
        return not any(failure.vital for failure in self.failures)

    @property
    def notes(self) -> list[str]:
        """Remarks on the terms, in sentences."""
        return [
            f"mu: the Hessian's smallest eigenvalue is at least {self.mu:.3g}, and towards the end of the path the "
            f"loss curves by at least {self.restricted_mu:.3g} (restricted mu). {self.size} weights are trained on "
            f"{self.n} examples, and {self.idle} of them have a gradient of exactly 0 at the start, like rows of an "
            "embedding table for tokens that no example contains. With more weights than n times the outputs, some "
            "directions change no output to first order, and once every example is fitted the loss is flat along them: "
            "mu cannot be positive in all directions.",
            f"Measured without dropout at {len(self.terms.step)} points of the path. Between them, and without a "
            "left-out example, the terms are assumed to be no worse.",
        ]

    def describe(self) -> list[str]:
        """Return sentences: what was found, and at the end the assumptions that fail."""
        forms = ", ".join(f"{value:.3g} ({name})" for name, value in self.bound._asdict().items())
        status = "No bound is proved here. The formulas give"
        if self.proved:
            status = "As far as the terms were measured, leave-one-out stability is at most"
        return [
            f"{status} {forms}; the sum over the path, an estimate, gives {self.path:.3g}.",
            f"L = {self.lipschitz:.3g} (mean over examples: {self.mean_gradient:.3g}), beta = {self.beta:.3g} (of "
            f"single examples: {self.example_beta:.3g}), ||w_0 - w_T|| = {self.distance:.3g}, n = {self.n}, "
            f"eta = {self.learning_rate:.3g}, T = {self.steps}.",
            *self.notes,
            *(f"Fails: {failure.name}. {failure.finding} {failure.otherwise}" for failure in self.failures),
        ]
