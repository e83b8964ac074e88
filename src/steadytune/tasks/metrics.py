"""Scores of a task's examples: the metrics of `steadytune.metrics` on what one run said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from steadytune.errors import UserError
from steadytune.files import Arrays, unpacked_texts
from steadytune.kinds import KINDS
from steadytune.metrics import METRICS, Answers, constant_score
from steadytune.tasks.base import Examples


def answers_of(
    kind: str, outputs: Arrays | None, examples: Examples, classes: int = 0, names: Sequence[str] = ()
) -> Answers:
    """Return one run's answers to the examples.

    Args:
        kind: The task's kind.
        outputs: What the run said, by name: "logits" (rows, C), for a regression (N, 1), or "generations", see
            `packed_texts`. None for the shape of the answers only.
        examples: The N examples.
        classes: C, if there are no outputs.
        names: Name of each class, if known.
    """
    of = KINDS[kind]
    if of.has_texts:
        texts = [""] * len(examples) if outputs is None else unpacked_texts(outputs["generations"])
        counts, targets = np.ones(len(examples), np.int64), np.zeros(len(examples))
        if outputs is not None:
            counts, targets = outputs["token_counts"], outputs["target_log_probabilities"]
        return Answers(
            kind,
            texts=[texts],
            references=list(examples.labels),
            target_log_probabilities=[targets],
            token_counts=counts,
        )
    measured = of.measured(examples)
    width = 1 if of.has_numbers else max(2, classes)
    width = measured["labels"].shape[1] if of.has_sets else width
    given = np.zeros((len(measured["labels"]), width)) if outputs is None else outputs["logits"]
    return Answers(
        kind,
        np.asarray(given, dtype=np.float64)[None],
        labels=measured["labels"],
        questions=measured.get("questions"),
        credit=measured.get("credit"),
        label_names=tuple(names) or None,
    )


def check_metric(name: str, kind: str, num_classes: int, examples: Examples, names: Sequence[str] = ()) -> None:
    """Reject a metric that is unknown or not defined for a task.

    Args:
        name: Name in the registry.
        kind: The task's kind.
        num_classes: Number of classes; of positions for "choice"; 0 for a regression.
        examples: The evaluation examples.
        names: Name of each class, if known.

    Raises:
        UserError: It is; names the metrics that fit.
    """
    shape = answers_of(kind, None, examples, num_classes, names)
    if METRICS[name].missing(shape) is not None:
        fitting = ", ".join(other for other, metric in METRICS.items() if metric.missing(shape) is None)
        what = f"{kind} task" + (f" with {num_classes} classes" if KINDS[kind].shared_classes else "")
        raise UserError(f"metric '{name}' is not defined for a {what}: use one of {fitting}")


def evaluate(
    metrics: Iterable[str], kind: str, outputs: Arrays, examples: Examples, names: Sequence[str] = ()
) -> dict[str, float]:
    """Score one run.

    Args:
        metrics: Names in the registry.
        kind: The task's kind.
        outputs: As for `answers_of`.
        examples: The N examples.
        names: Name of each class, if known.

    Returns:
        Metric name -> value; all NaN if any logit is not finite.

    Raises:
        UserError: A name is unknown.
        ValueError: The outputs do not belong to the examples, or a metric is not defined for them.
    """
    answers = answers_of(kind, outputs, examples, names=names)
    rows = len(examples) if answers.labels is None else len(answers.labels)
    if answers.outputs is not None and (answers.outputs.ndim != 3 or answers.outputs.shape[1] != rows or not rows):
        raise ValueError(f"logits of shape {answers.outputs.shape[1:]} do not fit {rows} examples")
    return {name: float(METRICS[name].plain(answers, rows)[0]) for name in metrics}


def majority_score(metric: str, kind: str, examples: Examples, names: Sequence[str] = ()) -> float | None:
    """Score the predictor that gives the same answer to every example, see `constant_score`; None if it has none."""
    of = KINDS[kind]
    classes = 1 + int(of.classes_in(examples.labels).max(initial=1)) if of.has_classes else 0
    answers = answers_of(kind, None, examples, classes, names)
    return constant_score(METRICS[metric], replace(answers, logits=None) if classes else answers)


__all__ = ["METRICS", "answers_of", "check_metric", "evaluate", "majority_score"]
