"""The nuclear norm at less than half the cost of singular values, with a check and a fallback to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

# Bound on an eigenvalue's error, in units of the rounding of the largest times sqrt(n). Observed: up to 0.5.
_ALLOWANCE = 2.0
_LOG_DETERMINANT = 1e-4


def nuclear_norm(matrix: Any, log_determinant: float | None = None, accuracy: float = 1e-9) -> float:
    """Return the sum of the singular values of a matrix whose largest is at most 1.

    It is the trace of (M M^T)^(1/2), and eigenvalues cost less than half of singular values. But the square root of an
    eigenvalue l that is wrong by d is wrong by d / (sqrt(l) + sqrt(l - d)), up to 1e-8. So the eigenvalues count only
    if, in this order,

    - the sum of these errors, for the d that a backward stable method may leave, is within the accuracy; or
    - their product is the determinant. A matrix whose rows decrease, such as that of two runs in the order of their
      singular values, has eigenvalues that are accurate relative to themselves, far beyond the bound above: the
      reduction to tridiagonal form keeps the grading (Martin, Reinsch & Wilkinson, "Householder's Tridiagonalization
      of a Symmetric Matrix", 1968, cited from memory). This is practice, not a theorem, hence the check: what
      may be wrong are the smallest eigenvalues, and the logarithm of the determinant feels every relative error alike,
      while in the nuclear norm it is multiplied by their own small square root.

    Otherwise the singular values themselves are computed.

    Args:
        matrix: Shape (n, m), the largest rows first where they decrease.
        log_determinant: Logarithm of the absolute determinant if known; otherwise it is computed by elimination.
        accuracy: How far the sum may be off.
    """
    xp = array_namespace(matrix)
    rows, columns = matrix.shape
    if rows == 0 or columns == 0:
        return 0.0
    if rows > columns:
        matrix = matrix.T
    gram = matrix @ matrix.T
    eigenvalues = xp.linalg.eigvalsh(gram)
    smallest = float(eigenvalues[0])
    if smallest > 0:
        roots = xp.sqrt(eigenvalues)
        error = _ALLOWANCE * math.sqrt(min(rows, columns)) * float(np.finfo(np.float64).eps) * float(eigenvalues[-1])
        worst = xp.sum(error / (roots + xp.sqrt(xp.clip(eigenvalues - error, 0, None))))
        if float(worst) <= accuracy:
            return float(xp.sum(roots))
        if log_determinant is None:
            log_determinant = float(xp.linalg.slogdet(gram)[1]) / 2
        if abs(float(xp.sum(xp.log(roots))) - log_determinant) <= _LOG_DETERMINANT:
            return float(xp.sum(roots))
    return float(xp.sum(xp.linalg.svdvals(matrix)))
