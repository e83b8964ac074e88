"""Runs that went wrong: which, how and how many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.wording import named_runs, points
from steadytune.records import Cohort

# A collapsed run gives one answer, or one but for a handful of examples.
_ONE_ANSWER = 0.98


def failure_clauses(cohort: Cohort) -> list[str]:
    """Say which runs diverged, crashed, collapsed or learned nothing, and why; nothing for a cohort without such."""
    every = [*cohort.seeds, *(lost.seed for lost in cohort.lost)]
    clauses = []
    for status, reason in dict.fromkeys((lost.status, lost.reason) for lost in cohort.lost):
        seeds = [lost.seed for lost in cohort.lost if (lost.status, lost.reason) == (status, reason)]
        verb = "diverged" if status == "diverged" else "crashed"
        clauses.append(f"{named_runs(seeds, every)} {verb}{f' ({reason})' if reason else ''}")
    failed = failed_runs(cohort)
    answer, share = _favourite_answers(cohort)
    collapsed = failed & (share >= _ONE_ANSWER)
    majority = _majority_class(cohort)
    for chosen, what in (
        (collapsed & (answer == majority), "collapsed to the majority class"),
        (collapsed & (answer != majority), "collapsed to one class"),
    ):
        if chosen.any():
            clauses.append(f"{_named(cohort, chosen)} {what} ({_scores(cohort, chosen)})")
    if (rest := failed & ~collapsed).any():
        verb = "scores" if np.count_nonzero(rest) == 1 else "score"
        clauses.append(
            f"{_named(cohort, rest)} {verb} no better than always giving one answer ({_scores(cohort, rest)})"
        )
    return clauses


def failed_runs(cohort: Cohort) -> NDArray[np.bool_]:
    """Return (K,) which finished runs are at or below the majority class."""
    return np.zeros(len(cohort), dtype=bool) if cohort.failed is None else cohort.failed


def wrong_runs(cohort: Cohort) -> tuple[int, int]:
    """Count the runs that went wrong, and those among which they are counted.

    A run goes wrong if it diverges or scores no better than the majority class. One that crashed for another reason,
    such as a lack of memory, counts neither way.
    """
    diverged = sum(lost.status == "diverged" for lost in cohort.lost)
    return int(np.count_nonzero(failed_runs(cohort))) + diverged, len(cohort) + diverged


def _named(cohort: Cohort, chosen: NDArray[np.bool_]) -> str:
    return named_runs([seed for seed, meant in zip(cohort.seeds, chosen, strict=True) if meant], cohort.seeds)


def _scores(cohort: Cohort, chosen: NDArray[np.bool_]) -> str:
    ends = [points(cohort.scores[chosen].min()), points(cohort.scores[chosen].max())]
    return " to ".join(dict.fromkeys(ends))


def _favourite_answers(cohort: Cohort) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each run's most frequent prediction and its share; no answer has a share where there are no classes."""
    if cohort.predictions is None:
        return np.full(len(cohort), -1), np.zeros(len(cohort))
    counts = np.stack([np.bincount(run, minlength=int(cohort.predictions.max()) + 1) for run in cohort.predictions])
    shares: NDArray[np.float64] = counts.max(axis=1) / counts.sum(axis=1)
    return counts.argmax(axis=1), shares


def _majority_class(cohort: Cohort) -> int | None:
    if cohort.labels is None or cohort.kind == "regression":
        return None
    return int(np.bincount(cohort.labels.astype(np.int64)).argmax())
