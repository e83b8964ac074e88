"""A few runs on both halves of the examples, for many splits, from the factorisation of all examples.

All that the measures need of a half A is in products of its rows: with F_i the factors of run i on all examples, C_ij =
F_i,A^T F_j,A minus the outer product of the column means. The eigenvectors V_i of C_ii, of eigenvalues s_i^2, turn C_ij
into the core V_i^T C_ij V_j of the pair. The products of the other half are those of all examples minus these.

The columns of F decrease, and the products of single precision are accurate relative to the norms of two columns, so
that weak directions keep their digits; those of X itself would lose the directions below 2e-4 of the largest. All else
is in double precision. Errors of the measures come to 1e-7, but that SVCCA may keep a direction more or less if 99 % of
the spectrum end there. (Derived here, not taken from a source; the tests check it.)

That is for large halves, see `factors.is_large`; others are factored from their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from .base import LayerMeasure
from .distances import measure_pair
from .factors import Factors, count_kept, decompose, factor_run, is_large
from .inputs import Float64Array
from .pairs import pair_mean

# All pairs share the examples, so three pairs show their effect nearly as well as all of them.
HALF_RUNS = 3

Rows = NDArray[np.int64]
Split = tuple[Rows, Rows]

# A direction of which a half has less than this share is not found as a difference, which would leave too few digits.
_LEAST_SHARE = 0.01


class _Products(NamedTuple):
    """Products of the rows of some examples.

    Attributes:
        rows: Number of rows.
        sums: Of every run, the sum of its rows, (rank,).
        pairs: Runs i <= j -> F_i^T F_j, not centred, (rank_i, rank_j).
    """

    rows: int
    sums: list[Any]
    pairs: Mapping[tuple[int, int], Any]

    def without(self, other: _Products) -> _Products:
        """Return the products of the rows that others leave."""
        return _Products(
            self.rows - other.rows,
            [mine - theirs for mine, theirs in zip(self.sums, other.sums, strict=True)],
            {pair: product - other.pairs[pair] for pair, product in self.pairs.items()},
        )

    def centred(self, first: int, second: int) -> Any:
        """Return C_ij of two runs i <= j."""
        return self.pairs[first, second] - self.sums[first][:, None] * self.sums[second] / self.rows

    def has_share_of(self, every: _Products) -> bool:
        """Return whether no run has too little in a direction to find it as a difference."""
        return all(
            bool((product.diagonal() >= _LEAST_SHARE * every.pairs[i, j].diagonal()).all())
            for (i, j), product in self.pairs.items()
            if i == j
        )


class Halved:
    """The first runs of a layer, to be measured on halves of the examples.

    Args:
        runs: Hidden states (N, D), as they were given.
        factors: Their factors; None for a collapsed run.
        places: What each run is, for error messages.
        measures: The measures to compute.
        splits: Of the examples into the rows of two halves.
    """

    def __init__(
        self,
        runs: Sequence[Any],
        factors: Sequence[Factors | None],
        places: Sequence[str],
        measures: Sequence[LayerMeasure],
        splits: Sequence[Split],
    ) -> None:
        self._runs, self._places, self._measures, self.splits = runs, places, measures, splits
        self._factors = [one for one in factors if one is not None]
        smallest = min(len(half) for split in splits for half in split)
        every = len(self._factors) == len(runs)
        self._large = every and is_large(smallest, max(one.rank for one in self._factors))
        if self._large:
            self._single = [_single(one.scaled) for one in self._factors]
            self._all = self._products(np.arange(self._factors[0].examples))

    def measure(self, split: Split) -> Float64Array:
        """Return the pair means (measures, 2) on both halves; NaN on too few examples for a measure."""
        found = self._from_products(split) if self._large else None
        return np.stack([self._from_rows(half) for half in split], axis=1) if found is None else found

    def _means(self, examples: int, pair: Callable[[int, int, list[LayerMeasure]], Any]) -> Float64Array:
        defined = [at for at, one in enumerate(self._measures) if examples >= one.least_examples]
        distances = np.full((len(self._measures), len(self._runs), len(self._runs)), np.nan)
        for i, j in combinations(range(len(self._runs)), 2):
            measured = pair(i, j, [self._measures[at] for at in defined])
            for at, distance in zip(defined, measured, strict=True):
                distances[at, i, j] = distance.value
        return np.asarray(pair_mean(distances))

    def _from_rows(self, half: Rows) -> Float64Array:
        if not len(half):
            return np.full(len(self._measures), np.nan)
        parts = [factor_run(run[half], place) for run, place in zip(self._runs, self._places, strict=False)]
        return self._means(len(half), lambda i, j, measures: measure_pair(parts[i], parts[j], measures))

    def _from_products(self, split: Split) -> Float64Array | None:
        """Measure halves with more rows than features; None if a run may have collapsed on one of them."""
        neither = np.setdiff1d(np.arange(self._factors[0].examples), np.concatenate(split))
        first = self._products(split[0])
        second = self._all.without(first)
        if len(neither):
            second = second.without(self._products(neither))
        if not second.has_share_of(self._all):
            second = self._products(split[1])
        found = []
        for half, products in zip(split, (first, second), strict=True):
            parts = [self._part(half, products, run) for run in range(len(self._factors))]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts):
                return None

            def pair(i: int, j: int, measures: list[LayerMeasure], known: Any = known, made: Any = products) -> Any:
                core = known[i].turn.T @ made.centred(i, j) @ known[j].turn
                return measure_pair(known[i], known[j], measures, product=core)

            found.append(self._means(len(half), pair))
        return np.stack(found, axis=1)

    def _products(self, rows: Rows) -> _Products:
        parts = [one[rows] for one in self._single]
        xp = array_namespace(parts[0])
        return _Products(
            len(rows),
            [xp.sum(part, axis=0, dtype=xp.float64) for part in parts],
            {
                (i, j): xp.astype(parts[i].T @ parts[j], xp.float64)
                for i, j in combinations_with_replacement(range(len(parts)), 2)
            },
        )

    def _part(self, half: Rows, products: _Products, run: int) -> Factors | None:
        """Return the factors of a run on a half; None if it may have collapsed there."""
        whole, rows = self._factors[run], self._single[run][half]
        xp = array_namespace(rows)
        scale, basis = decompose(products.centred(run, run))
        spread = float(xp.linalg.vector_norm(scale))
        if spread <= whole.floor:
            return None
        rank = int((scale > 0).sum())
        mean = products.sums[run] / products.rows
        inside = xp.astype(rows @ _single(mean), xp.float64)
        energy = (whole.energy[half] - 2 * inside + float(mean @ mean)) / spread**2
        scale = scale[:rank] / spread
        return Factors(rows, scale, count_kept(scale), None, energy, basis[:, :rank] / spread)


def _single(array: Any) -> Any:
    xp = array_namespace(array)
    return xp.astype(array, xp.float32)
