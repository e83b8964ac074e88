"""One factorisation per run and layer, from which every representation measure of a pair follows by small products.

All three measures see a centred matrix X only through its Gram matrix X X^T = U diag(s^2) U^T. With U and s kept for
every run, a pair costs one product C = U_i^T U_j of size min(N, D), whatever D was:

    Procrustes  nuclear norm of diag(s_i) C diag(s_j)
    CKA         squared Frobenius norm of the same matrix
    SVCCA       nuclear norm of a corner of C
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from .inputs import Float64Array

_KEPT_SPECTRUM = 0.99
# The self-similarity of representations whose rows are all equally far apart is 0 but for rounding.
_HSIC_ROUNDOFF = 1e-12


@dataclass(frozen=True)
class Factors:
    """The left singular vectors and singular values of the representation of one run at one layer.

    Attributes:
        basis: U, orthonormal columns, shape (N, R), with R = N where N <= D: then its last columns span what is left.
        scale: s, the singular values in decreasing order, shape (R,).
        kept: How many leading columns SVCCA keeps.
    """

    basis: Float64Array
    scale: Float64Array
    kept: int

    @cached_property
    def energy(self) -> Float64Array:
        """The diagonal of the Gram matrix, shape (N,)."""
        return np.asarray(np.square(self.basis * self.scale).sum(axis=1))

    @cached_property
    def biased_hsic(self) -> float:
        """The biased HSIC of the run with itself, up to a factor that cancels in CKA."""
        return float((self.scale**4).sum())

    @cached_property
    def unbiased_hsic(self) -> float:
        """The unbiased HSIC of the run with itself, up to a factor that cancels in CKA; 0 for equidistant rows."""
        value = _remove_bias(self.biased_hsic, self, self)
        return value if value > _HSIC_ROUNDOFF * self.biased_hsic else 0.0


class PairDistance(Protocol):
    """How two runs become a number, given C = U_i^T U_j."""

    def __call__(self, first: Factors, second: Factors, cross: Float64Array) -> float:
        """Return the distance."""


class Rule(NamedTuple):
    """A representation measure: its distance, the fewest examples that define it, and its largest value."""

    distance: PairDistance
    least_examples: int
    largest: float


def factor(centred: Float64Array, kept: int | None = None) -> Factors:
    """Factor a centred matrix of shape (N, D).

    The eigenvectors of the smaller Gram matrix cost half of a singular value decomposition. They carry the singular
    values to about 1e-8 of the largest one, which the products of a pair square away.

    Args:
        centred: The matrix, divided by its Frobenius norm if Procrustes or CKA is to follow.
        kept: How many columns SVCCA keeps; by default those that hold 99 % of the spectrum.
    """
    examples, features = centred.shape
    left, core = (None, centred) if examples <= features else np.linalg.qr(centred)
    eigenvalues, vectors = np.linalg.eigh(core @ core.T)
    scale = np.sqrt(np.clip(eigenvalues[::-1], 0, None))
    vectors = vectors[:, ::-1]
    basis = np.ascontiguousarray(vectors if left is None else left @ vectors)
    return Factors(basis, scale, kept or _count_kept(scale))


def project_on_leading(representation: Float64Array) -> Float64Array:
    """Return the coordinates of a matrix of shape (N, D), not centred, on its directions of 99 % of the spectrum."""
    left, scale, _ = np.linalg.svd(representation, full_matrices=False)
    kept = _count_kept(scale)
    return np.asarray(left[:, :kept] * scale[:kept])


def svcca_distance(first: Factors, second: Factors, cross: Float64Array) -> float:
    """Return 1 - the mean canonical correlation of the subspaces that both runs keep."""
    examples, smaller = len(first.basis), min(first.kept, second.kept)
    surplus = first.kept + second.kept - examples
    if surplus > 0 and cross.shape == (examples, examples):
        # The complements of two subspaces meet at the same angles and are smaller here; only the angles of exactly 0
        # differ in number, by the surplus.
        total = surplus + _nuclear_norm(cross[first.kept :, second.kept :])
    else:
        total = _nuclear_norm(cross[: first.kept, : second.kept])
    return 1 - total / smaller


def procrustes_distance(first: Factors, second: Factors, cross: Float64Array) -> float:
    """Return 1 - the nuclear norm of X_i^T X_j, both of Frobenius norm 1."""
    return 1 - _nuclear_norm(first.scale[:, None] * cross * second.scale)


def biased_cka_distance(first: Factors, second: Factors, cross: Float64Array) -> float:
    """Return 1 - linear CKA from the biased HSIC."""
    return 1 - _biased_hsic(first, second, cross) / math.sqrt(first.biased_hsic * second.biased_hsic)


def unbiased_cka_distance(first: Factors, second: Factors, cross: Float64Array) -> float:
    """Return 1 - linear CKA from the unbiased HSIC."""
    own = first.unbiased_hsic, second.unbiased_hsic
    if 0 in own:
        return 0.0 if own[0] == own[1] else 1.0
    return 1 - _remove_bias(_biased_hsic(first, second, cross), first, second) / math.sqrt(own[0] * own[1])


def _biased_hsic(first: Factors, second: Factors, cross: Float64Array) -> float:
    return float(first.scale**2 @ np.square(cross) @ second.scale**2)


def _remove_bias(biased_hsic: float, first: Factors, second: Factors) -> float:
    examples = len(first.energy)
    return float(
        biased_hsic
        - examples / (examples - 2) * (first.energy @ second.energy)
        + first.energy.sum() * second.energy.sum() / ((examples - 1) * (examples - 2))
    )


def _count_kept(scale: Float64Array) -> int:
    return max(1, int(np.count_nonzero(np.cumsum(scale) / scale.sum() <= _KEPT_SPECTRUM)))


def _nuclear_norm(matrix: Float64Array) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False).sum())
