"""Concurrent validity by subsampling: does a measure stay the same on fewer examples?

Uses four random subsets each of a half and of a tenth of the examples, as Du & Nguyen (2023) do. A measure that
describes the runs should not change; orthogonal Procrustes shrinks at small N, and the SD of the score grows, since
sampling error from few examples is added to the variation between seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.grouping import example_groups
from steadytune.analysis.half_sampling import take_examples
from steadytune.analysis.kept import digest, kept
from steadytune.analysis.profile import Profile, prediction_values
from steadytune.analysis.scores import count_examples, rows_per_example, weighted_scores
from steadytune.analysis.tables import outputs_of, pair_tables
from steadytune.measures import (
    MEASURES,
    Outputs,
    SpreadMeasure,
    judged,
    layer_measures,
    pair_mean,
    representation_distances,
)
from steadytune.metrics import Scores
from steadytune.records import Cohort

SHARES = (0.5, 0.1)
DRAWS = 4

# Unbiased CKA needs the most examples of all measures.
_LEAST_EXAMPLES = 4

Layers = Literal["last", "all"]
Values = dict[tuple[str, int | None], float]


@dataclass(frozen=True)
class Subsample:
    """One measure of one cohort on fewer examples.

    Attributes:
        recipe: Name of the cohort's recipe.
        measure: Name of the measure.
        layer: Block, counted from 1, or None.
        share: Share of the examples in a subset.
        examples: Number of examples in a subset; the mean if groups differ in size.
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
        """Relative change on each subset; NaN if the measure is 0 on all examples."""
        return tuple(value / self.full - 1 if self.full else math.nan for value in self.values)

    @property
    def change(self) -> float:
        """Mean relative change."""
        return float(np.mean(self.changes))


def subsample(
    profile: Profile, layers: Layers = "last", step: Callable[[], None] = lambda: None, seed: int = 0
) -> tuple[Subsample, ...]:
    """Measure a cohort on subsets of its examples, drawn without replacement.

    Includes all judged measures that the cohort has; SD only if the scores can be computed from the logits. Cohorts
    with the same number of examples are measured on the same subsets. A share that holds fewer than four examples is
    left out. If examples form groups, a share of the groups is drawn, each as a whole.

    Args:
        profile: A measured cohort.
        layers: Whether the representation measures are computed at the last layer only or at all layers.
        step: Called after each of `steps` parts of the work.
        seed: Seed of the subsets.

    Returns:
        One entry per measure, layer and share.
    """
    cohort = profile.cohort
    source = _Source(outputs_of(cohort), weighted_scores(cohort))
    full = _full_values(profile, source, layers)
    members = example_groups(cohort)
    if members is None:
        members = np.arange(_examples(cohort))
    groups = len(np.unique(members))
    generator = np.random.default_rng([seed, groups])
    drawn = {
        share: [
            np.flatnonzero(np.isin(members, generator.permutation(groups)[: round(share * groups)]))
            for _ in range(DRAWS)
        ]
        for share in SHARES
    }
    large = {share: subsets for share, subsets in drawn.items() if min(map(len, subsets)) >= _LEAST_EXAMPLES and full}
    states = _of_states(cohort, [subset for subsets in large.values() for subset in subsets], full)
    found = []
    for share, subsets in drawn.items():
        size = round(float(np.mean([len(subset) for subset in subsets])))
        draws = []
        for chosen in subsets:
            draws.append(_measure(cohort, source, chosen, full) | next(states) if share in large else {})
            step()
        found += [
            Subsample(cohort.recipe, measure, layer, share, size, value, tuple(draw[measure, layer] for draw in draws))
            for (measure, layer), value in full.items()
            if (measure, layer) in draws[0]
        ]
    return tuple(found)


def steps(profiles: Sequence[Profile]) -> int:
    """Return the number of parts into which the work on these cohorts is divided."""
    return len(profiles) * len(SHARES) * DRAWS


def _examples(cohort: Cohort) -> int:
    if cohort.logits is not None:
        return int(cohort.logits.shape[1])
    return 0 if cohort.representations is None else int(cohort.representations[0].shape[-2])


class _Source(NamedTuple):
    """The inputs of measures on subsets: the outputs of the runs, and their scores under weights on the examples."""

    outputs: Outputs
    scores: Scores | None


def _full_values(profile: Profile, source: _Source, layers: Layers) -> Values:
    """Return the values on all examples of the measures that can be recomputed on fewer."""
    if len(profile.cohort) < 2:
        return {}
    depth = {measure: len(matrices) for measure, matrices in profile.distances.items() if matrices.ndim == 3}
    values: Values = {}
    for value in profile.values:
        measure = MEASURES[value.measure]
        if value.measure in depth:
            wanted = layers == "all" or value.layer == depth[value.measure]
        elif measure.level == "score":
            wanted = source.scores is not None
        else:
            same = _examples(profile.cohort) == count_examples(profile.cohort)
            wanted = same and value.layer is None and not math.isnan(value.value)
        if wanted and measure.judged:
            values[value.measure, value.layer] = value.value
    return values


def _measure(cohort: Cohort, source: _Source, chosen: NDArray[np.int64], wanted: Values) -> Values:
    values: Values = {}
    if source.scores is not None:
        weights = np.zeros((1, _examples(cohort)))
        weights[0, chosen] = 1
        scores = source.scores(weights)[0]
        values |= {(one.name, None): one.spread(scores) for one in judged() if isinstance(one, SpreadMeasure)}
    if any(MEASURES[name].level == "prediction" for name, _ in wanted):
        outputs = source.outputs.take(chosen)
        taken = prediction_values(outputs, pair_tables(outputs), len(cohort))
        values |= {(name, None): value for name, value in taken.items()}
    return values


def _of_states(cohort: Cohort, subsets: Sequence[NDArray[np.int64]], wanted: Values) -> Iterator[Values]:
    """Yield the representation measures on each of some subsets, computed once for runs in a folder."""
    measures = [measure for measure in layer_measures() if measure.judged]
    layers, rows = sorted({layer for _, layer in wanted if layer is not None}), rows_per_example(cohort)

    def means(chosen: NDArray[np.int64], layer: int) -> list[float]:
        states = [run[layer - 1 : layer] for run in cohort.representations or ()]
        distances = representation_distances(take_examples(states, chosen, rows), measures)
        return [float(pair_mean(distances[measure.name][0])) for measure in measures]

    def compute() -> dict[str, NDArray[np.float64]]:
        return {"means": np.array([[means(chosen, layer) for layer in layers] for chosen in subsets])}

    about = {"subsets": [digest(chosen) for chosen in subsets], "layers": layers, "rows": rows}
    if not layers or not subsets:
        yield from ({} for _ in subsets)
        return
    for by_layer in kept(cohort.representations, measures, "subsets", about, compute)["means"]:
        yield {
            (measure.name, layer): float(mean)
            for layer, by_measure in zip(layers, by_layer, strict=True)
            for measure, mean in zip(measures, by_measure, strict=True)
        }
