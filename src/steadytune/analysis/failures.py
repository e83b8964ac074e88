"""Failed runs: which, how and how many."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.distributions import beta_quantile
from steadytune.analysis.intervals import LEVEL
from steadytune.analysis.sentences import named_runs, percent, runs_noun, scored
from steadytune.analysis.suspicion import copies
from steadytune.kinds import KINDS
from steadytune.records import Cohort

# A collapsed run gives the same answer to all examples, or to all but a handful.
_ONE_ANSWER = 0.98
# Twenty runs without a failure are compatible with a failure rate of up to 14 %.
_MANY_RUNS = 20


def failure_clauses(cohort: Cohort) -> list[str]:
    """Describe the runs that diverged, crashed, collapsed or learned nothing, and why; empty if there are none."""
    every = [*cohort.seeds, *(lost.seed for lost in cohort.lost)]
    clauses = []
    for status, reason in dict.fromkeys((lost.status, lost.reason) for lost in cohort.lost):
        seeds = [lost.seed for lost in cohort.lost if (lost.status, lost.reason) == (status, reason)]
        verb = "diverged" if status == "diverged" else "crashed"
        why = f"their {reason[4:]}" if len(seeds) > 1 and reason.startswith("its ") else reason
        clauses.append(f"{named_runs(seeds, every)} {verb}{f' ({why})' if why else ''}")
    failed = failed_runs(cohort)
    answer, share = _favourite_answers(cohort)
    # A constant answer is reported even if it is unknown which runs failed.
    collapsed = (share >= _ONE_ANSWER) & (failed | (cohort.failed is None))
    majority, sets = _majority_class(cohort), KINDS[cohort.kind].has_sets
    for chosen, what in (
        (collapsed & (answer == majority), f"collapsed to the {'most frequent set' if sets else 'majority class'}"),
        (collapsed & (answer != majority) & (answer >= 0), f"collapsed to one {'set' if sets else 'class'}"),
        (collapsed & (answer < 0), "collapsed to one answer"),
    ):
        if chosen.any():
            clauses.append(f"{_named(cohort, chosen)} {what} ({_scores(cohort, chosen)})")
    if (rest := failed & ~collapsed).any():
        verb = "scores" if np.count_nonzero(rest) == 1 else "score"
        clauses.append(f"{_named(cohort, rest)} {verb} no better than a constant answer ({_scores(cohort, rest)})")
    return clauses


def failure_limit(cohort: Cohort) -> float:
    """Return the upper end of the exact one-sided 95 % interval of the failure rate (Clopper-Pearson).

    Without a failure in K runs it is 1 - .05^(1/K). NaN without runs, or if it is unknown which failed.
    """
    wrong, total = wrong_runs(cohort)
    if not total or (cohort.failed is None and not wrong):
        return math.nan
    return beta_quantile(LEVEL, wrong + 1, total - wrong) if wrong < total else 1.0


def failure_words(cohort: Cohort) -> str:
    """Return how many runs may fail, given how many did; "" for more than 20 runs or fewer than two.

    If no run failed, no interval can account for failures. Duplicate runs are not a sample, and give "".
    """
    wrong, total = wrong_runs(cohort)
    if not 1 < total <= _MANY_RUNS or copies(cohort):
        return ""
    noun = runs_noun(cohort.seeds)
    limit = failure_limit(cohort)
    if math.isnan(limit):
        limit = 1 - (1 - LEVEL) ** (1 / total)
        return (
            f"which runs failed is unknown: if none of {total} {noun}s did, up to {percent(limit)} of runs may fail "
            "(95 %)"
        )
    seen = f"{wrong} failure{'' if wrong == 1 else 's'}" if wrong else "no failure"
    return f"{seen} in {total} {noun}s: up to {percent(limit)} of runs may fail (95 %)"


def failed_runs(cohort: Cohort) -> NDArray[np.bool_]:
    """Return (K,) whether each finished run is known to score no better than a constant answer."""
    return np.zeros(len(cohort), dtype=bool) if cohort.failed is None else cohort.failed


def wrong_runs(cohort: Cohort) -> tuple[int, int]:
    """Return the number of failed runs, and the number of runs that count.

    A run fails if it diverges or scores no better than the majority class. A run that crashed for another reason,
    such as a lack of memory, does not count at all.
    """
    diverged = sum(lost.status == "diverged" for lost in cohort.lost)
    return int(np.count_nonzero(failed_runs(cohort))) + diverged, len(cohort) + diverged


def _named(cohort: Cohort, chosen: NDArray[np.bool_]) -> str:
    return named_runs([seed for seed, meant in zip(cohort.seeds, chosen, strict=True) if meant], cohort.seeds)


def _scores(cohort: Cohort, chosen: NDArray[np.bool_]) -> str:
    if not np.isfinite(cohort.scores[chosen]).all():
        return "score unknown"
    ends = [scored(cohort.scores[chosen].min(), cohort.scale), scored(cohort.scores[chosen].max(), cohort.scale)]
    return " to ".join(dict.fromkeys(ends))


def _favourite_answers(cohort: Cohort) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each run's most frequent prediction (-1 without classes) and the share of examples that get it."""
    if cohort.predictions is None:
        return np.full(len(cohort), -1), _constant_shares(cohort)
    # Sets of labels have numbers too large to count up to.
    answers, places = np.unique(cohort.predictions, return_inverse=True)
    places = places.reshape(cohort.predictions.shape)
    counts = np.stack([np.bincount(run, minlength=len(answers)) for run in places])
    shares: NDArray[np.float64] = counts.max(axis=1) / counts.sum(axis=1)
    return answers[counts.argmax(axis=1)], shares


def _constant_shares(cohort: Cohort) -> NDArray[np.float64]:
    """Return 1 for regression runs whose outputs hardly vary; for texts, the share of the most frequent one."""
    if KINDS[cohort.kind].has_numbers and cohort.logits is not None and cohort.logits.shape[1] > 1:
        spreads = cohort.logits[..., 0].astype(np.float64).std(axis=1)
        reference = float(spreads.max() if cohort.labels is None else np.std(cohort.labels))
        limit = max((1 - _ONE_ANSWER) * reference, 1e-6 * float(np.abs(cohort.logits).max()))
        return np.asarray(spreads <= limit, dtype=np.float64)
    if cohort.generations is not None and len(cohort.generations[0]) > 1:
        counts = [Counter(text.strip() for text in run) for run in cohort.generations]
        return np.array([run.most_common(1)[0][1] / run.total() for run in counts], dtype=np.float64)
    return np.zeros(len(cohort))


def _majority_class(cohort: Cohort) -> int | None:
    if cohort.predictions is None or cohort.labels is None:
        return None
    classes, counts = np.unique(KINDS[cohort.kind].coded(cohort.labels), return_counts=True)
    return int(classes[counts.argmax()])
