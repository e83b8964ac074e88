"""Many linear systems with one positive definite operator, which is known only through its products."""

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
        steps: Largest number of products with A for a right-hand side.
    """

    values: Tensor
    residuals: Tensor
    steps: int


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Tensor, *, tolerance: float = 1e-6, max_steps: int = 500
) -> Solutions:
    """Solve A x = b for m right-hand sides, side by side (Hestenes & Stiefel 1952).

    Each system has its own step lengths, and is dropped once it is solved. A may be singular if b lies in its range:
    the result is then the solution of least norm.

    Args:
        product: (k, P) -> A v of each row, for any k.
        right: (m, P), the right-hand sides b.
        tolerance: Stop at this ||b - A x|| / ||b||, computed from the residual that is updated at each step.
        max_steps: Stop after this many products at the latest.

    Raises:
        UserError: A has a direction of negative curvature; the message gives a lower limit on the shift needed.
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
        # Curvature 0 along the residual means that b does not lie in the range of A: no further progress is possible.
        length = torch.where(curvature > 0, squares[active] / curvature, 0)
        values[active] += length[:, None] * direction
        rest[active] -= length[:, None] * image
        before, squares[active] = squares[active], rest[active].square().sum(1)
        search[active] = rest[active] + (squares[active] / before)[:, None] * direction
        steps += 1
        active = active[(squares[active] > tolerance**2 * sizes[active]) & (curvature > 0)]
    residuals = (right - product(values)).square().sum(1) / sizes.clamp(min=torch.finfo(right.dtype).tiny)
    return Solutions(values, residuals.sqrt(), steps)
