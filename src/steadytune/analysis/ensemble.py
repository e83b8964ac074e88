"""Ensembles: the score of the mean of the runs' probabilities, an upper reference for the gain from stability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, door, type_of
from steadytune.kinds import KINDS
from steadytune.metrics import METRICS, plain_name
from steadytune.records import Cohort

Split = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class EnsemblePair:
    """Two ensembles of the same size that share no run.

    Attributes:
        size: Number of runs in each.
        disagreement: Share of examples on which their predictions differ, averaged over `splits`.
        splits: Number of pairs of ensembles that it is averaged over.
        exhaustive: Whether these are all possible pairs; otherwise they are a random sample.
    """

    size: int
    disagreement: float
    splits: int
    exhaustive: bool


@dataclass(frozen=True)
class Ensemble:
    """The ensemble of a cohort's K runs.

    Attributes:
        runs: K.
        metric: Metric of the scores.
        score: Score of the mean of the K probabilities.
        single: Mean score of the single runs.
        pairs: One for each size from 1 to K // 2; the disagreement of the first is the mean over pairs of runs.
    """

    runs: int
    metric: str
    score: float
    single: float
    pairs: tuple[EnsemblePair, ...]

    @property
    def gain(self) -> float:
        """Score of the ensemble minus the mean score of a run."""
        return self.score - self.single


@door
def ensemble(cohort: Cohort, draws: int = 200, seed: int = 0) -> Ensemble:
    """Score the mean of the runs' probabilities, and measure how far two such ensembles disagree.

    An ensemble of K runs costs K trainings and K times the inference; it is a reference for methods that use one run.
    Its score has no interval here, since there is only one such ensemble. All finished runs count, including failed
    ones.

    Source: averaging the predictions of networks that differ in their seeds is from Lakshminarayanan et al., arXiv
    1612.01474 (deep ensembles); the disagreement of disjoint ensembles is the pairwise disagreement of Du & Nguyen, ACL
    2023, with ensembles in place of runs.

    Args:
        cohort: At least one run, with logits and labels.
        draws: Largest number of pairs of ensembles of one size; if there are more, this many are drawn.
        seed: Seed of the draws.

    Returns:
        The ensemble; with fewer than two runs it has no pairs.

    Raises:
        UserError: The cohort has no logits, labels or classes, or its metric needs questions made of several examples,
            which the cohort does not have.
    """
    probabilities = _probabilities(cohort)
    return Ensemble(
        runs=len(cohort),
        metric=cohort.metric,
        score=ensemble_score(cohort),
        single=float(cohort.scores.mean()),
        pairs=ensemble_disagreement(probabilities, draws, seed),
    )


def ensemble_score(cohort: Cohort) -> float:
    """Return the score of the mean of the runs' probabilities.

    Raises:
        UserError: As for `ensemble`.
    """
    probabilities, labels = _probabilities(cohort), cohort.labels
    assert labels is not None
    together = replace(cohort.answers, logits=None, given_probabilities=probabilities.mean(axis=0, keepdims=True))
    metric = METRICS[plain_name(cohort.metric)]
    if (missing := metric.missing(together)) is not None:
        raise UserError(f"{cohort.name or 'cohort'}: {metric.name} needs {missing}")
    return float(metric.plain(together, len(labels))[0])


def _probabilities(cohort: Cohort) -> NDArray[np.float64]:
    if not isinstance(cohort, Cohort):
        raise UserError(f"an ensemble is made of one cohort, not {type_of(cohort)}")
    name, probabilities = cohort.name or "cohort", cohort.probabilities
    if not KINDS[cohort.kind].has_classes or probabilities is None or cohort.labels is None:
        raise UserError(f"{name}: an ensemble needs the logits and labels of a task with classes")
    if METRICS[plain_name(cohort.metric)].grouped(cohort.kind) and cohort.questions is None:
        raise UserError(f"{name}: {cohort.metric} scores questions of several examples, which are not recorded here")
    return probabilities


def ensemble_disagreement(
    probabilities: NDArray[np.float64], draws: int = 200, seed: int = 0
) -> tuple[EnsemblePair, ...]:
    """Return how far two disjoint ensembles of m runs disagree, for m from 1 to K // 2.

    Args:
        probabilities: (K, N, C) of every run, example and class.
        draws: As for `ensemble`.
        seed: Seed of the draws.
    """
    runs = len(probabilities)
    random = np.random.default_rng(seed)
    pairs = []
    for size in range(1, runs // 2 + 1):
        exhaustive = comb(runs, 2 * size) * comb(2 * size, size) // 2 <= draws
        splits = list(_all_splits(runs, size) if exhaustive else islice(_drawn_splits(runs, size, random), draws))
        apart = [_disagreement(probabilities, split) for split in splits]
        pairs.append(EnsemblePair(size, float(np.mean(apart)), len(splits), exhaustive))
    return tuple(pairs)


def _disagreement(probabilities: NDArray[np.float64], split: Split) -> float:
    first, second = (probabilities[list(half)].mean(axis=0).argmax(axis=-1) for half in split)
    return float(np.mean(first != second))


def _all_splits(runs: int, size: int) -> Iterator[Split]:
    for chosen in combinations(range(runs), 2 * size):
        # Each pair once: the first half is the one that contains the smallest run.
        for others in combinations(chosen[1:], size - 1):
            first = (chosen[0], *others)
            yield first, tuple(run for run in chosen if run not in first)


def _drawn_splits(runs: int, size: int, random: np.random.Generator) -> Iterator[Split]:
    while True:
        order = random.permutation(runs)
        yield order[:size].tolist(), order[size : 2 * size].tolist()
