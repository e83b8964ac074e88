"""Instability of sets of labels: how often, and how strongly, two runs disagree about the labels of an example."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import entr

from .base import PairMeasure
from .inputs import Float64Array, check_shape, to_array, to_float64


def pair_set_disagreements(sets: Any) -> Any:
    """Return for every pair of runs and every example whether they answer different sets.

    Args:
        sets: (K, N, L) whether an answer has each label.

    Returns:
        Shape (P, N) over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`.

    Raises:
        ValueError: If the shape is wrong or the values are not 0 or 1.

    Example:
        >>> pair_set_disagreements([[[0, 1], [1, 1]], [[0, 1], [1, 0]]])
        array([[False,  True]])
    """
    chosen = _read_sets(sets)
    return np.concatenate([(chosen[i + 1 :] != run).any(axis=-1) for i, run in enumerate(chosen)])


def pair_label_disagreements(sets: Any) -> Float64Array:
    """Return for every pair of runs and every example the share of the labels that one has and the other lacks.

    Formula: (1/L) sum_l 1[y_inl != y_jnl], the Hamming distance of the sets. Range: [0, 1]. 0: the same sets. 1:
    opposite sets. Two runs that disagree about one label of an example differ by 1/L there, and by 1 as whole sets.

    Do not compare it between tasks: with many rare labels it is small whatever the runs answer.

    Source: ours; Hamming distance.

    Args:
        sets: (K, N, L) whether an answer has each label.

    Returns:
        As `pair_set_disagreements`.

    Raises:
        ValueError: As `pair_set_disagreements`.

    Example:
        >>> pair_label_disagreements([[[0, 1], [1, 1]], [[0, 1], [1, 0]]])
        array([[0. , 0.5]])
    """
    chosen = _read_sets(sets)
    return np.concatenate([(chosen[i + 1 :] != run).mean(axis=-1) for i, run in enumerate(chosen)])


def pair_label_divergences(probabilities: Any) -> Float64Array:
    """Return the Jensen-Shannon divergence of every pair of runs on every example, averaged over labels, in nats.

    Formula: (1/L) sum_l JS(Bernoulli(p_inl), Bernoulli(p_jnl)). Range: [0, ln 2].

    Args:
        probabilities: (K, N, L) of each label; they do not sum to 1.

    Returns:
        As `pair_set_disagreements`.

    Raises:
        ValueError: If the shape is wrong or a value is outside of [0, 1].
    """
    values = to_float64(probabilities, "probabilities", "(K, N, L)")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("probabilities of labels must be within [0, 1]: are they logits?")
    entropies = _entropy(values)
    divergences = [
        _entropy((values[i + 1 :] + run) / 2) - (entropies[i + 1 :] + entropies[i]) / 2 for i, run in enumerate(values)
    ]
    # Only rounding leads out of the range.
    table: Float64Array = np.clip(np.concatenate(divergences), 0, np.log(2))
    return table


def _entropy(values: Float64Array) -> Float64Array:
    result: Float64Array = (entr(values) + entr(1 - values)).mean(axis=-1)
    return result


def _read_sets(sets: Any) -> Any:
    chosen = to_array(sets, "sets")
    check_shape(chosen, "sets", "(K, N, L)")
    if not np.isin(chosen, (0, 1)).all():
        raise ValueError("sets must be 0 or 1 for each label")
    return chosen != 0


LABEL_DISAGREEMENT = PairMeasure(
    name="label_disagreement",
    title="Disagreement per label",
    short="per label",
    called="disagreement per label",
    meaning="Share of the labels that one of two runs gives to an example and the other does not, averaged over "
    "examples, labels and pairs. 0: the same sets; with many rare labels it is small whatever the runs answer.",
    largest=1.0,
    # The validity analyses have the measures that most kinds share.
    preference=4,
    of={"sets": pair_label_disagreements},
)
