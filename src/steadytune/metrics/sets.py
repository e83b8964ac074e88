"""Metrics of sets of labels, of which an example has any number, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics.base import Answers, Float64Array, Scores, mean_of, ratio, share

SETS = ("sets", "labels")


def subset_accuracy(answers: Answers) -> Scores:
    """Share of the examples of which the whole set is right."""
    return mean_of((np.asarray(answers.sets) == np.asarray(answers.labels)).all(axis=-1))


def hamming_loss(answers: Answers) -> Scores:
    """Share of the labels of all examples that are wrong, there or missing."""
    return mean_of((np.asarray(answers.sets) != np.asarray(answers.labels)).mean(axis=-1))


def f1_micro(answers: Answers) -> Scores:
    """F1 of all pairs of an example and a label: 2 TP / (labels predicted + labels present); 0 without any."""
    return _of_labels(answers, lambda hits, sizes: ratio(2 * hits.sum(axis=0), sizes.sum(axis=0)))


def f1_macro(answers: Answers) -> Scores:
    """Mean F1 of the labels, 0 for one that is neither predicted nor present."""
    return _of_labels(answers, lambda hits, sizes: ratio(2 * hits, sizes).mean(axis=0))


def _of_labels(answers: Answers, combine: Callable[[Float64Array, Float64Array], Float64Array]) -> Scores:
    """Combine the weights (L, R, K) of the examples that rightly get each label, and of those that get or have it."""
    sets, labels = np.asarray(answers.sets), np.asarray(answers.labels) != 0

    def scores(weights: Float64Array) -> Float64Array:
        hits, sizes = [], []
        for label in range(labels.shape[1]):
            predicted, present = sets[..., label], labels[:, label]
            hits.append(weights @ (predicted & present).T.astype(np.float64))
            sizes.append(weights @ predicted.T.astype(np.float64) + (weights @ present.astype(np.float64))[:, None])
        return combine(np.stack(hits), np.stack(sizes))

    return scores


def constant_sets(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the sets (n, L) of which one is the best constant answer to labels (N, L), by any metric here.

    They are the most frequent set, best by subset accuracy, and the k most frequent labels for every k from 0 to L: for
    a given size no other set has more hits, and the F1 of every label is higher with it than without.
    """
    present = np.asarray(labels) != 0
    sets, counts = np.unique(present, axis=0, return_counts=True)
    ranks = np.argsort(np.argsort(-present.sum(axis=0), kind="stable"), kind="stable")
    nested = ranks < np.arange(present.shape[1] + 1)[:, None]
    return np.concatenate([sets[counts.argmax()][None], nested])


SUBSET_ACCURACY = share("subset_accuracy", subset_accuracy, ("multilabel",), *SETS)
HAMMING_LOSS = share("hamming_loss", hamming_loss, ("multilabel",), *SETS, unit="", higher_is_better=False)
