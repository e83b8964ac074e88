"""How far one example can move a linear head on frozen features: the bound, its terms, and what descent adds.

Derived, for w the max-margin head of S, w^i that of S without example i, z the rows that both have to keep, and
g_i = sum of multiplier times row over the rows of example i, so that ||g_i|| <= alpha_i B:

1. w is the sum of all g_j, so that g_i = w - sum_{j != i} g_j is a subgradient at w of the problem without i, which
   is 1-strongly convex and has the subgradient 0 at w^i. Hence ||w - w^i||^2 <= g_i . (w - w^i), and ||w - w^i|| <=
   ||g_i||. This holds for hard and soft margins.
2. Of a hard margin g_i . w = alpha_i and ||w^i|| <= ||w|| = 1/gamma. Hence ||w - w^i||^2 <= alpha_i (1 + B/gamma).
3. A distance r < ||w|| turns w by an angle of at most arcsin(r / ||w||). Of a hard margin the angle is below pi/2 in
   any case, as w^i is the point of least norm of a convex set that holds w.
4. An angle t is a distance 2 sin(t / 2) of the directions. Of a hard margin its square is at most 2 gamma^2
   ||w - w^i||^2, by 3; with 2, Jensen's inequality and sum alpha_i = 1/gamma^2 its mean is at most
   sqrt((2 / n) (1 + B/gamma)), and with 1 at most sqrt(2) B / (gamma n), which is below the 4 B / (gamma n) stated.
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

# How far a soft margin may miss its conditions without a word.
_EXACT = 1e-6


@dataclass(frozen=True)
class DescentError:
    """Heads that gradient descent found, against the max-margin heads to whose directions it tends.

    Attributes:
        exact: The max-margin heads without each example.
        measured: (n,) distance of the directions of descent on S and on S^i.
        whole: Distance of the direction of descent on S to that of w.
        left_out: (n,) distance of the direction of descent on S^i to that of w^i.
        wrong: How many examples of S the head that descent found on S does not put on their side.
    """

    exact: MaxMarginLeaveOneOut
    measured: Float64Array
    whole: float
    left_out: Float64Array
    wrong: int


@dataclass(frozen=True)
class HeadBound:
    """Leave-one-out bounds of a max-margin head on frozen features, the terms in them, and what they assume.

    Attributes:
        solution: The head w on S and its terms: gamma, B (`largest_norm`), alpha.
        descent: What trained weights add; None if none were given, or the classes are not separable.
        weights_bound: (n,) of ||w - w^i||: min(2 alpha_i B, sqrt(2 alpha_i (1 + B/gamma))). Soft margin: 2 alpha_i B.
        direction_bound: Of the mean over i of || w / ||w|| - w^i / ||w^i|| ||: min(sqrt((2 / n) (1 + B/gamma)),
            4 B / (gamma n)). Soft margin: 4 B gamma sum alpha_i / n; infinite for w = 0, which has no direction.
        sharp_weights_bound: (n,) of ||w - w^i||, by 1 and 2 above: min(||g_i||, sqrt(alpha_i (1 + B/gamma))). Soft
            margin: ||g_i||.
        sharp_direction_bound: (n,) of the distance of the directions, by 3 and 4 above; never above sqrt(2), or 2 for
            a soft margin.
    """

    solution: MaxMargin
    descent: DescentError | None
    weights_bound: Float64Array
    direction_bound: float
    sharp_weights_bound: Float64Array
    sharp_direction_bound: Float64Array

    @property
    def descent_bound(self) -> float:
        """Of the mean distance of the directions of descent on S and S^i: the sharp bound and both direction errors.

        NaN without trained weights.
        """
        if self.descent is None:
            return np.nan
        return float(self.sharp_direction_bound.mean() + self.descent.whole + self.descent.left_out.mean())

    def describe(self) -> list[str]:
        """Return sentences: whether the assumptions hold, which one fails, and what the bound then speaks of."""
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

    The features are taken as they are; append one that is always 1 for a bias, which then counts in B, gamma and ||w||.

    Args:
        features: (n, d), an array or a tensor.
        labels: (n,) classes 0..C-1.
        weights: What gradient descent found on S: (d,) or (1, d) of a logistic head, (C, d) of a softmax head.
        left_out_weights: The same without each example, (n, ...).
        penalty: C of the soft margin, used only where the classes are not separable.

    Raises:
        UserError: As `max_margin`; one of the two kinds of weights without the other, of another shape, not finite, 0.
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
