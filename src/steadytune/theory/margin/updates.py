"""Hard-margin separators of all rows but some, updated from that of all rows: the active set changes little.

The non-negative least squares problem is that of `hard.hard_margin`, with c = the margin, at which it is well scaled.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from steadytune.theory.margin.hard import ACCEPTED, hard_margin, hard_residual
from steadytune.theory.margin.rows import Float64Array, Indices


def without(whole: ActiveSet, left_out: Indices) -> Float64Array:
    """Return the hard-margin separator (p,) of all rows but some.

    Args:
        whole: The active set at the separator of all rows.
        left_out: The rows to leave out, not all of them.

    Raises:
        ArithmeticError: As for `hard_margin`.
    """
    kept = np.delete(np.arange(len(whole.rows)), left_out)
    rows = whole.rows[kept]
    if np.isin(whole.slots, kept).any():
        part = whole.copy()
        part.settle(left_out)
        multipliers = part.multipliers[kept]
        weights = multipliers @ rows
        if hard_residual(rows, weights, multipliers) <= ACCEPTED:
            return np.asarray(weights)
    anew = hard_margin(rows)
    if anew is None:
        raise ArithmeticError("rows that a direction separates have none with fewer of them: rounding won")
    return anew.weights


class ActiveSet:
    """State of the method of Lawson and Hanson (1974, chapter 23): some rows are held at z . w = 1.

    Each held row has a slot; an empty slot is 0 in `held`, `inverse` and `u`, so that nothing has to be moved.

    Attributes:
        rows: Z, shape (m, p).
        scale: c.
        slots: (k,) the row in each slot, -1 for none.
        held: (k, p + 1), the vector (z, c) of each slot.
        inverse: (k, k), the inverse of held held^T over the slots with a row.
        u: (k,) coefficients, at least 0.
    """

    def __init__(self, rows: Float64Array, margin: float, multipliers: Float64Array) -> None:
        """Start at the separator of all rows, given its margin 1 / ||w|| and its multipliers (m,) up to a factor."""
        index = np.flatnonzero(multipliers)
        count, size = len(index), min(len(rows), rows.shape[1] + 1)
        self.rows, self.scale = rows, margin
        self.slots = np.full(size, -1)
        self.held, self.inverse, self.u = np.zeros((size, rows.shape[1] + 1)), np.zeros((size, size)), np.zeros(size)
        self.slots[:count] = index
        # With c = the margin, u sums to 1/2.
        self.u[:count] = multipliers[index] / (2 * multipliers.sum())
        self.held[:count, :-1], self.held[:count, -1] = rows[index], self.scale
        # Computed from the triangular factor, the inverse has errors of the rows' condition number, not of its square.
        factor = np.linalg.inv(np.linalg.qr(self.held[:count].T, mode="r"))
        self.inverse[:count, :count] = factor @ factor.T

    @property
    def multipliers(self) -> Float64Array:
        """a, shape (m,)."""
        found = np.zeros(len(self.rows))
        used = self.slots >= 0
        found[self.slots[used]] = (self.u / (self.scale**2 * (1 - self.u.sum())))[used]
        return found

    def copy(self) -> ActiveSet:
        """Return an independent copy."""
        other = copy(self)
        other.slots, other.held, other.inverse = self.slots.copy(), self.held.copy(), self.inverse.copy()
        other.u = self.u.copy()
        return other

    def settle(self, left_out: Indices) -> None:
        """Release some rows, and move to the optimum of the others."""
        for slot in np.flatnonzero(np.isin(self.slots, left_out)):
            self._release(slot)
        tolerance = max(1e-12, 100 * np.finfo(float).eps / self.scale)
        # Each pass takes a row. A sequence much longer than the problem means that rounding makes the method cycle.
        for _ in range(3 * max(self.rows.shape)):
            self._solve()
            margins = self.rows @ (self.u @ self.held[:, :-1]) / (self.scale**2 * (1 - self.u.sum()))
            margins[left_out] = np.inf
            nearest = int(margins.argmin())
            if margins[nearest] >= 1 - tolerance or nearest in self.slots or not self._take(nearest):
                return

    def _solve(self) -> None:
        """Solve for the held rows, releasing those with a coefficient that would become negative on the way."""
        while True:
            # Refined once: the updates leave rounding errors in the inverse.
            solution = self.inverse @ (self.scale * self.held[:, -1])
            target = self.held @ (np.append(np.zeros(self.rows.shape[1]), self.scale) - solution @ self.held)
            solution += self.inverse @ target
            falling = solution < 0
            if not falling.any():
                self.u = solution
                return
            steps = np.full(len(solution), np.inf)
            steps[falling] = self.u[falling] / (self.u[falling] - solution[falling])
            self.u += steps.min() * (solution - self.u)
            for slot in np.flatnonzero(steps <= steps.min()):
                self._release(slot)

    def _take(self, row: int) -> bool:
        """Hold a row if a slot is free and rounding leaves it independent of the held rows; return whether it is."""
        free = np.flatnonzero(self.slots < 0)
        column = np.append(self.rows[row], self.scale)
        products = self.held @ column
        cross = self.inverse @ products
        rest = column @ column - products @ cross
        if not len(free) or rest <= 10 * np.finfo(float).eps:
            return False
        slot = free[0]
        cross[slot] = -1
        self.inverse += np.outer(cross, cross / rest)
        self.slots[slot], self.held[slot], self.u[slot] = row, column, 0
        return True

    def _release(self, slot: np.intp) -> None:
        column = self.inverse[slot]
        self.inverse -= np.outer(column, column / column[slot])
        self.inverse[slot] = self.inverse[:, slot] = self.held[slot] = self.u[slot] = 0
        self.slots[slot] = -1
