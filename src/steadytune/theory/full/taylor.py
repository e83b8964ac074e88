"""Where the second-order expansion of the loss, on which the theory of full fine-tuning rests, ceases to hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.theory.full.curvature import MeanLoss

LIMIT = 0.1
"""Relative error that counts as the end of the expansion."""

_HALVINGS = 12


@dataclass(frozen=True)
class TaylorCheck:
    """The loss along the straight line from w_0 through w, compared with its expansion at w_0.

    Attributes:
        distance: (K,) ||w(s) - w_0||, from 0.
        loss: (K,) F(w(s)).
        expansion: (K,) F + s <grad F, d> + s^2/2 <d, H d> at w_0; d = (w - w_0) / ||w - w_0||, s the distance.
        limit: Distance at which |expansion - loss| first exceeds 10 % of the loss; infinite if nowhere on this line.
        travelled: ||w - w_0||.
        slope: <grad F, d>.
        curvature: <d, H d>.
    """

    distance: NDArray[np.float64]
    loss: NDArray[np.float64]
    expansion: NDArray[np.float64]
    limit: float
    travelled: float
    slope: float
    curvature: float

    @property
    def error(self) -> NDArray[np.float64]:
        """(K,) relative error of the expansion, |expansion - loss| / loss."""
        return _relative(self.expansion, self.loss)

    def describe(self) -> str:
        """Say in a sentence or two how far the expansion holds."""
        end = f"the weights end at {self.travelled:.3g}"
        if math.isinf(self.limit):
            return f"The expansion stays within 10 % of the loss up to a distance of {self.distance[-1]:.3g}; {end}."
        return f"The expansion is 10 % off at a distance of {self.limit:.3g} from w_0; {end}."


def taylor_check(loss: MeanLoss, end: Tensor, *, points: int = 21, reach: float = 1.0) -> TaylorCheck:
    """Compare the loss between two points with its second-order expansion at the first.

    Takes one gradient, one Hessian-vector product, and a pass over the data for each point. The error is that of the
    loss, not of its change: near a loss of 0 no expansion is within 10 % of it.

    Args:
        loss: The model and its data, at w_0.
        end: (P,), w.
        points: K, evenly spaced.
        reach: How far to go, as a multiple of the distance of w.

    Raises:
        UserError: w is w_0, the loss is not finite, or an argument is out of its range.
    """
    if points < 2 or not 0 < reach < math.inf:
        raise UserError(f"Taylor check: points must be at least 2 and reach positive and finite, not {points}, {reach}")
    start = loss.weights
    travelled = float((end - start).norm())
    if not 0 < travelled < math.inf:
        raise UserError(f"the Taylor check needs two different finite weights: they are {travelled} apart")
    direction = (end - start) / travelled
    # Not the value that comes with the gradient: it may be rounded differently from the values on the line, where this
    # one is the first.
    value, gradient = loss.value(), loss.gradient()
    slope, curvature = float(gradient @ direction), float(direction @ loss.hessian_vector(direction))

    def actual(distance: float) -> float:
        with loss.at(start + distance * direction):
            return loss.value()

    def expanded(distance: float) -> float:
        return value + distance * slope + distance**2 * curvature / 2

    distances = np.linspace(0, reach * travelled, points)
    losses, expansion = (np.array([curve(distance) for distance in distances.tolist()]) for curve in (actual, expanded))
    if not np.isfinite(losses).all():
        raise UserError("the loss overflows on the way: the Taylor check needs a finite loss up to its end")
    off = np.flatnonzero(_relative(expansion, losses) > LIMIT)
    limit = math.inf
    if len(off):
        limit = _first(lambda s: abs(expanded(s) - actual(s)) > LIMIT * actual(s), *distances[off[0] - 1 : off[0] + 1])
    return TaylorCheck(distances, losses, expansion, limit, travelled, slope, curvature)


def _relative(expansion: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.float64]:
    off = np.abs(expansion - loss)
    return np.divide(off, loss, out=np.where(off > 0, np.inf, 0.0), where=loss > 0)


def _first(exceeded: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that fails at `low` and holds at `high` begins to hold, by bisection."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if exceeded(middle) else (middle, high)
    return (low + high) / 2
