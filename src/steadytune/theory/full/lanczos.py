"""The extreme eigenvalues of a symmetric operator that is known only through its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from steadytune.errors import UserError

FAILURE = 0.01
"""Largest probability, over the random start, that `Extremes.margin` is wrong."""


class Eigenvalue(NamedTuple):
    """An approximate eigenvalue.

    Attributes:
        value: theta = v' A v for a unit vector v.
        residual: ||A v - theta v||. A symmetric A has an eigenvalue within [value - residual, value + residual].
    """

    value: float
    residual: float


class Extremes(NamedTuple):
    """Both ends of a spectrum.

    Attributes:
        smallest: Never below the smallest eigenvalue.
        largest: Never above the largest one.
        margin: With a probability of 99 % over the random start, both ends lie no further than this outside the two
            values: a residual shows that an eigenvalue is near, but not that it is the extreme one.
        products: Number of products with the operator.
    """

    smallest: Eigenvalue
    largest: Eigenvalue
    margin: float
    products: int


def extreme_eigenvalues(
    apply: Callable[[Tensor], Tensor], like: Tensor, *, steps: int = 60, tolerance: float = 0.05, seed: int = 0
) -> Extremes:
    """Find the smallest and the largest eigenvalue of a symmetric A by the Lanczos method.

    Every new direction is made orthogonal to all earlier ones, twice, so that rounding creates no copies of eigenvalues
    (full reorthogonalisation: Parlett, "The Symmetric Eigenvalue Problem", chapter 13; recalled). Residuals come from
    the last row of the tridiagonal matrix's eigenvectors, and are as exact as the products: single precision
    adds about 1e-6 of the largest absolute eigenvalue.

    The margin is that of Kuczynski & Wozniakowski (SIAM J. Matrix Anal. Appl. 13, 1992; the form read in the abstract,
    the constant recalled): k products from a start that is uniform on the sphere miss the largest eigenvalue of a
    positive A by more than a share e of it with a probability of at most 1.648 sqrt(P) exp(-(2k - 1) sqrt(e)). It is
    applied to A shifted by either end, so that e is a share of the whole spread.

    Args:
        apply: v (P,) -> A v (P,).
        like: (P,), any vector with the precision and device that `apply` expects.
        steps: Largest number of products; memory is that of as many vectors.
        tolerance: Stop when both residuals and the margin are below this share of the largest absolute value.
        seed: Seed of the start vector.

    Raises:
        UserError: A product is not finite.
    """
    size = len(like)
    steps = min(steps, size)
    # Drawn on the CPU, so that every device has the same start.
    start = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=like.dtype).to(like.device)
    basis = like.new_empty(steps, size)
    basis[0] = start / start.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        done = len(diagonal)
        product = apply(basis[done])
        if not bool(product.isfinite().all()):
            raise UserError("the curvature is not finite: the loss overflows at these weights")
        diagonal.append(float(basis[done] @ product))
        for _ in range(2):
            product = product - basis[: done + 1].T @ (basis[: done + 1] @ product)
        beside.append(float(product.norm()))
        values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[:-1]))
        residuals = beside[-1] * np.abs(vectors[-1])
        scale = np.abs(values).max()
        # Only rounding is left of the product: the directions so far give every distinct eigenvalue.
        exhausted = done + 1 == size or beside[-1] <= 10 * torch.finfo(like.dtype).eps * scale
        margin = 0.0 if exhausted else _margin(size, done + 1, float(np.ptp(values)))
        close = max(residuals[0], residuals[-1], margin) <= tolerance * scale
        if exhausted or close or done + 1 == steps:
            break
        basis[done + 1] = product / beside[-1]
    smallest, largest = (Eigenvalue(float(values[end]), float(residuals[end])) for end in (0, -1))
    return Extremes(smallest, largest, margin, len(diagonal))


def _margin(size: int, products: int, spread: float) -> float:
    """Return the most that either end can lie outside the ends that were found, which are `spread` apart."""
    share = (math.log(2 * 1.648 * math.sqrt(size) / FAILURE) / (2 * products - 1)) ** 2
    return spread * share / (1 - 2 * share) if share < 0.5 else math.inf
