"""The bootstrap over runs and evaluation examples, by default with 10,000 resamples.

A resample draws K runs and, independently, N examples, both with replacement: run i counts c_i times and example n
counts v_n times. Two copies of a run are at distance 0 whatever the recipe, so such self-pairs are left out: with
D_ij(v) = sum_n v_n D_ijn / sum_n v_n, the resampled pair mean is

    sum_{i<j} c_i c_j D_ij(v) / sum_{i<j} c_i c_j,

and the variance of the score is the same with D_ij = (s_i(v) - s_j(v))^2 / 2. Everything is thus a product of the
weights with a table of N columns, followed by a quadratic form in the counts.

Rows of a representation cannot be drawn twice (see `half_sampling`). Its measures draw runs in the same way, and add a
random combination sum_b g_b d_b / sqrt(S) of their deviations d_b between halves of the examples, with g_b standard
normal.

**Groups.** Examples that belong together, `Cohort.groups`, are drawn together: G - 1 groups of the G, each with all its
examples, since G of them would show (G - 1)/G of the variance (Rao & Wu, "Resampling inference with complex survey
data", Journal of the American Statistical Association 83, 1988; from memory). One group says nothing about others.

Cohorts with the same examples share v and g, and cohorts with the same seeds share c. So the difference of two recipes
in every resample is a difference of two arrays, in which common variation cancels.

Only the spread of these arrays is used. Their percentiles are not intervals: resampling examples adds their sampling
error once more to the differences between runs, so "sd" is too large by up to a factor of sqrt(2). `intervals` computes
valid intervals instead.

Source: drawing runs and examples independently is the pigeonhole bootstrap of Owen, "The pigeonhole bootstrap", Annals
of Applied Statistics 1, 2007. That self-pairs distort it was found on the analysis of Du & Nguyen (2023).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.grouping import count_groups, example_groups, one_group
from steadytune.analysis.intervals import Draws
from steadytune.analysis.scores import count_examples, weighted_scores
from steadytune.analysis.tables import outputs_of, pair_tables
from steadytune.measures import CombinedMeasure, Draw, Outputs, Pairs, SpreadMeasure, declared
from steadytune.measures.pairs import pair_shares
from steadytune.metrics import Scores
from steadytune.records import Cohort

RESAMPLES = 10_000

# Size of one table of a chunk of resamples: 64 MB of float64, whatever N and K.
_CHUNK = 2**23
# Examples drawn at a time, which stay in the cache until they are counted.
_PICKS = 2**15

Array = NDArray[np.float64]
Resampled = dict[str, Array]


class Resamples(NamedTuple):
    """The measures of resampled cohorts; each attribute maps a measure to (R,), or (R, L) for one with layers.

    The three share their draws: entry r of `both` uses the counts of `runs` and the weights of `examples`.

    Attributes:
        both: Runs and examples resampled.
        runs: Runs resampled, on the original examples.
        examples: Examples resampled, for the original runs.
    """

    both: Resampled
    runs: Resampled
    examples: Resampled

    def of(self, measure: str, freedom: int, layer: int | None = None) -> Draws:
        """Return the draws of one measure, at one of its layers (counted from 0); see `Draws`."""
        both, runs, examples = (
            found[measure] if layer is None else found[measure][:, layer]
            for found in (self.both, self.runs, self.examples)
        )
        return Draws(both, runs, examples, freedom)


def resample(
    cohort: Cohort,
    distances: Mapping[str, Array],
    deviations: Mapping[str, Array],
    *,
    outputs: Outputs | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resamples:
    """Resample runs and examples of a cohort, and measure each resample.

    Args:
        cohort: K runs on N examples.
        distances: Measure -> (L, K, K) of the representation measures.
        deviations: Measure -> (S, L), see `half_sampling`; a measure without them draws runs only.
        outputs: Its `outputs_of`, if already computed.
        resamples: R.
        seed: Seed of the draws. Cohorts of the same N and groups share the weights of the examples; cohorts with the
            same seed names in the same order share the counts of the runs.

    Returns:
        "mean", and the measures that the cohort has: those of scores, of predictions, and those of `distances`. Only
        "mean" for a single run, nothing for none, and neither "mean" nor measures of scores for unknown scores. If
        scores cannot be computed from the predictions (see `scores.weighted_scores`), these draw runs only. NaN with
        resampled examples if all examples are one group.
    """
    runs = len(cohort)
    if not runs:
        return Resamples({}, {}, {})
    on_examples = _OnExamples(cohort, outputs_of(cohort) if outputs is None else outputs)
    counts, every = run_counts(cohort.seeds, resamples, seed), np.ones((1, runs))
    plain = on_examples.weigh(np.ones((1, on_examples.examples)))
    parts: list[tuple[Resampled, Resampled, Resampled]] = []
    rows = max(1, _CHUNK // max(on_examples.examples, runs * (runs - 1) // 2))
    for at, weights in example_weights(on_examples.examples, resamples, rows, seed, groups=example_groups(cohort)):
        drawn, weighed = Draw(counts[at : at + len(weights)]), on_examples.weigh(weights)
        parts.append((weighed.measures(drawn), plain.measures(drawn), weighed.measures(Draw(every))))
    both, alone, examples = (
        {name: np.concatenate([part[which][name] for part in parts]) for name in parts[0][which]} for which in range(3)
    )
    for name, matrices in distances.items():
        alone[name] = resampled_pair_means(matrices, counts)
        moved = _combinations(deviations.get(name), count_groups(cohort), resamples, seed)
        both[name] = alone[name] + moved
        examples[name] = resampled_pair_means(matrices, every) + np.zeros_like(both[name]) + moved
    if one_group(cohort):
        both, examples = (
            {name: np.full_like(found, np.nan) for name, found in drawn.items()} for drawn in (both, examples)
        )
    return Resamples(both, alone, examples)


def run_counts(seeds: tuple[str, ...], resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Draw how often each run counts in each resample.

    Resamples that consist of one run, repeated K times, contain no pair and are drawn again: one in 625 at K = 5.

    Args:
        seeds: Names of the K runs. The same names get the same counts.
        resamples: R.
        seed: Seed of the draws.

    Returns:
        (R, K) counts that sum to K in every row.
    """
    runs = len(seeds)
    names = hashlib.sha256("\0".join(seeds).encode()).digest()
    generator = np.random.default_rng([seed, *names])
    picks = generator.integers(runs, size=(resamples, runs))
    while runs > 1 and (alone := (picks == picks[:, :1]).all(axis=1)).any():
        picks[alone] = generator.integers(runs, size=(np.count_nonzero(alone), runs))
    return _count(picks, runs).astype(np.float64)


