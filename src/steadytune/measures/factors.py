"""One factorisation per run and layer, from which every representation measure of a pair is computed by small products.

All three measures depend on a centred matrix X only through its Gram matrix X X^T = U diag(s^2) U^T. So F = U diag(s)
is kept for every run; shuffling the rows of X shuffles the rows of F. Arrays are NumPy or, of CUDA tensors, torch: the
same lines run on both through the array API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from array_api_compat import array_namespace, device

_KEPT_SPECTRUM = 0.99
# The self-similarity of representations whose rows are all equally far apart is 0 up to rounding.
_HSIC_ROUNDOFF = 1e-12
# The eigenvectors of all examples cost more than those of all features, and pay off up to here: what SVCCA leaves
# of the space of examples is then small.
_FULL_BASIS_UP_TO = 1.25
# Singular values below this share of the largest are recomputed from what the others leave, because a Gram matrix
# has only 16 digits of their squares.
_WEAK = 1e-5
# Below this share they are rounding errors.
_NULL = 1e-11


@dataclass(frozen=True)
class Factors:
    """Factors of the representation of one run at one layer: X X^T = F F^T, F = U diag(s).

    Attributes:
        scaled: F, orthogonal columns in decreasing order of their norms, shape (N, rank).
        scale: s, these norms: the singular values above rounding error, shape (rank,).
        kept: How many leading columns SVCCA keeps.
        rest: Orthonormal basis of the complement of those columns of U in the space of the N examples; None if N
            is well above D, where it would be large.
    """

    scaled: Any
    scale: Any
    kept: int
    rest: Any

    @property
    def examples(self) -> int:
        """N."""
        return int(self.scaled.shape[0])

    @property
    def rank(self) -> int:
        """Number of directions with variance."""
        return int(self.scaled.shape[1])

    @property
    def leading(self) -> Any:
        """The columns of U that SVCCA keeps and that have variance."""
        return self.scaled[:, : self.kept] / self.scale[: self.kept]

    def shuffled(self, order: Any) -> Factors:
        """Return the factors of X with its rows permuted."""
        return replace(self, scaled=self.scaled[order], rest=None if self.rest is None else self.rest[order])

    @cached_property
    def energy(self) -> Any:
        """The diagonal of the Gram matrix, shape (N,)."""
        return array_namespace(self.scaled).sum(self.scaled**2, axis=1)

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


def factor(centred: Any, kept: int | None = None) -> Factors:
    """Factor a centred matrix of shape (N, D).

    The eigenvectors of a Gram matrix cost half of a singular value decomposition. It squares the singular values, so
    those below 1e-5 of the largest are found again from the Gram matrix of X within their own span: that leaves errors
    of about 1e-11 of the largest one.

    Args:
        centred: The matrix, divided by its Frobenius norm if Procrustes or CKA is to follow.
        kept: How many columns SVCCA keeps; by default those that hold 99 % of the spectrum.
    """
    xp = array_namespace(centred)
    examples, features = centred.shape
    left, core = (None, centred) if examples <= _FULL_BASIS_UP_TO * features else xp.linalg.qr(centred)
    scale, basis = _decompose(core)
    weak = int((scale >= _WEAK * scale[0]).sum())
    if weak < scale.shape[0]:
        span = basis[:, weak:]
        smaller, turn = _decompose(span.T @ core)
        scale = xp.concat([scale[:weak], smaller])
        basis = xp.concat([basis[:, :weak], span @ turn], axis=1)
    rank = int((scale > _NULL * scale[0]).sum())
    kept = kept or _count_kept(scale)
    rest = basis[:, min(kept, rank) :] if left is None else None
    basis = basis[:, :rank] if left is None else left @ basis[:, :rank]
    return Factors(basis * scale[:rank], scale[:rank], kept, rest)


def project_on_leading(representation: Any) -> Any:
    """Return the coordinates of a matrix of shape (N, D), not centred, on its directions of 99 % of the spectrum."""
    left, scale, _ = array_namespace(representation).linalg.svd(representation, full_matrices=False)
    kept = _count_kept(scale)
    return left[:, :kept] * scale[:kept]


def _decompose(matrix: Any) -> tuple[Any, Any]:
    """Return singular values in decreasing order and left singular vectors, from the Gram matrix of the rows."""
    xp = array_namespace(matrix)
    eigenvalues, vectors = xp.linalg.eigh(matrix @ matrix.T)
    backwards = xp.arange(eigenvalues.shape[0] - 1, -1, -1, device=device(eigenvalues))
    return xp.sqrt(xp.clip(eigenvalues[backwards], 0, None)), xp.take(vectors, backwards, axis=1)


def _count_kept(scale: Any) -> int:
    xp = array_namespace(scale)
    return max(1, int((xp.cumulative_sum(scale) / xp.sum(scale) <= _KEPT_SPECTRUM).sum()))
