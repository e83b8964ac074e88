"""The hard-margin separator of rows z_j, min ||w||^2 / 2 with z_j . w >= 1.

Every row has at most norm 1. The dual is min || Z^T a ||^2 / 2 - sum a over a >= 0, and w = Z^T a. Its solution is, up
to a factor, that of the non-negative least squares problem min || Z^T u ||^2 + c^2 (1 - sum u)^2 over u >= 0, for any
c > 0: a = u / (c^2 (1 - sum u)) (Lawson and Hanson 1974, chapter 23, "least distance programming", where c = 1; the
factor is derived here from the conditions of both). The minimum is 0 if and only if no w separates the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from steadytune.theory.margin.rows import Float64Array

# The rounding error of z . w is about 1e-16 / margin, and has to stay below `ACCEPTED`.
RESOLUTION = 1e-6
ACCEPTED = 1e-8
_TRIALS = 4


@dataclass(frozen=True)
class Separator:
    """The hard-margin separator of rows.

    Attributes:
        weights: w, shape (p,).
        multipliers: a, shape (m,), above 0 for the support vectors.
        residual: Violation of the Karush-Kuhn-Tucker conditions.
    """

    weights: Float64Array
    multipliers: Float64Array
    residual: float


def hard_margin(rows: Float64Array) -> Separator | None:
    """Return the hard-margin separator of the rows, or None where no direction has a margin above `RESOLUTION`.

    Args:
        rows: Z, shape (m, p), each of at most norm 1.

    Raises:
        ArithmeticError: The conditions are not met to 1e-8.
    """
    found = _solved(rows, 1.0)
    margin = found.margin
    for _ in range(_TRIALS):
        if found.residual <= ACCEPTED or not RESOLUTION < margin < np.inf:
            break
        # Where the margin is small, the solver stops early at c = 1; the problem is well scaled at c = the margin.
        again = _solved(rows, margin)
        margin, found = min(margin, again.margin), min(found, again, key=lambda one: one.residual)
    # Each margin found is the distance from 0 of a point in the rows' convex hull: no direction has a larger margin.
    if margin <= RESOLUTION:
        return None
    if found.residual > ACCEPTED:
        raise ArithmeticError(f"no separator meets its conditions to {ACCEPTED:g}: off by {found.residual:.1g}")
    return Separator(found.weights, found.multipliers.clip(0), found.residual)


class _Solved(NamedTuple):
    weights: Float64Array
    multipliers: Float64Array
    residual: float
    margin: float


def _solved(rows: Float64Array, scale: float) -> _Solved:
    """Solve the problem with c = `scale`; the residual is infinite where the solver gave up."""
    count, size = rows.shape
    height = np.append(np.zeros(size), scale)
    weights, multipliers = np.zeros(size), np.zeros(count)
    try:
        u, _ = nnls(np.vstack([rows.T, np.full(count, scale)]), height, maxiter=30 * max(count, size))
    except RuntimeError:
        return _Solved(weights, multipliers, np.inf, np.inf)
    margin = float(np.linalg.norm(u @ rows) / u.sum())
    if margin <= RESOLUTION:
        return _Solved(weights, multipliers, np.inf, margin)
    # The support vectors are known: their equations z . w = 1 give w to full precision, and w gives a.
    held = rows[u > 0]
    weights = np.asarray(np.linalg.lstsq(held, np.ones(len(held)), rcond=None)[0], dtype=np.float64)
    multipliers[u > 0] = np.linalg.lstsq(held.T, weights, rcond=None)[0]
    return _Solved(weights, multipliers, hard_residual(rows, weights, multipliers), margin)


def hard_residual(rows: Float64Array, weights: Float64Array, multipliers: Float64Array) -> float:
    """Return the violation of the Karush-Kuhn-Tucker conditions, each relative to its own scale.

    They are z . w >= 1, equality where a is not 0, a >= 0, and w = Z^T a.
    """
    slack = rows @ weights - 1
    return float(
        max(
            -slack.min(),
            np.abs(slack[multipliers != 0]).max(),
            -multipliers.min() / multipliers.max(),
            np.linalg.norm(multipliers @ rows - weights) / np.linalg.norm(weights),
        )
    )
