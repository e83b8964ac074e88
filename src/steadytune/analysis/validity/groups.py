"""Concurrent validity by known groups: does a measure distinguish successful from failed runs?

Du & Nguyen (2023) plot, per layer, the distances between successful runs of a cohort and between failed ones. The
legend of their figure is swapped: by the variable names the FAILED runs are less similar at the top layers. So the sign
is tested here on the given runs, and never assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.profile import Profile
from steadytune.analysis.sentences import counted

_LABELLINGS = 9999
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Separation:
    """The distances by one measure within and between the successful and the failed runs of one cohort.

    Attributes:
        measure: Name of the measure.
        layer: Block, counted from 1, or None.
        successful: Mean distance between two successful runs.
        failed: Mean distance between two failed runs.
        between: Mean distance between a successful and a failed run.
        p: Two-sided p-value of `failed` against `successful`, over the ways to label as many runs as failed. Each layer
            has its own, not corrected for the number of layers.
    """

    measure: str
    layer: int | None
    successful: float
    failed: float
    between: float
    p: float

    @property
    def difference(self) -> float:
        """Failed minus successful: above 0, failed runs are less alike."""
        return self.failed - self.successful


@dataclass(frozen=True)
class KnownGroups:
    """Comparison of the successful and the failed runs of one cohort.

    Attributes:
        recipe: Name of the cohort's recipe.
        reason: Why there is nothing to compare, or "".
        separations: One per pairwise measure and layer.
    """

    recipe: str
    reason: str
    separations: tuple[Separation, ...]

    def last(self) -> dict[str, Separation]:
        """Return the separation by each measure, for a representation measure at the last layer."""
        return {found.measure: found for found in self.separations}


def known_groups(profile: Profile, seed: int = 0) -> KnownGroups:
    """Compare the successful with the failed runs of a cohort by every measure that is a matrix of distances.

    A failed run is one that scores no better than the majority class. Runs that diverged or crashed left no arrays and
    are not included. SD and kappa are not means of distances, and have no such comparison.

    The labels are permuted over the runs: all ways to choose F of K runs if there are at most 9,999, otherwise as many
    random ones. This treats runs as exchangeable, so p tests whether failure is related to the distances.

    Args:
        profile: A measured cohort.
        seed: Seed of the random labellings.

    Returns:
        The comparison; empty, with the reason, for fewer than two runs of either kind.
    """
    failed = failed_runs(profile.cohort)
    wrong, right = int(np.count_nonzero(failed)), int(np.count_nonzero(~failed))
    recipe = profile.cohort.recipe
    if profile.cohort.failed is None:
        return KnownGroups(recipe, "which runs failed is unknown", ())
    if min(wrong, right) < 2:
        reason = f"{counted(wrong, 'failed run')} and {right} successful: two of each are needed"
        return KnownGroups(recipe, reason, ())
    labels, exact = _labellings(failed, seed)
    separations = []
    for measure, distances in profile.distances.items():
        layers = distances if distances.ndim == 3 else distances[None]
        separations += [
            _separate(measure, layer if distances.ndim == 3 else None, matrix, labels, exact)
            for layer, matrix in enumerate(layers, start=1)
        ]
    return KnownGroups(recipe, "", tuple(separations))


def _labellings(failed: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.float64], bool]:
    """Return (R, K) ways to label as many runs as failed, the observed one first, and whether these are all ways."""
    runs, wrong = len(failed), int(np.count_nonzero(failed))
    exact = math.comb(runs, wrong) <= _LABELLINGS
    if exact:
        others = np.zeros((math.comb(runs, wrong), runs))
        chosen = np.array(list(combinations(range(runs), wrong)))
        np.put_along_axis(others, chosen, 1.0, axis=1)
    else:
        others = np.random.default_rng(seed).permuted(np.tile(failed.astype(np.float64), (_LABELLINGS, 1)), axis=1)
    return np.vstack([failed, others]), exact


def _separate(
    measure: str, layer: int | None, matrix: NDArray[np.float64], labels: NDArray[np.float64], exact: bool
) -> Separation:
    wrong = labels[0].sum()
    right = labels.shape[1] - wrong
    toward = labels @ matrix
    rest = matrix.sum(axis=1) - toward
    failed = (toward * labels).sum(axis=1) / (wrong * (wrong - 1))
    successful = (rest * (1 - labels)).sum(axis=1) / (right * (right - 1))
    between = (toward[0] * (1 - labels[0])).sum() / (wrong * right)
    size = np.abs(failed - successful)
    reached = np.count_nonzero(size >= size[0] - _ROUNDING)
    # If all ways are listed, the observed one is already among them; random ones count it in addition.
    p = (reached - 1) / (len(labels) - 1) if exact else reached / len(labels)
    return Separation(measure, layer, float(successful[0]), float(failed[0]), float(between), float(p))
