"""Many linear systems of one positive definite operator, known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from steadytune.errors import UserError


class Solutions(NamedTuple):
    """Approximate solutions of A x = b for m right-hand sides.

    Attributes:
        values: (m, P).
        residuals: (m,) ||b - A x|| / ||b||, computed from the values; 0 where b is 0.
        steps: Products with A for each right-hand side, at most.
    """

    values: Tensor
    residuals: Tensor
    steps: int


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Tensor, *, tolerance: float = 1e-6, max_steps: int = 500
) -> Solutions:
    """Solve A x = b for m right-hand sides, side by side (Hestenes & Stiefel 1952).

    Each has step lengths of its own, and leaves the work once it is solved. A singular A is no problem where b lies in
    its range: the solution of least norm comes out.

    Args:
        product: (k, P) -> A v of each row, for any k.
        right: (m, P) the b.
        tolerance: Stop at this ||b - A x|| / ||b||, as it is updated from step to step.
        max_steps: Stop at the latest after so many products.

    Raises:
        UserError: A has a direction of negative curvature; the message has a shift that it needs at least.
    """
    values, rest = torch.zeros_like(right), right.clone()
    search = rest.clone()
    squares = rest.square().sum(1)
    sizes = squares.clone()
    steps = 0
    active = (squares > 0).nonzero().squeeze(1)
    while len(active) and steps < max_steps:
        direction = search[active]
        image = product(direction)
        curvature = (direction * image).sum(1)
        if bool((curvature < 0).any()):
            needed = -float((curvature / direction.square().sum(1)).min())
            raise UserError(
                f"the curvature is negative along a direction, by {needed:.3g}: "
                "raise the damping by more than that, or train closer to a minimum"
            )
        # Curvature 0 along what is left of b means that b does not lie in the range of A: nothing more can be gained.
        length = torch.where(curvature > 0, squares[active] / curvature, 0)
        values[active] += length[:, None] * direction
        rest[active] -= length[:, None] * image
        before, squares[active] = squares[active], rest[active].square().sum(1)
        search[active] = rest[active] + (squares[active] / before)[:, None] * direction
        steps += 1
        active = active[(squares[active] > tolerance**2 * sizes[active]) & (curvature > 0)]
    residuals = (right - product(values)).square().sum(1) / sizes.clamp(min=torch.finfo(right.dtype).tiny)
    return Solutions(values, residuals.sqrt(), steps)
