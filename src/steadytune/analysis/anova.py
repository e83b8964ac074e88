"""Variance components of runs on a grid of factors, from the distances between runs only.

Each run is y = mu + sum_S u_S: one effect for every set S of factors, drawn once for each combination of their values,
all independent, with mean zero and variance sigma_S^2. The data are the distances D_ij = |y_i - y_j|^2 / 2. This works
for both scores and predictions: for one-hot vectors |e_y - e_y'|^2 / 2 is 1[y != y'], so the disagreement of two runs
is their D, with variances summed over classes and averaged over examples.

**Pairs.** Two runs that share the values of exactly the factors T share u_S for every S within T:

    E D_ij = sum of sigma_S^2 over all S not within T.

For two factors, means over pairs give the solution: with D_0 the mean over pairs that share neither factor, and D_A and
D_B those over pairs that share only A or only B, sigma_A^2 = D_0 - D_A, sigma_B^2 = D_0 - D_B and
sigma_AB^2 = D_A + D_B - D_0. Their sum is D_0, the total difference between two runs.

**The computation** gives the same on a full grid and also handles gaps: it uses sums of squares, each adjusted for all
sources that do not contain it (Henderson's third method, Type II). Every projection P with P 1 = 0 has
y^T P y = -sum_ij P_ij D_ij, with expectation sum_S sigma_S^2 tr(P Z_S Z_S^T), where Z_S are the indicators of the
values of S. On a full grid these are the textbook mean squares.

**Intervals** replace unknown expectations by chi-square draws: each mean square MS with f degrees of freedom becomes
f MS / chi2_f, and the components and shares are computed from the draws (generalised confidence intervals). For
predictions a main effect has more degrees of freedom than it has values, since examples move independently of one
another: f (tr W)^2 / tr W^2, where W is the f x f matrix of inner products in its space (Satterthwaite). Interactions
keep theirs: thresholds make their size depend on the main effects, which that formula does not account for.

Sources: Searle, Casella & McCulloch, Variance Components, 1992, chapters 4 and 5; sums of squares from distances,
Anderson, Austral Ecology 26, 2001; generalised intervals, Weerahandi, Journal of the American Statistical Association
88, 1993. All from memory, not re-read. The equation for pairs is derived here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytune.analysis.intervals import LEVEL, Interval

Array = NDArray[np.float64]
Factors = tuple[str, ...]

_DRAWS = 20_000
_ENDS = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)
# Thresholds for rounding: singular values of indicators are square roots of counts, distances are those of fractions.
_NO_DIRECTION, _NO_DISTANCE = 1e-9, 1e-24


class Component(NamedTuple):
    """One source of variance.

    Attributes:
        factors: The factor, or the factors of an interaction.
        variance: Its variance with a 95 % interval; 0 if the unbiased estimate is negative. The ends are NaN if the
            runs do not differ.
        share: The same as a share of the sum over all sources; without ends if there is one source, NaN if none.
        raw: The unbiased estimate of the variance.
        freedom: Degrees of freedom of its mean square.
    """

    factors: Factors
    variance: Interval
    share: Interval
    raw: float
    freedom: int


def decompose(
    distances: ArrayLike, levels: Mapping[str, Sequence[int]], upper: float = math.inf
) -> tuple[Component, ...]:
    """Split the differences between runs into their sources.

    A source without a degree of freedom of its own is left out and assumed to be zero. If its combinations of values
    coincide with those of a smaller source, it is part of the smaller one.

    Simulated coverage of the intervals, nominally 95 %, lowest to highest over sources and over ratios of the
    components from a tenth to four:

        design                        variance of scores    share    disagreement: variance    share
        2 x 2                         94-98 %               95-97 %  100 %                     100 %
        3 x 3                         94-97 %               95-97 %  98-100 %                  98-100 %
        4 x 4                         93-97 %               94-97 %  98-100 %                  96-100 %
        4 x 4, 3 runs missing         94-97 %               95-97 %
        8 x 8                         94-97 %               93-97 %  92-100 %                  90-100 %
        4 x 12                        94-98 %               94-98 %  90-100 %                  87-100 %
        3 x 3 x 3                     92-97 %               90-97 %
        4 groups of 3                 94-96 %               95-96 %
        one at a time, 4 + 4 changes  95-96 %               95-96 %

    In these simulations scores are normal; disagreement is that of 120 examples with two classes, moved along 1, 3 or
    20 directions, and its coverage is below 98 % if all examples move along one. The intervals rely on normal effects:
    if one value in seven of a factor makes its runs collapse, the intervals of that factor cover 49 % with 4 values and
    68 % with 8, because half of such grids contain no collapse. With heavy tails, if all effects follow Student's
    distribution with 5, 3 and 2.5 degrees of freedom, the interval of an interaction as large as the main effects
    covers 91, 75 and 67 % on 4 x 4 and 83, 57 and 37 % on 8 x 8, and those of the main effects cover 69 to 94 %
    (`benchmarks/coverage.py`). Both ends are 0 if a mean square is smaller than any variance of the source would
    explain, which happens by chance in one interval of forty.

    Args:
        distances: (K, K) half squared distances D.
        levels: Factor -> (K,) its values. Each factor takes at least two; no two factors vary together.
        upper: Largest possible variance.

    Returns:
        The sources, main effects first.
    """
    matrix = np.asarray(distances, dtype=np.float64)
    if not (known := bool(matrix.max() > _NO_DISTANCE)):
        matrix = np.zeros_like(matrix)
    sources = _sources(levels)
    spaces = {names: space for names in sources if (space := _own_space(names, sources)).shape[1]}
    products = {names: -space.T @ matrix @ space for names, space in spaces.items()}
    freedom = np.array([len(product) for product in products.values()])
    squares = np.array([np.trace(product) for product in products.values()]) / freedom
    shared = [[np.square(space.T @ sources[names]).sum() for names in spaces] for space in spaces.values()]
    expected = np.array(shared) / freedom[:, None]
    raw = np.linalg.solve(expected, squares)
    effective = freedom * [_directions(product) if len(names) == 1 else 1.0 for names, product in products.items()]
    draws = squares * effective / np.random.default_rng(0).chisquare(effective, size=(_DRAWS, len(effective)))
    drawn = np.linalg.solve(expected, draws.T).clip(0, upper)
    variances = _intervals(raw.clip(0, upper), drawn, known)
    shares = _intervals(_shares(raw.clip(0, upper)), _shares(drawn), known and len(spaces) > 1)
    return tuple(map(Component, spaces, variances, shares, raw.tolist(), freedom.tolist()))


def _sources(levels: Mapping[str, Sequence[int]]) -> dict[Factors, Array]:
    """Return every set of factors that groups the runs in a distinct way, as indicators (K, groups) of its values."""
    found: dict[Factors, Array] = {}
    columns = {name: np.unique(values, return_inverse=True)[1] for name, values in levels.items()}
    for size in range(1, len(columns) + 1):
        for names in itertools.combinations(columns, size):
            rows = np.stack([columns[name] for name in names], axis=1)
            groups = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
            indicators = np.eye(groups.max() + 1)[groups]
            if not any(_refines(indicators, other) and _refines(other, indicators) for other in found.values()):
                found[names] = indicators
    return found


def _refines(finer: Array, coarser: Array) -> bool:
    """Return whether all runs of a group of `finer` are in one group of `coarser`."""
    return bool((np.count_nonzero(finer.T @ coarser, axis=1) == 1).all())


def _own_space(names: Factors, sources: Mapping[Factors, Array]) -> Array:
    """Return an orthonormal basis (K, f) of what a source adds to the mean and all sources that do not contain it."""
    own = sources[names]
    others = [other for other in sources.values() if not _refines(other, own)]
    rest = _basis(np.hstack([np.ones((len(own), 1)), *others]))
    return _basis(own - rest @ (rest.T @ own))


def _basis(columns: Array) -> Array:
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    directions: Array = left[:, values > _NO_DIRECTION]
    return directions


def _directions(product: Array) -> float:
    """Return the effective number of directions in which a source moves the runs, 1 to its degrees of freedom."""
    squares = np.square(product).sum()
    # Rounding may give less than one if a source moves nothing. Whole numbers are also drawn from differently than
    # numbers next to them, so the last bits, which depend on the machine, must not decide.
    return max(1.0, round(float(np.trace(product) ** 2 / squares), 9)) if squares else 1.0


def _shares(variances: Array) -> Array:
    """Divide by the sum over sources, the first axis; NaN if that is 0."""
    total = variances.sum(axis=0)
    shares: Array = np.divide(variances, total, out=np.full_like(variances, np.nan), where=total > 0)
    return shares


def _intervals(values: Array, drawn: Array, known: bool) -> list[Interval]:
    """Return values (sources,) with the ends of the middle 95 % of draws (sources, R), or without if unknown."""
    if not known:
        return [Interval(float(value), math.nan, math.nan) for value in values]
    low, high = np.nanpercentile(drawn, _ENDS, axis=1)
    # If an estimate was negative, the shares of the others may lie outside the range of the draws.
    ends = zip(values, np.minimum(low, values), np.maximum(high, values), strict=True)
    return [Interval(*map(float, row)) for row in ends]
