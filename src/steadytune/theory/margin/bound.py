"""How far one example can move a linear head on frozen features: the bound, its terms, and the error of descent.

Derived here. w is the max-margin head of S, w^i that of S without example i, z are the rows of the constraints, and
g_i is the sum of multiplier times row over the rows of example i, so that ||g_i|| <= alpha_i B:

1. w is the sum of all g_j, so that g_i = w - sum_{j != i} g_j is a subgradient at w of the problem without i, which
   is 1-strongly convex and has the subgradient 0 at w^i. Hence ||w - w^i||^2 <= g_i . (w - w^i), and ||w - w^i|| <=
   ||g_i||. This holds for hard and soft margins.
2. For a hard margin, g_i . w = alpha_i and ||w^i|| <= ||w|| = 1/gamma. Hence ||w - w^i||^2 <= alpha_i (1 + B/gamma).
3. A move of w by r < ||w|| turns it by an angle of at most arcsin(r / ||w||). For a hard margin, the angle is below
   pi/2 in any case, as w^i is the point of least norm of a convex set that contains w.
4. Directions at an angle t are 2 sin(t / 2) apart. For a hard margin, the square of this distance is at most
   2 gamma^2 ||w - w^i||^2, by 3. With 2, Jensen's inequality and sum alpha_i = 1/gamma^2, the mean distance is at most
   sqrt((2 / n) (1 + B/gamma)); with 1, it is at most sqrt(2) B / (gamma n), which is below the stated
   4 B / (gamma n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.theory.margin.hard import RESOLUTION
from steadytune.theory.margin.max_margin import (
    MaxMargin,
    MaxMarginLeaveOneOut,
    directions,
    max_margin,
    max_margin_leave_one_out,
    norms,
)
from steadytune.theory.margin.rows import Float64Array

# The largest residual of a soft margin that is not reported.
_EXACT = 1e-6


@dataclass(frozen=True)
class DescentError:
    """Heads found by gradient descent, compared with the max-margin heads that their directions tend to.

    Attributes:
        exact: The max-margin heads without each example.
        measured: (n,) distance between the directions of descent on S and on S^i.
        whole: Distance from the direction of descent on S to that of w.
        left_out: (n,) distance from the direction of descent on S^i to that of w^i.
        wrong: Number of examples of S that the head found on S misclassifies, those on its boundary included.
    """

    exact: MaxMarginLeaveOneOut
    measured: Float64Array
    whole: float
    left_out: Float64Array
    wrong: int


@dataclass(frozen=True)
class HeadBound:
    """Leave-one-out bounds of a max-margin head on frozen features, with their terms and assumptions.

    Attributes:
        solution: The head w on S and its terms: gamma, B (`largest_norm`), alpha.
        descent: The comparison with trained weights; None if none were given, or the classes are not separable.
        weights_bound: (n,) bounds on ||w - w^i||: min(2 alpha_i B, sqrt(2 alpha_i (1 + B/gamma))). Soft margin:
            2 alpha_i B.
        direction_bound: Bound on the mean over i of || w / ||w|| - w^i / ||w^i|| ||: min(sqrt((2 / n) (1 + B/gamma)),
            4 B / (gamma n)). Soft margin: 4 B gamma sum alpha_i / n; infinite for w = 0, which has no direction.
        sharp_weights_bound: (n,) bounds on ||w - w^i||, by 1 and 2 above: min(||g_i||, sqrt(alpha_i (1 + B/gamma))).
            Soft margin: ||g_i||.
        sharp_direction_bound: (n,) bounds on the distance between the directions, by 3 and 4 above; never above
            sqrt(2), or 2 for a soft margin.
    """

    solution: MaxMargin
    descent: DescentError | None
    weights_bound: Float64Array
    direction_bound: float
    sharp_weights_bound: Float64Array
    sharp_direction_bound: Float64Array

    @property
    def descent_bound(self) -> float:
        """Bound on the mean distance between the directions of descent on S and S^i.

        It is the sum of the sharp bound and both direction errors; NaN without trained weights.
        """
        if self.descent is None:
            return np.nan
        return float(self.sharp_direction_bound.mean() + self.descent.whole + self.descent.left_out.mean())

    def describe(self) -> list[str]:
        """Return sentences: whether the assumptions hold, which one fails, and what the bound then covers."""
        found, n = self.solution, len(self.weights_bound)
        sharp = float(self.sharp_direction_bound.mean())
        if found.separable:
            sentences = [
                f"The classes are separable without a bias: margin {found.gamma:.3g}, B/gamma "
                f"{found.largest_norm / found.gamma:.3g}; {len(found.support)} of the {n} examples are support vectors."
            ]
            nothing = self.direction_bound >= np.sqrt(2)
        else:
            sentences = [
                f"The classes count as not separable without a bias: no direction has a margin above {RESOLUTION:g} B, "
                f"with B = {found.largest_norm:.3g}. The hard-margin bound does not apply. The results are for the "
                f"soft margin with C = {found.penalty:g}; "
                "gradient descent on the logistic loss does not converge to it, so trained weights are not compared."
            ]
            nothing = self.direction_bound >= 2
            if found.residual > _EXACT:
                sentences.append(
                    "The soft margin was solved only approximately: its optimality conditions fail by "
                    f"{found.residual:.1g}."
                )
        sentences.append(
            f"Leaving out one example rotates the max-margin direction by at most {self.direction_bound:.3g} on average"
            f"{', which is vacuous' if nothing else ''}; the sharper bound per example is {sharp:.3g} on average."
        )
        if self.descent is not None:
            sentences.append(
                f"Gradient descent ended {self.descent.whole:.3g} from the max-margin direction, and "
                f"{self.descent.left_out.mean():.3g} on average without an example: its directions differ by "
                f"{self.descent.measured.mean():.3g}, of at most {self.descent_bound:.3g}."
            )
            if self.descent.wrong:
                sentences.append(
                    f"Gradient descent has not converged: {self.descent.wrong} of the {n} examples are on the wrong "
                    "side of its head."
                )
        return sentences


def head_tuning_bound(
    features: Any, labels: Any, *, weights: Any = None, left_out_weights: Any = None, penalty: float = 1.0
) -> HeadBound:
    """Bound how far leaving out one example moves a linear head without bias that is trained on these features.

    The features are used as given; for a bias, append one that is always 1, which then counts in B, gamma and ||w||.

    Args:
        features: (n, d), an array or a tensor.
        labels: (n,) classes 0..C-1.
        weights: Found by gradient descent on S: (d,) or (1, d) of a logistic head, (C, d) of a softmax head.
        left_out_weights: The same without each example, (n, ...).
        penalty: C of the soft margin, used only where the classes are not separable.

    Raises:
        UserError: As for `max_margin`; one of the two kinds of weights is given without the other; weights have another
            shape, are not finite, or are 0.
    """
    if (weights is None) != (left_out_weights is None):
        raise UserError("give both weights and left_out_weights, or neither: the direction error needs both")
    found = max_margin(features, labels, penalty=penalty)
    rows = found.constraints
    trained = None
    if weights is not None:
        trained = rows.canonical(weights), rows.canonical(left_out_weights, (rows.n,))
    alpha, largest, norm = found.alpha, found.largest_norm, float(np.linalg.norm(found.weights))
    weights_bound = 2 * alpha * largest
    sharp = norms(rows.of_examples(found.multipliers[:, None] * rows.rows))
    direction_bound = 2 * float(weights_bound.mean()) / norm if norm else np.inf
    if found.separable:
        spread = np.sqrt(alpha * (1 + largest * norm))
        weights_bound, sharp = np.minimum(weights_bound, np.sqrt(2) * spread), np.minimum(sharp, spread)
        direction_bound = min(direction_bound, float(np.sqrt(2 / rows.n * (1 + largest * norm))))
    sines = np.minimum(sharp / norm, 1) if norm else np.ones(rows.n)
    angles = np.where(sines < 1, np.arcsin(sines), np.pi / 2 if found.separable else np.pi)
    return HeadBound(
        found,
        None if trained is None or not found.separable else _descent_error(found, *trained),
        weights_bound,
        direction_bound,
        sharp,
        2 * np.sin(angles / 2),
    )


def _descent_error(found: MaxMargin, weights: Float64Array, left_out: Float64Array) -> DescentError:
    exact = max_margin_leave_one_out(found)
    (limit,), (reached,) = directions(found.weights[None]), directions(weights[None])
    apart = directions(left_out)
    margins = found.constraints.rows @ weights.ravel()
    return DescentError(
        exact,
        norms(apart - reached),
        float(norms((reached - limit)[None])[0]),
        norms(apart - directions(exact.weights)),
        len(np.unique(found.constraints.owner[margins <= 0])),
    )
