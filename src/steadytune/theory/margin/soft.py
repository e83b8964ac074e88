"""The soft-margin separator, used where no weights separate the classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from steadytune.theory.margin.rows import Float64Array

_STEPS = 100
_REFINEMENTS = 2
_ACCEPTED = 1e-9
# As a share of C: once the gap is below it, the rows at a bound can be told from the others.
_PARTED = 1e-8


def soft_margin(rows: Float64Array, penalty: float) -> tuple[Float64Array, float]:
    """Return the multipliers a of min ||w||^2 / 2 + C sum_j max(0, 1 - z_j . w), for which w = Z^T a.

    The dual is min ||Z^T a||^2 / 2 - sum a over 0 <= a <= C. An interior-point method sorts the rows into those with
    a = 0, those with a = C and those in between. The equations z . w = 1 of the last group then give the solution
    exactly, as soon as the sorting is right.

    Args:
        rows: Z, shape (m, p), each of at most norm 1.
        penalty: C > 0, at most about 1e6.

    Returns:
        a, shape (m,), and the violation of the Karush-Kuhn-Tucker conditions on the margins z . w.
    """
    best, least = np.zeros(len(rows)), np.inf
    for state in _interior_points(rows, penalty):
        if state.gap > _PARTED * penalty:
            continue
        found = _at_its_bounds(rows, penalty, state)
        residual = soft_residual(rows, found, penalty)
        if residual < least:
            best, least = found, residual
        if least <= _ACCEPTED:
            break
    return best, least


def soft_residual(rows: Float64Array, multipliers: Float64Array, penalty: float) -> float:
    """Return the violation of the Karush-Kuhn-Tucker conditions: z . w >= 1 where a < C, z . w <= 1 where a > 0."""
    lacking = 1 - rows @ (multipliers @ rows)
    return float(max(lacking[multipliers < penalty].max(initial=0), -lacking[multipliers > 0].min(initial=0)))


@dataclass(frozen=True)
class _Interior:
    """A point inside all bounds: a, C - a, and the multipliers of a >= 0 and of a <= C, each (m,)."""

    dual: Float64Array
    slack: Float64Array
    below: Float64Array
    above: Float64Array

    @property
    def gap(self) -> float:
        """Mean product of a bounded quantity and its multiplier; 0 at the solution."""
        return float(self.dual @ self.below + self.slack @ self.above) / (2 * len(self.dual))

    def after(self, move: _Interior, step: float) -> _Interior:
        """Return the point after a step along `move`."""
        return _Interior(
            self.dual + step * move.dual,
            self.slack + step * move.slack,
            self.below + step * move.below,
            self.above + step * move.above,
        )

    def longest_step(self, move: _Interior) -> float:
        """Return the longest step along `move` that makes no quantity negative."""
        values = np.concatenate([self.dual, self.slack, self.below, self.above])
        changes = np.concatenate([move.dual, move.slack, move.below, move.above])
        return float(np.min(-values[changes < 0] / changes[changes < 0], initial=np.inf))


class _Newton:
    """The optimality conditions, linearised at a point."""

    def __init__(self, rows: Float64Array, state: _Interior) -> None:
        """Factor the matrix Z Z^T + D by the Sherman-Morrison-Woodbury formula (Ferris and Munson 2003).

        Raises:
            LinAlgError: Rounding makes it indefinite.
        """
        self.rows, self.state = rows, state
        self.rest = rows @ (state.dual @ rows) - 1 - state.below + state.above
        self.diagonal = state.below / state.dual + state.above / state.slack
        self.scaled = rows / self.diagonal[:, None]
        self.factor = cho_factor(np.eye(rows.shape[1]) + rows.T @ self.scaled)

    def move(self, to_below: Float64Array, to_above: Float64Array) -> _Interior:
        """Return the step that changes a * below and (C - a) * above, to first order, by the given amounts (m,)."""
        state = self.state
        right = (to_below / state.dual - to_above / state.slack - self.rest) / self.diagonal
        dual = right - self.scaled @ cho_solve(self.factor, right @ self.rows)
        below = (to_below - state.below * dual) / state.dual
        return _Interior(dual, -dual, below, (to_above + state.above * dual) / state.slack)


def _interior_points(rows: Float64Array, penalty: float) -> Iterator[_Interior]:
    """Yield the iterates of the predictor-corrector method (Mehrotra 1992) until rounding stops it."""
    half, ones = np.full(len(rows), penalty / 2), np.ones(len(rows))
    state = _Interior(half, half, ones, ones)
    for _ in range(_STEPS):
        try:
            newton = _Newton(rows, state)
        except LinAlgError:
            return
        to_below, to_above = -state.dual * state.below, -state.slack * state.above
        ahead = newton.move(to_below, to_above)
        gap = state.gap
        target = gap * (state.after(ahead, min(1.0, state.longest_step(ahead))).gap / gap) ** 3
        ahead = newton.move(to_below + target - ahead.dual * ahead.below, to_above + target - ahead.slack * ahead.above)
        state = state.after(ahead, min(1.0, 0.995 * state.longest_step(ahead)))
        yield state


def _at_its_bounds(rows: Float64Array, penalty: float, state: _Interior) -> Float64Array:
    """Return a (m,), with the rows that are nearest to a bound set to it, and all others put on the margin."""
    # Of a product that tends to 0, the factor that is smaller in its own unit is the one that is 0.
    none, full = state.dual < penalty * state.below, state.slack < penalty * state.above
    dual = np.where(none, 0.0, np.where(full, penalty, state.dual))
    between = ~none & ~full
    held = rows[between]
    for _ in range(_REFINEMENTS):
        # The least change keeps the multipliers inside their bounds where more rows than needed lie on the margin.
        change, *_ = np.linalg.lstsq(held, 1 - held @ (dual @ rows), rcond=None)
        dual[between] += np.linalg.lstsq(held.T, change, rcond=None)[0]
    return dual.clip(0, penalty)
