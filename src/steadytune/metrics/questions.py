"""Metrics of questions that consist of several examples: the answers to one question of MultiRC, entities of ReCoRD.

A question counts as often as its first example, so weights must be equal within a question.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics.base import (
    CLASSES,
    Answers,
    Float64Array,
    Scores,
    ratio,
    share,
)


def all_right(answers: Answers) -> Scores:
    """Share of the questions whose examples are all answered correctly."""
    question, first = _questions(answers)
    wrong = np.asarray(answers.predictions) != np.asarray(answers.labels)
    right = np.stack([np.bincount(question, weights=run, minlength=len(first)) == 0 for run in wrong])
    return _mean(right.astype(np.float64), first)


def record_em(answers: Answers) -> Scores:
    """Share of the questions whose example with the highest positive margin is right."""
    return _of_chosen(answers, np.asarray(answers.labels) == 1)


def record_f1(answers: Answers) -> Scores:
    """Mean credit of each question's example with the highest positive margin."""
    return _of_chosen(answers, np.asarray(answers.credit))


def _questions(answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the question (N,) of each example and the first example (Q,) of each question."""
    _, first, question = np.unique(np.asarray(answers.questions), return_index=True, return_inverse=True)
    return question, first


def _of_chosen(answers: Answers, worth: NDArray[Any]) -> Scores:
    """Score each question by the example with the highest positive margin, the first in case of ties."""
    question, first = _questions(answers)
    outputs = np.asarray(answers.outputs, dtype=np.float64)
    rows = []
    for margin in outputs[..., 0] - outputs[..., 1]:
        order = np.lexsort((margin, question))
        rows.append(worth[order[np.searchsorted(question[order], np.arange(len(first)))]])
    return _mean(np.stack(rows).astype(np.float64), first)


def _mean(worth: Float64Array, first: NDArray[np.int64]) -> Scores:
    def scores(weights: Float64Array) -> Float64Array:
        counted = weights[:, first]
        return ratio(counted @ worth.T, counted.sum(axis=1, keepdims=True))

    return scores


_RANKED = ("outputs", "labels", "questions")
RECORD_F1 = share("record_f1", record_f1, CLASSES, *_RANKED, "credit", binary=True)
RECORD_EM = share("record_em", record_em, CLASSES, *_RANKED, binary=True)
