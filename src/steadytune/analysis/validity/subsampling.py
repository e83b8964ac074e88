"""Concurrent validity by sub-sampling: does a measure stay what it is on fewer examples?

Four random subsets of a half and of a tenth of the examples each, as Du & Nguyen (2023) take them. A measure that
describes the runs should not change; orthogonal Procrustes shrinks at small N, and the SD of the score grows, since the
luck of few examples is added to that of the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.grouping import example_groups
from steadytune.analysis.profile import Profile
from steadytune.analysis.scores import weighted_scores
from steadytune.measures import (
    disagreement,
    fleiss_kappa,
    jensen_shannon,
    pair_mean,
    representation_distances,
    score_spread,
)
from steadytune.records import Cohort

SHARES = (0.5, 0.1)
DRAWS = 4

# Unbiased CKA is the most demanding measure.
_LEAST_EXAMPLES = 4
_LIBRARY_NAMES = {"svcca": "svcca", "procrustes": "procrustes", "cka": "linear_cka"}

Layers = Literal["last", "all"]
Values = dict[tuple[str, int | None], float]


@dataclass(frozen=True)
class Subsample:
    """One measure of one cohort on fewer examples.

    Attributes:
        recipe: Name of the cohort's recipe.
        measure: Its name.
        layer: Block, counted from 1, or None.
        share: Share of the examples that a subset holds.
        examples: Their number, of groups of different sizes the mean.
        full: The measure on all examples.
        values: The measure on each subset.
    """

    recipe: str
    measure: str
    layer: int | None
    share: float
    examples: int
    full: float
    values: tuple[float, ...]

    @property
    def changes(self) -> tuple[float, ...]:
        """Relative change on each subset; NaN where the measure is 0 on all examples."""
        return tuple(value / self.full - 1 if self.full else math.nan for value in self.values)

    @property
    def change(self) -> float:
        """Mean relative change."""
        return float(np.mean(self.changes))


def subsample(
    profile: Profile, layers: Layers = "last", step: Callable[[], None] = lambda: None, seed: int = 0
) -> tuple[Subsample, ...]:
    """Measure a cohort on subsets of its examples, drawn without replacement.

    All seven measures, in so far as the cohort has them: SD only where the scores follow from the logits. Cohorts of
    equally many examples are measured on the same subsets. A share that holds fewer than four examples is left out.
    Where examples form groups, a share of the groups is drawn, each as a whole.

    Args:
        profile: A measured cohort.
        layers: Whether the representation measures are taken at the last layer alone or at all.
        step: Called after each of `steps` parts of the work.
        seed: Seed of the subsets.

    Returns:
        One entry per measure, layer and share.
    """
    cohort = profile.cohort
    full = _full_values(profile, layers)
    members = example_groups(cohort)
    if members is None:
        members = np.arange(_examples(cohort))
    groups = len(np.unique(members))
    generator = np.random.default_rng([seed, groups])
    found = []
    for share in SHARES:
        drawn = [generator.permutation(groups)[: round(share * groups)] for _ in range(DRAWS)]
        subsets = [np.flatnonzero(np.isin(members, chosen)) for chosen in drawn]
        size = round(float(np.mean([len(subset) for subset in subsets])))
        enough = full and min(map(len, subsets)) >= _LEAST_EXAMPLES
        draws = []
        for chosen in subsets:
            draws.append(_measure(cohort, chosen, full) if enough else {})
            step()
        found += [
            Subsample(cohort.recipe, measure, layer, share, size, value, tuple(draw[measure, layer] for draw in draws))
            for (measure, layer), value in full.items()
            if (measure, layer) in draws[0]
        ]
    return tuple(found)


def steps(profiles: Sequence[Profile]) -> int:
    """Return how many parts the work on so many cohorts has."""
    return len(profiles) * len(SHARES) * DRAWS


def _examples(cohort: Cohort) -> int:
    if cohort.logits is not None:
        return int(cohort.logits.shape[1])
    return 0 if cohort.representations is None else int(cohort.representations[0].shape[-2])


def _full_values(profile: Profile, layers: Layers) -> Values:
    """Return the measures that can be taken again on fewer examples, on all of them."""
    if len(profile.cohort) < 2:
        return {}
    depth = {measure: len(matrices) for measure, matrices in profile.distances.items() if matrices.ndim == 3}
    values: Values = {}
    for value in profile.values:
        if value.measure in depth:
            wanted = layers == "all" or value.layer == depth[value.measure]
        elif value.measure == "sd":
            wanted = weighted_scores(profile.cohort) is not None
        else:
            # The distances tell that predictions were compared; kappa is known where they are.
            wanted = "disagreement" in profile.distances and value.layer is None and not math.isnan(value.value)
        if wanted:
            values[value.measure, value.layer] = value.value
    return values


def _measure(cohort: Cohort, chosen: NDArray[np.int64], wanted: Values) -> Values:
    values: Values = {}
    scores, predictions, probabilities = weighted_scores(cohort), cohort.predictions, cohort.probabilities
    if scores is not None:
        weights = np.zeros((1, _examples(cohort)))
        weights[0, chosen] = 1
        values["sd", None] = score_spread(scores(weights)[0])
    if predictions is not None:
        values["disagreement", None] = float(pair_mean(disagreement(predictions[:, chosen])))
        values["kappa", None] = 1 - fleiss_kappa(predictions[:, chosen])
    if probabilities is not None:
        values["jensen_shannon", None] = float(pair_mean(jensen_shannon(probabilities[:, chosen])))
    for layer in sorted({layer for _, layer in wanted if layer is not None}):
        distances = representation_distances(list(_states(cohort, layer, chosen)))
        for measure, name in _LIBRARY_NAMES.items():
            values[measure, layer] = float(pair_mean(distances[name]))
    return values


def _states(cohort: Cohort, layer: int, chosen: NDArray[np.int64]) -> Iterator[Any]:
    """Yield the rows of the chosen examples in one layer of every run; a multiple-choice example has several rows."""
    for run in cohort.representations or ():
        states = run[layer - 1] if run.ndim == 3 else run
        rows = len(states) // _examples(cohort)
        yield states[(chosen[:, None] * rows + np.arange(rows)).ravel()]
