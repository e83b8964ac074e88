"""What pairs of runs do on single examples: the tables whose weighted means are the pairwise measures of a cohort."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from steadytune.kinds import KINDS
from steadytune.measures import pair_disagreements, pair_divergences, pair_squared_differences
from steadytune.measures.pairs import square
from steadytune.measures.regression import PairMoments
from steadytune.measures.text import pair_chrf_distances, pair_text_disagreements
from steadytune.measures.tokens import pair_token_divergences
from steadytune.records import Cohort

Array = NDArray[np.float64]


class Pairs(Protocol):
    """One measure of every pair of runs, on examples of any weight."""

    def means(self, weights: Array) -> Array:
        """Return the measure (R, P) on examples that carry weights (R, N)."""
        ...

    def distances(self) -> Array:
        """Return the distances (K, K) of the measure, on the examples as they are."""
        ...


class PairTable(NamedTuple):
    """One measure of every pair of runs on every example.

    Attributes:
        values: (P, N) over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`.
        sizes: (N,) how much each example counts: its tokens, or 1.
        root: Whether the values are squares, and the measure of a pair is the root of their mean.
    """

    values: Array
    sizes: Array
    root: bool = False

    def means(self, weights: Array) -> Array:
        """Average over examples that carry weights (R, N) besides their sizes, into (R, P)."""
        shares = weights * self.sizes
        result: Array = (shares / shares.sum(axis=1, keepdims=True)) @ self.values.T
        return np.sqrt(result) if self.root else result

    def distances(self) -> Array:
        """Return the distances (K, K) of the measure."""
        return square(self.means(np.ones((1, len(self.sizes))))[0])


class Correlations(NamedTuple):
    """1 - Pearson's correlation of every pair of runs, which is no mean over examples, and what ICC needs besides."""

    moments: PairMoments

    def means(self, weights: Array) -> Array:
        """Return the distances on examples that carry weights (R, N), as (R, P)."""
        return self.moments.correlation_distances(weights)

    def distances(self) -> Array:
        """Return the distances (K, K)."""
        return square(self.means(np.ones((1, self.moments.examples)))[0])


def pair_tables(cohort: Cohort) -> dict[str, Pairs]:
    """Measure every pair of runs on every example.

    Args:
        cohort: K runs on N examples.

    Returns:
        "disagreement" of a cohort with classes, and "jensen_shannon" where their probabilities are known;
        "disagreement" and "chrf" of generated texts, with "jensen_shannon" over tokens where their logits are known;
        "prediction_rmse" and "prediction_correlation" of a regression whose predictions are known.
        Empty for fewer than two runs.

    Raises:
        ValueError: The measures refuse the arrays.
    """
    if len(cohort) < 2:
        return {}
    if KINDS[cohort.kind].has_texts:
        return _text_tables(cohort)
    if (numbers := predicted_numbers(cohort)) is not None:
        squares = pair_squared_differences(numbers)
        return {
            "prediction_rmse": PairTable(squares, np.ones(squares.shape[1]), root=True),
            "prediction_correlation": Correlations(PairMoments(numbers)),
        }
    if cohort.predictions is None:
        return {}
    tables: dict[str, Pairs] = {"disagreement": _table(pair_disagreements(cohort.predictions))}
    if cohort.probabilities is not None:
        tables["jensen_shannon"] = _table(pair_divergences(cohort.probabilities))
    return tables


def predicted_numbers(cohort: Cohort) -> Array | None:
    """Return what the runs of a regression predict, (K, N); None where that is unknown, and for any other kind."""
    return None if cohort.logits is None else KINDS[cohort.kind].numbers(cohort.logits)


def _text_tables(cohort: Cohort) -> dict[str, Pairs]:
    tables: dict[str, Pairs] = {}
    if cohort.generations is not None:
        tables["disagreement"] = _table(pair_text_disagreements(cohort.generations))
        tables["chrf"] = _table(pair_chrf_distances(cohort.generations))
    if cohort.token_logits is not None:
        # A cohort has no token logits without them.
        counts = np.asarray(cohort.token_counts)
        owners = np.repeat(np.arange(len(counts)), counts)
        divergences = pair_token_divergences(cohort.token_logits)
        sums = np.stack([np.bincount(owners, weights=pair, minlength=len(counts)) for pair in divergences])
        tables["jensen_shannon"] = PairTable(sums / np.maximum(counts, 1), counts.astype(np.float64))
    return tables


def _table(values: NDArray[np.generic]) -> PairTable:
    return PairTable(values.astype(np.float64), np.ones(values.shape[1]))
