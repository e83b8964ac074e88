"""One factorisation per run and layer, from which every representation measure of a pair is computed by small products.

All three measures depend on a centred matrix X only through its Gram matrix X X^T = U diag(s^2) U^T. So F = U diag(s)
is kept for every run; shuffling the rows of X shuffles the rows of F. Arrays are NumPy or, of CUDA tensors, torch: the
same lines run on both through the array API.

With about as many examples as features, or fewer, U are eigenvectors of X X^T. With more examples X = Q R, and U is Q
times the eigenvectors of R R^T. From a million numbers on, where that takes too long, X^T X = V diag(s^2) V^T, and
F = X V: as V is orthogonal to rounding, F F^T is X X^T however well V is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from array_api_compat import array_namespace, device

from .inputs import roundoff, to_device_float64

_KEPT_SPECTRUM = 0.99
# The self-similarity of representations whose rows are all equally far apart is 0 up to rounding.
_HSIC_ROUNDOFF = 1e-12
# The eigenvectors of all examples cost more than those of all features, and pay off up to here: what SVCCA leaves
# of the space of examples is then small.
_FULL_BASIS_UP_TO = 1.25
# A matrix of more numbers, with more rows than that, is factored by way of the products of its columns.
LARGE = 2**20
# Singular values below this share of the largest are recomputed from what the others leave, because a Gram matrix
# has only 16 digits of their squares.
_WEAK = 1e-5
# Below this share they are rounding errors.
_NULL = 1e-11
# Above this share, far below what SVCCA keeps, columns are known well enough to be made orthogonal.
_KNOWN = 1e-7
# Columns of X V above this share are orthogonal to 2e-10.
_ORTHOGONAL = 1e-3


@dataclass(frozen=True)
class Factors:
    """Factors of the representation of one run at one layer: X X^T = F F^T, F = U diag(s).

    Attributes:
        rows: F, orthogonal columns in decreasing order of their norms, shape (N, rank); or, with a `turn`, a matrix
            (N, D) which becomes F once it is centred and turned.
        scale: s, these norms: the singular values above rounding error, shape (rank,).
        kept: How many leading columns SVCCA keeps.
        rest: Orthonormal basis of the complement of those columns of U in the space of the N examples; None if N
            is well above D, where it would be large.
        energy: The diagonal of the Gram matrix, shape (N,).
        turn: Shape (D, rank), or None.
        floor: As a share of the norm of X, a norm from which on no part of the rows can have collapsed.
    """

    rows: Any
    scale: Any
    kept: int
    rest: Any
    energy: Any
    turn: Any = None
    floor: float = 0.0

    @cached_property
    def scaled(self) -> Any:
        """F, shape (N, rank)."""
        if self.turn is None:
            return self.rows
        rows = array_namespace(self.rows).astype(self.rows, self.turn.dtype)
        return (rows - rows.mean(axis=0)) @ self.turn

    @property
    def examples(self) -> int:
        """N."""
        return int(self.rows.shape[0])

    @property
    def rank(self) -> int:
        """Number of directions with variance."""
        return int(self.scale.shape[0])

    @property
    def leading(self) -> Any:
        """The columns of U that SVCCA keeps and that have variance."""
        return self.scaled[:, : self.kept] / self.scale[: self.kept]

    def shuffled(self, order: Any) -> Factors:
        """Return the factors of X with its rows permuted."""
        rest = None if self.rest is None else self.rest[order]
        return replace(self, rows=self.rows[order], rest=rest, energy=self.energy[order])

    @cached_property
    def biased_hsic(self) -> float:
        """The biased HSIC of the run with itself, up to a factor that cancels in CKA."""
        return float((self.scale**4).sum())

    @cached_property
    def unbiased_hsic(self) -> float:
        """The unbiased HSIC of the run with itself, up to a factor that cancels in CKA; 0 for equidistant rows."""
        value = remove_bias(self.biased_hsic, self, self)
        return value if value > _HSIC_ROUNDOFF * self.biased_hsic else 0.0

    @cached_property
    def log_determinant(self) -> float:
        """Sum of the logarithms of s."""
        return float(array_namespace(self.scale).log(self.scale).sum())

    @property
    def null(self) -> Any:
        """Orthonormal basis of the complement of F in the space of the examples, or None as for `rest`."""
        return None if self.rest is None else self.rest[:, max(0, self.rank - self.kept) :]

    @cached_property
    def tails(self) -> Any:
        """Shape (rank + 1,): entry r is the sum of s^2 from column r on."""
        xp = array_namespace(self.scale)
        sums = xp.cumulative_sum(xp.flip(self.scale**2))
        return xp.concat([xp.flip(sums), xp.zeros_like(sums[:1])])

    def rank_above(self, energy: float) -> int:
        """Return the smallest rank whose tail has at most this energy, and at least 1."""
        return max(1, int((self.tails > energy).sum()))

    def square_at(self, column: int) -> float:
        """Return s^2 of a column, 0 beyond the last."""
        return float(self.scale[column]) ** 2 if column < self.rank else 0.0


def remove_bias(biased_hsic: float, first: Factors, second: Factors) -> float:
    """Turn the biased HSIC of two runs into the unbiased one of Song et al. (2012), up to the same factor."""
    examples = first.examples
    return float(
        biased_hsic
        - examples / (examples - 2) * float(first.energy @ second.energy)
        + float(first.energy.sum()) * float(second.energy.sum()) / ((examples - 1) * (examples - 2))
    )


def factor_run(run: Any, place: str, published: bool = False) -> Factors | None:
    """Factor one run at one layer.

    Args:
        run: Hidden states of shape (N, D), of any precision.
        place: What they are, for an error message.
        published: Whether to factor them for the published definition of SVCCA.

    Returns:
        The factors; None if the run has collapsed.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    values = to_device_float64(run, place, "(N, D)")
    xp = array_namespace(values)
    norm = xp.linalg.vector_norm
    # No measure depends on the scale, and squares of very large or small numbers would overflow or underflow.
    values = values / (float(max(xp.max(values), -xp.min(values))) or 1.0)
    centred = values - values.mean(axis=0)
    spread, collapsed = float(norm(centred)), roundoff(run) * float(norm(values))
    if spread <= collapsed:
        return None
    if published:
        leading = project_on_leading(values)
        return factor(leading - leading.mean(axis=0), kept=leading.shape[1])
    centred /= spread
    return replace(factor(centred), floor=collapsed / spread)


