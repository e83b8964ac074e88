"""What a cohort computes from its runs' answers: probabilities, predictions and scores, which given ones must match."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from steadytune.kinds import KINDS
from steadytune.metrics import Answers, Metric, recorded, score
from steadytune.metrics.positive import find_positive
from steadytune.metrics.scoring import (
    UNNAMED,
    Scored,
    computable,
    constant_score,
    contradiction,
    in_fractions,
    same,
)

if TYPE_CHECKING:
    from steadytune.records.cohort import Cohort

_COMPUTED: WeakValueDictionary[int, NDArray[Any]] = WeakValueDictionary()
"""Arrays that cohorts computed and handed out (probabilities, predictions, scores, failures), by identity."""


class _OwnConstant(float):
    """A constant answer's score that a cohort computed, marked so that a changed copy recomputes it."""


def _marked(values: NDArray[Any]) -> NDArray[Any]:
    """Remember an array as computed by a cohort, because `dataclasses.replace` passes it on unasked."""
    view = values.view()
    _COMPUTED[id(view)] = view
    return view


def is_computed(value: Any) -> bool:
    """Return whether a cohort computed this very array or score of the constant answer."""
    return isinstance(value, _OwnConstant) or (value is not None and _COMPUTED.get(id(value)) is value)


class Probabilities:
    """The field `Cohort.probabilities`: the softmax of the logits, computed on access, or the given values.

    Logits take precedence, so that `dataclasses.replace(cohort, logits=...)` has the probabilities of the new ones.
    """

    def __set__(self, cohort: Cohort, given: Any) -> None:
        cohort.__dict__["given_probabilities"] = given

    def __get__(self, cohort: Cohort | None, owner: type[Cohort]) -> NDArray[np.float64] | None:
        if cohort is None or not (KINDS[cohort.kind].has_classes or KINDS[cohort.kind].has_sets):
            return None
        found = cohort.answers.probabilities
        return None if found is None else _marked(found)


class Predictions:
    """The field `Cohort.predictions`: the class with the highest output, or the given values."""

    def __set__(self, cohort: Cohort, given: Any) -> None:
        cohort.__dict__["given_predictions"] = given

    def __get__(self, cohort: Cohort | None, owner: type[Cohort]) -> NDArray[np.int64] | None:
        if cohort is None or not (KINDS[cohort.kind].has_classes or KINDS[cohort.kind].has_sets):
            return None
        found = cohort.answers.predictions
        return None if found is None else _marked(found)


def can_be_scored(cohort: Cohort) -> bool:
    """Return whether the cohort's metric, or one of its kind, can be computed from its answers."""
    of = KINDS[cohort.kind]
    names = (*of.metrics, *of.task_metrics) if cohort.metric == UNNAMED else (cohort.metric,)
    return any(computable(name, cohort.answers) is not None for name in names)


def settled_scores(cohort: Cohort) -> Scored:
    """Return the scores of a cohort, what the constant answer scores, and from it which runs failed.

    Scores that are not given are computed. Those in per cent become fractions. Given ones that agree with the answers
    up to rounding are made exact, and only then it is known which runs failed, unless that is given too.

    Args:
        cohort: A cohort with everything but its scores in place.

    Raises:
        UserError: As `metrics.score`.
    """
    runs = [f"run {seed}" for seed in cohort.seeds]
    return _scored(cohort, runs) if cohort.scores is None else _checked(cohort, runs)


def _scored(cohort: Cohort, runs: list[str]) -> Scored:
    metric = None if cohort.metric == UNNAMED else cohort.metric
    found = score(cohort.answers, runs, metric=metric, positive=cohort.positive, label_names=cohort.label_names)
    failed, constant = cohort.failed, cohort.majority_score
    if failed is None and found.failed is not None:
        failed = _marked(np.asarray(found.failed, bool))
    if constant is None and found.constant is not None:
        constant = _OwnConstant(found.constant)
    return replace(found, values=_marked(found.values), failed=failed, constant=constant)


def _checked(cohort: Cohort, runs: list[str]) -> Scored:
    """Convert per cent to fractions, and determine which runs failed, if possible."""
    values, notes = in_fractions(cohort.scale, cohort.scores, runs)
    answers, positive = cohort.answers, cohort.positive
    if isinstance(positive, str):
        # Without any run the classes may be unknown, and nothing depends on them.
        known = len(values) or positive in (cohort.label_names or ())
        positive = find_positive(positive, cohort.label_names, answers.classes) if known else None
        answers = replace(answers, positive=positive)
    if not len(values):
        return Scored(cohort.metric, values, cohort.majority_score, cohort.failed, positive, tuple(notes))
    metric = computable(cohort.metric, answers)
    if metric is None and cohort.metric == UNNAMED:
        metric = next(filter(None, (computable(name, answers) for name in KINDS[cohort.kind].metrics)), None)
    if metric is not None and metric.binary and positive is None:
        positive = answers.positive_class
        answers = replace(answers, positive=positive)
    found = Scored(cohort.metric, values, cohort.majority_score, cohort.failed, positive, tuple(notes))
    # A given score of the constant answer implies that the scores are known, as in a study.
    if metric is not None and found.constant is None and not np.isnan(values).all():
        found = _compared(found, metric, answers)
    if found.failed is None and found.constant is not None:
        failed = recorded(found.metric).no_better(found.values, found.constant)
        own = isinstance(found.constant, _OwnConstant) and failed is not None
        found = replace(found, failed=_marked(failed) if own and failed is not None else failed)
    return found


def _compared(found: Scored, metric: Metric, answers: Answers) -> Scored:
    """Compare the scores with those of the answers: only if they agree is it known which runs failed."""
    computed = metric.plain(answers, answers.examples)
    unnamed = found.metric == UNNAMED
    # Known scores in per cent have been converted to fractions by now.
    percent = unnamed and not same(found.values, computed) and same(found.values, computed, percent=True)
    if percent or same(found.values, computed):
        # Rounded scores may lie on the wrong side of the constant answer's score.
        constant = constant_score(metric, answers)
        note = f"The scores are the {metric.name} in per cent and were read as such."
        return replace(
            found,
            metric=metric.name if unnamed else found.metric,
            values=_marked(computed),
            constant=None if constant is None else _OwnConstant(constant),
            notes=(*found.notes, note) if percent else found.notes,
        )
    unknown = "" if found.failed is not None else "; which runs failed is unknown"
    if unnamed:
        note = (
            f"The scores have no name and differ from the {metric.name} of predictions and labels: their meaning "
            f"is unclear{unknown}. Name them (metric=...), or leave them out."
        )
    else:
        note = contradiction(found.metric, found.values, metric, computed, f"the former is shown{unknown}")
    return replace(found, notes=(*found.notes, note))