def example_weights(
    examples: int, resamples: int, rows: int, seed: int = 0, groups: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, Array]]:
    """Draw how often each example counts in each resample.

    Args:
        examples: N. The same number gets the same weights.
        resamples: R.
        rows: How many resamples are drawn at a time, which does not change them.
        seed: Seed of the draws.
        groups: (N,) the group of each example, 0 .. G - 1, see `grouping.example_groups`; None if examples are not
            grouped.

    Yields:
        The number of the first resample, and weights (rows, N). Without groups they sum to N in every row; of G groups
        G - 1 are drawn, and a single group is left unchanged.
    """
    choices = examples if groups is None else int(groups.max()) + 1
    picks = examples if groups is None else choices - 1
    generator = np.random.default_rng([seed, choices])
    for at in range(0, resamples, rows):
        size = min(rows, resamples - at)
        if not picks:
            yield at, np.ones((size, examples))
            continue
        counts, block = np.empty((size, choices)), max(1, _PICKS // picks)
        for row in range(0, size, block):
            part = counts[row : row + block]
            part[:] = _count(generator.integers(choices, size=(len(part), picks)), choices)
        yield at, counts if groups is None else counts[:, groups]


def resampled_pair_means(distances: Array, counts: Array) -> Array:
    """Average distances over the pairs of runs in every resample, without self-pairs.

    Args:
        distances: (L, K, K) symmetric, or (K, K).
        counts: (R, K) how often each run counts.

    Returns:
        (R, L), or (R,); NaN for a single run.
    """
    pairs = pair_shares(counts)
    if not pairs.size:
        return np.full((len(counts), *distances.shape[:-2]), np.nan)
    first, second = np.triu_indices(counts.shape[1], 1)
    result: Array = pairs @ np.moveaxis(distances[..., first, second], -1, 0)
    return result


class _Weighed(NamedTuple):
    """A cohort under R weightings of its examples, before its runs are weighted.

    Attributes:
        scores: (R, K), or None if unknown.
        means: Pair measure -> (R, P) over the pairs i < j.
        sums: The combined measures that have sums of their own.
    """

    scores: Array | None
    means: dict[str, Array]
    sums: list[tuple[CombinedMeasure, Any]]

    def measures(self, draw: Draw) -> Resampled:
        """Return the mean score and every measure of scores and predictions, (R,) each."""
        result: Resampled = {}
        if self.scores is not None:
            result["mean"] = (draw.counts * self.scores).sum(axis=1) / draw.runs
            for measure in declared("score"):
                if isinstance(measure, SpreadMeasure) and draw.runs > 1:
                    result[measure.name] = measure.drawn(self.scores, draw)
        result |= {name: draw.pair_mean(pairs) for name, pairs in self.means.items()}
        return result | {one.name: one.combine(self.means, sums, draw) for one, sums in self.sums}


def own_sums(outputs: Outputs, known: Mapping[str, Any]) -> list[tuple[CombinedMeasure, Callable[[Array], Any]]]:
    """Return the combined measures that a cohort has, each with a function of weights (R, N) that gives its sums.

    Args:
        outputs: The outputs of the runs.
        known: The available pair measures, by name.
    """
    found: list[tuple[CombinedMeasure, Callable[[Array], Any]]] = []
    for measure in declared("prediction"):
        if isinstance(measure, CombinedMeasure) and all(name in known for name in measure.reads):
            prepared = measure.prepared(outputs)
            if prepared is not None:
                found.append((measure, partial(measure.sums, prepared)))
    return found


class _OnExamples:
    """Results of runs, and of pairs of runs, on single examples."""

    def __init__(self, cohort: Cohort, outputs: Outputs) -> None:
        self._scores: Scores | None = None
        if np.isfinite(cohort.scores).all():
            self._scores = weighted_scores(cohort) or (lambda weights: np.tile(cohort.scores, (len(weights), 1)))
        self._tables: Mapping[str, Pairs] = pair_tables(outputs) if len(cohort) > 1 else {}
        self._sums = own_sums(outputs, self._tables)
        self.examples = count_examples(cohort)

    def weigh(self, weights: Array) -> _Weighed:
        return _Weighed(
            None if self._scores is None else self._scores(weights),
            {name: table.means(weights) for name, table in self._tables.items()},
            [(measure, sums(weights)) for measure, sums in self._sums],
        )


def _combinations(deviations: Array | None, examples: int, resamples: int, seed: int) -> Array | float:
    if deviations is None:
        return 0.0
    splits = len(deviations)
    draws = np.random.default_rng([seed, examples, splits]).standard_normal((resamples, splits))
    moved: Array = draws @ deviations / np.sqrt(splits)
    return moved


def _count(picks: NDArray[np.int64], choices: int) -> NDArray[np.int64]:
    """Count how often each choice occurs in every row of picks."""
    cells = picks + choices * np.arange(len(picks))[:, None]
    return np.bincount(cells.ravel(), minlength=choices * len(picks)).reshape(len(picks), choices)