def factor(centred: Any, kept: int | None = None) -> Factors:
    """Factor a centred matrix of shape (N, D).

    The eigenvectors of a Gram matrix cost half of a singular value decomposition. It squares the singular values, so
    those below 1e-5 of the largest are found again from the Gram matrix of X within their own span: that leaves errors
    of about 1e-11 of the largest one.

    Rounding of X^T X, of large matrices, also leaves two columns of X V less orthogonal the smaller both are: SVCCA,
    which weights them equally, comes to be off by up to 1e-10. Where it keeps columns below 1e-3 of the largest, they
    are made orthogonal by a Cholesky factor of their own products (Yamamoto et al., "Roundoff error analysis of the
    CholeskyQR2 algorithm", 2015, cited from memory).

    Args:
        centred: The matrix, divided by its Frobenius norm if Procrustes or CKA is to follow.
        kept: How many columns SVCCA keeps; by default those that hold 99 % of the spectrum.
    """
    xp = array_namespace(centred)
    if is_large(*centred.shape):
        return _factor_large(centred, kept)
    examples, features = centred.shape
    left, core = (None, centred) if examples <= _FULL_BASIS_UP_TO * features else xp.linalg.qr(centred)
    scale, basis = decompose(core @ core.T)
    scale, basis = _refine(scale, basis, core.T)
    rank = _rank(scale)
    kept = kept or count_kept(scale)
    rest = basis[:, min(kept, rank) :] if left is None else None
    basis = basis[:, :rank] if left is None else left @ basis[:, :rank]
    scaled = basis * scale[:rank]
    return Factors(scaled, scale[:rank], kept, rest, energy=xp.sum(scaled**2, axis=1))


def is_large(examples: int, features: int) -> bool:
    """Return whether products of the columns replace a factorisation of the rows."""
    return examples > _FULL_BASIS_UP_TO * features and examples * features >= LARGE


def _factor_large(centred: Any, kept: int | None) -> Factors:
    scale, basis = decompose(centred.T @ centred)
    scale, basis = _refine(scale, basis, centred)
    rank = _rank(scale)
    kept, scaled = kept or count_kept(scale), centred @ basis[:, :rank]
    if scale[min(kept, rank) - 1] < _ORTHOGONAL * scale[0]:
        _make_orthogonal(scaled, scale, min(kept, int((scale > _KNOWN * scale[0]).sum())))
    return Factors(scaled, scale[:rank], kept, None, energy=array_namespace(scaled).sum(scaled**2, axis=1))


def _refine(scale: Any, basis: Any, matrix: Any) -> tuple[Any, Any]:
    """Find the weak ones of the singular values of a matrix, and their vectors on its right, within their own span."""
    xp = array_namespace(matrix)
    weak = int((scale >= _WEAK * scale[0]).sum())
    if weak == scale.shape[0]:
        return scale, basis
    span = basis[:, weak:]
    part = (matrix @ span).T
    smaller, turn = decompose(part @ part.T)
    return xp.concat([scale[:weak], smaller]), xp.concat([basis[:, :weak], span @ turn], axis=1)


def _rank(scale: Any) -> int:
    return int((scale > _NULL * scale[0]).sum())


def _make_orthogonal(scaled: Any, scale: Any, kept: int) -> None:
    """Make the first columns of F orthogonal to rounding, and of the norms that they should have."""
    linalg = array_namespace(scaled).linalg
    unit = scaled[:, :kept] / scale[:kept]
    scaled[:, :kept] = unit @ (linalg.inv(linalg.cholesky(unit.T @ unit)).T * scale[:kept])


def project_on_leading(representation: Any) -> Any:
    """Return the coordinates of a matrix of shape (N, D), not centred, on its directions of 99 % of the spectrum."""
    left, scale, _ = array_namespace(representation).linalg.svd(representation, full_matrices=False)
    kept = count_kept(scale)
    return left[:, :kept] * scale[:kept]


def decompose(gram: Any) -> tuple[Any, Any]:
    """Return the roots of the eigenvalues of a Gram matrix in decreasing order, and its eigenvectors as columns."""
    xp = array_namespace(gram)
    eigenvalues, vectors = xp.linalg.eigh(gram)
    backwards = xp.arange(eigenvalues.shape[0] - 1, -1, -1, device=device(eigenvalues))
    return xp.sqrt(xp.clip(eigenvalues[backwards], 0, None)), xp.take(vectors, backwards, axis=1)


def count_kept(scale: Any) -> int:
    """Return how many of the singular values SVCCA keeps, 99 % of their sum."""
    xp = array_namespace(scale)
    return max(1, int((xp.cumulative_sum(scale) / xp.sum(scale) <= _KEPT_SPECTRUM).sum()))
