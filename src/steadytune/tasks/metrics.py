"""Scores of a task's examples: the metrics of `steadytune.metrics` on the logits of one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.metrics import METRICS, Answers, constant_score
from steadytune.tasks.base import Examples


def answers_of(kind: str, logits: NDArray[np.floating] | None, examples: Examples, classes: int = 0) -> Answers:
    """Return one run's answers to the examples.

    Args:
        kind: The task's kind.
        logits: (N, C) class logits, (N, choices) for "choice", (N, 1) predictions for "regression"; None for the shape
            of the answers only.
        examples: The N examples.
        classes: C, if there are no logits.
    """
    width = 1 if KINDS[kind].has_numbers else max(2, classes)
    given = np.zeros((len(examples), width)) if logits is None else np.asarray(logits, dtype=np.float64)
    return Answers(kind, given[None], labels=examples.labels, questions=examples.questions, credit=examples.credit)


def check_metric(name: str, kind: str, num_classes: int, examples: Examples) -> None:
    """Reject a metric that is unknown or not defined for a task.

    Args:
        name: Name in the registry.
        kind: The task's kind.
        num_classes: Number of classes; of positions for "choice"; 0 for a regression.
        examples: The evaluation examples.

    Raises:
        UserError: It is; names the metrics that fit.
    """
    shape = answers_of(kind, None, examples, num_classes)
    if METRICS[name].missing(shape) is not None:
        fitting = ", ".join(other for other, metric in METRICS.items() if metric.missing(shape) is None)
        what = f"{kind} task" + (f" with {num_classes} classes" if KINDS[kind].shared_classes else "")
        raise UserError(f"metric '{name}' is not defined for a {what}: use one of {fitting}")


def evaluate(metrics: Iterable[str], kind: str, logits: NDArray[np.floating], examples: Examples) -> dict[str, float]:
    """Score predictions.

    Args:
        metrics: Names in the registry.
        kind: The task's kind.
        logits: (N, C) class logits, (N, choices) for "choice", (N, 1) predictions for "regression".
        examples: The N examples.

    Returns:
        Metric name -> value; all NaN if any logit is not finite.

    Raises:
        UserError: A name is unknown.
        ValueError: The logits do not belong to the examples, or a metric is not defined for them.
    """
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2 or len(scores) != len(examples) or not len(examples):
        raise ValueError(f"logits of shape {scores.shape} do not fit {len(examples)} examples")
    answers = answers_of(kind, scores, examples)
    return {name: float(METRICS[name].plain(answers, len(examples))[0]) for name in metrics}


def majority_score(metric: str, kind: str, examples: Examples) -> float:
    """Score the predictor that gives the same answer to every example, see `constant_score`."""
    classes = 0 if KINDS[kind].has_numbers else 1 + int(examples.labels.max(initial=1))
    answers = answers_of(kind, None, examples, classes)
    score = constant_score(METRICS[metric], replace(answers, logits=None) if classes else answers)
    assert score is not None
    return score


__all__ = ["METRICS", "answers_of", "check_metric", "evaluate", "majority_score"]
