"""Representation distances of one pair of runs, from its core F_i^T F_j or a leading corner of it.

    Procrustes  nuclear norm of the core
    CKA         squared Frobenius norm of the core
    SVCCA       nuclear norm of a corner of U_i^T U_j, where F = U diag(s)

With a tolerance, Procrustes uses a leading corner of the core, and CKA a larger one. The error is bounded:

1. Far out, from the energies alone, without computing the core. Let rho = rho_1 + rho_2 be the Gram matrix (of trace 1)
   of the first run and of its leading directions and the others, sigma that of the second run, P the projector on the
   directions of rho_2. The nuclear norm of the core is the root fidelity F = ||rho^(1/2) sigma^(1/2)||_*, its squared
   Frobenius norm is tr(rho sigma), and

       0 <= F(rho, sigma) - F(rho_1, sigma) <= ||rho_2^(1/2) P sigma^(1/2)||_* <= (tr rho_2  tr(P sigma))^(1/2)
       0 <= tr(rho sigma) - tr(rho_1 sigma) <= (largest eigenvalue of rho_2) tr(P sigma)

   since the square root is operator monotone, by the triangle inequality, and by that of Hoelder. The corner gives
   tr(P sigma) <= 1 - ||U_i1^T F_j1||_F^2. Cutting sigma as well, against rho_1, adds a second term of each kind.
2. Nearer, from the core: a row or column that is left out takes at most its Euclidean norm from the nuclear norm.

(Derived here, not taken from a source; the tests check it.) SVCCA weights all directions equally and is never
truncated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from steadytune.errors import UserError, one_line

from .base import LayerMeasure, Seen
from .factors import Factors, remove_bias
from .nuclear import nuclear_norm

# The far bound is used for tails below this share of the tolerance.
_FAR = 10.0
# A corner larger than this share of the core saves less than it costs.
_HARDLY_LESS = 0.8
# The traces below are at most 1 and sums of squares: rounding changes them by less.
_SLACK = 1e-13
# More than the rounding of a distance in single precision.
_OUTSIDE = 1e-3


class Distance(NamedTuple):
    """A distance, and a bound on its difference from the exact one."""

    value: float
    bound: float = 0.0


class _Core(NamedTuple):
    """A leading corner of F_i^T F_j, and bounds on what the rest adds.

    Attributes:
        matrix: The corner.
        size: Rows and columns of the smaller corner that suffices for the nuclear norm; 0 if all is needed.
        nuclear_gap: Bound on the nuclear norm of the whole minus that of this smaller corner.
        square_gap: Bound on the squared Frobenius norm of the whole minus that of the corner.
        accuracy: Required accuracy of the smaller corner's nuclear norm.
    """

    matrix: Any
    size: int
    nuclear_gap: float
    square_gap: float
    accuracy: float

    @property
    def nuclear_bound(self) -> float:
        """Bound on the distance of the middle of the gap from the nuclear norm of the whole."""
        return self.nuclear_gap / 2 + self.accuracy


class Pair(NamedTuple):
    """Two runs at one layer, neither of which has collapsed.

    Attributes:
        first: Factors of one run: X X^T = F F^T for its centred representation X of norm 1, `first.scaled` is F.
        second: Factors of the other.
        core: A corner of F_i^T F_j, or all of it; None if no requested measure can use a corner.
    """

    first: Factors
    second: Factors
    core: _Core | None = None

    @property
    def product(self) -> Any:
        """All of F_i^T F_j: X_i^T X_j up to rotations, to which every representation measure is invariant."""
        if self.core is not None and self.core.matrix.shape == (self.first.rank, self.second.rank):
            return self.core.matrix
        return self.first.scaled.T @ self.second.scaled


def measure_pair(
    first: Factors | None,
    second: Factors | None,
    measures: Sequence[LayerMeasure],
    tolerance: float = 0.0,
    product: Any = None,
) -> list[Distance]:
    """Measure two runs at one layer; None is a collapsed run.

    Args:
        first: Factors of one run.
        second: Factors of the other.
        measures: Measures to compute.
        tolerance: Allowed error of the measures that can use a corner.
        product: F_i^T F_j if it is known; None to compute of it what is needed.

    Returns:
        A distance for each measure.
    """
    if first is None or second is None:
        return [Distance(float(first is not second))] * len(measures)
    core: _Core | None = None
    if product is not None:
        core = _whole(product)
    elif any(measure.gap is not None for measure in measures):
        core = _core(first, second, measures, tolerance)
    pair = Pair(first, second, core)
    return [_measure(measure, pair) for measure in measures]


def _measure(measure: LayerMeasure, pair: Pair) -> Distance:
    try:
        found = measure.distance(pair)
        value, bound = found if isinstance(found, Distance) else (float(found), 0.0)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # it may be another package's code
        raise ValueError(f"measure '{measure.name}': {one_line(error)}") from error
    most = measure.most(2, pair.first.examples)
    # Only rounding, or half of a gap, leads out of the range.
    slack = bound + _OUTSIDE
    if not -slack <= value <= most + slack:
        raise ValueError(f"measure '{measure.name}' gives {value:.4g}, outside of its range from 0 to {most:.4g}")
    return Distance(min(max(value, 0.0), most), bound)


def _core(first: Factors, second: Factors, measures: Sequence[LayerMeasure], tolerance: float) -> _Core:
    """Return the whole core, or a corner that keeps the error of every measure within the tolerance."""
    tail = tolerance / _FAR
    while True:
        rows, columns = first.rank_above(tail), second.rank_above(tail)
        if rows * columns > _HARDLY_LESS * first.rank * second.rank:
            return _whole(first.scaled.T @ second.scaled)
        core = _cut(first, second, rows, columns, tolerance)
        pair = Pair(first, second, core)
        if all(one.gap(pair) <= tolerance for one in measures if one.gap is not None):
            return core
        tail /= _FAR


def _whole(product: Any) -> _Core:
    return _Core(product, 0, 0.0, 0.0, 0.0)


def _cut(first: Factors, second: Factors, rows: int, columns: int, tolerance: float) -> _Core:
    matrix = first.scaled[:, :rows].T @ second.scaled[:, :columns]
    xp = array_namespace(matrix)
    norm = xp.linalg.vector_norm
    tails = float(first.tails[rows]), float(second.tails[columns])
    # tr(P sigma), and the same for sigma and rho_1.
    outside_first = max(0.0, 1 - float(norm(matrix / first.scale[:rows, None])) ** 2) + _SLACK
    outside_second = max(0.0, 1 - tails[0] - float(norm(matrix / second.scale[:columns])) ** 2) + _SLACK
    far = math.sqrt(tails[0] * outside_first) + math.sqrt(tails[1] * outside_second)
    square_gap = first.square_at(rows) * outside_first + second.square_at(columns) * outside_second
    # Entry r of the sum: the most that cutting rows and columns from r on can remove.
    smaller = min(rows, columns)
    near = sum(xp.flip(xp.cumulative_sum(xp.flip(norm(matrix, axis=axis))))[:smaller] for axis in (0, 1))
    accuracy = tolerance / 100
    size = max(1, int((near > 2 * (tolerance - accuracy) - far).sum()))
    gap = far + float(norm(matrix[:, size:], axis=0).sum()) + float(norm(matrix[size:, :size], axis=1).sum())
    return _Core(matrix, size, gap, square_gap, accuracy)


def _procrustes(pair: Pair) -> Distance:
    core = _known(pair)
    if core.size == 0:
        return Distance(1 - nuclear_norm(core.matrix, _log_determinant(pair.first, pair.second)))
    corner = core.matrix[: core.size, : core.size]
    return Distance(1 - nuclear_norm(corner, accuracy=core.accuracy) - core.nuclear_gap / 2, core.nuclear_bound)


def _procrustes_gap(pair: Pair) -> float:
    return _known(pair).nuclear_bound


def _known(pair: Pair) -> _Core:
    assert pair.core is not None
    return pair.core


def _log_determinant(first: Factors, second: Factors) -> float | None:
    """Return the value for the whole core if that costs almost nothing.

    Minors of an orthogonal matrix have the same absolute value as their complements (Jacobi), and these are small.
    """
    if first.null is None or second.null is None or first.rank != second.rank:
        return None
    minor = float(array_namespace(first.null).linalg.slogdet(first.null.T @ second.null)[1])
    return first.log_determinant + second.log_determinant + minor


def _svcca(pair: Pair) -> float:
    first, second, core = pair
    examples, kept = first.examples, (first.kept, second.kept)
    surplus = 0
    if first.rest is not None and second.rest is not None:
        surplus = examples - int(first.rest.shape[1]) - int(second.rest.shape[1])
    if surplus > 0:
        # The complements of two subspaces meet at the same angles and are smaller here; only the angles of exactly 0
        # differ in number, by the surplus.
        total = surplus + nuclear_norm(first.rest.T @ second.rest)
    elif core is not None and kept[0] <= core.matrix.shape[0] and kept[1] <= core.matrix.shape[1]:
        corner = core.matrix[: kept[0], : kept[1]] / first.scale[: kept[0], None] / second.scale[: kept[1]]
        total = nuclear_norm(corner)
    else:
        total = nuclear_norm(first.leading.T @ second.leading)
    return 1 - total / min(kept)


def _biased_cka(pair: Pair) -> Distance:
    core, scale = _known(pair), math.sqrt(pair.first.biased_hsic * pair.second.biased_hsic)
    return Distance(1 - _square(core) / scale, core.square_gap / 2 / scale)


def _cka(pair: Pair) -> Distance:
    first, second, core = pair.first, pair.second, _known(pair)
    own = first.unbiased_hsic, second.unbiased_hsic
    if 0 in own:
        return Distance(0.0 if own[0] == own[1] else 1.0)
    scale = math.sqrt(own[0] * own[1])
    return Distance(1 - remove_bias(_square(core), first, second) / scale, core.square_gap / 2 / scale)


def _square(core: _Core) -> float:
    return float(array_namespace(core.matrix).linalg.vector_norm(core.matrix)) ** 2 + core.square_gap / 2


def _vacuous(seen: Seen) -> str:
    if seen.examples >= seen.features:
        return ""
    return (
        f"SVCCA is vacuous with fewer examples ({seen.examples}) than dimensions ({seen.features}): even unrelated "
        "runs score near 0. Procrustes is biased downwards. Compare both with their null."
    )


SVCCA = LayerMeasure(
    name="svcca",
    title="SVCCA",
    short="SVCCA",
    meaning="One minus the mean canonical correlation of the directions that hold 99 % of the spectrum. 0: the same "
    "subspace. Uninformative with fewer examples than dimensions: compare it with the null.",
    largest=1.0,
    preference=3,
    # Du & Nguyen (2023) omit it as well.
    averaged=False,
    published="the first decomposition is not centred",
    doubt=_vacuous,
    distance=_svcca,
    blind_if_wide=True,
)

PROCRUSTES = LayerMeasure(
    name="procrustes",
    title="Orthogonal Procrustes",
    short="OP",
    called="Procrustes",
    meaning="Difference between two runs’ hidden states that remains after the best rotation. 0: identical up to "
    "rotation and scale. Small samples bias it downwards: compare it with the null.",
    largest=1.0,
    preference=2,
    distance=_procrustes,
    gap=_procrustes_gap,
)

CKA = LayerMeasure(
    name="cka",
    title="Linear CKA",
    short="CKA",
    meaning="One minus the unbiased linear centred kernel alignment of two runs’ hidden states. 0: the same geometry "
    "of the examples; about 1: unrelated runs.",
    largest=2.0,
    preference=1,
    distance=_cka,
    gap=lambda pair: _cka(pair).bound,
    # The unbiased estimate of HSIC divides by N - 3.
    least_examples=4,
)

BIASED_CKA = LayerMeasure(
    name="biased_cka",
    title="Linear CKA, biased",
    short="biased CKA",
    meaning="Like linear CKA, but with the biased estimate of HSIC: unrelated runs score below 1 if examples are few.",
    largest=1.0,
    preference=None,
    distance=_biased_cka,
    gap=lambda pair: _biased_cka(pair).bound,
)
