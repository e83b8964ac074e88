"""The words that come first in a report: what happened, what luck did to the score, and what that allows to claim.

A difference between recipes is claimed only where its 95 % interval excludes equality and the interval holds, which it
does not where runs collapse. Everything else is reported as what it is: too few runs to tell.
"""

from __future__ import annotations

import math

import numpy as np

from steadytune.analysis.compare import Comparison, Row
from steadytune.analysis.failures import failed_runs, failure_clauses, failure_comparison
from steadytune.analysis.profile import Profile
from steadytune.analysis.wording import (
    capital,
    counted,
    percent,
    points,
    points_range,
    runs_noun,
    signed_points,
    spelled,
)
from steadytune.records import Cohort

# Below five runs the upper end of the SD's interval is more than five times its lower end.
_FEW_RUNS = 5
# Disagreement is worth a word of its own where it is notable and an order of magnitude above what the scores show.
_NOTABLE_DISAGREEMENT = 0.05
_HIDDEN = 10


def verdict(comparison: Comparison) -> dict[tuple[str, str], list[str]]:
    """Put a comparison into words.

    Args:
        comparison: Profiles of all cohorts.

    Returns:
        (model, task) -> sentences: one entry for the baseline, which comes first, one for every other recipe, and a
        caution where several recipes make a difference likely to be luck.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows():
        groups.setdefault((row.model, row.task), []).append(row)
    return {group: _group(rows) for group, rows in groups.items()}


def describe(profile: Profile) -> str:
    """Say in one sentence which runs went wrong, what the rest score, and how far they agree."""
    cohort = profile.cohort
    clauses = [*failure_clauses(cohort), *_score_clauses(profile), *_agreement_clauses(profile)]
    return f"{cohort.recipe or 'these runs'}: {'; '.join(clauses)}."


def _group(rows: list[Row]) -> list[str]:
    reference = next(row for row in rows if row.is_baseline)
    others = [row for row in rows if row is not reference]
    sentences = [describe(reference.profile)]
    claims = 0
    for row in others:
        words, claimed = _against(row, reference)
        sentences.append(f"{describe(row.profile)} {words}")
        claims += claimed
    if claims and len(others) > 1:
        sentences.append(
            f"{spelled(len(others)).capitalize()} recipes were compared with {reference.recipe}, each at 95 %: "
            "a single difference among them may still be luck."
        )
    return sentences


def _score_clauses(profile: Profile) -> list[str]:
    cohort, sd = profile.cohort, profile.last("sd").interval
    noun = runs_noun(cohort.seeds)
    runs = counted(len(cohort), noun)
    mean = points(profile.mean.value)
    if not len(cohort):
        return ["no run finished, so there is nothing to measure"]
    if len(cohort) == 1:
        return [f"{runs} with {cohort.metric} {mean}: instability needs at least two"]
    if sd.value == 0:
        every = f"both {noun}s" if len(cohort) == 2 else f"all {runs}"
        return [f"{every} score the same, {cohort.metric} {mean}"]
    clause = (
        f"{cohort.metric} {mean} on average, "
        f"score SD {points(sd.value)} points{points_range(sd)}{_without_failed(cohort)}"
    )
    if len(cohort) < _FEW_RUNS:
        clause += f", which {runs} leave uncertain by a factor of {sd.high / sd.low:.0f}"
    return [clause]


def _without_failed(cohort: Cohort) -> str:
    rest = cohort.scores[~failed_runs(cohort)]
    if len(rest) < 2 or len(rest) == len(cohort):
        return ""
    return f" ({points(float(rest.std(ddof=1)))} without the failed)"


def _agreement_clauses(profile: Profile) -> list[str]:
    disagreement = profile.last("disagreement").value
    if math.isnan(disagreement):
        return []
    sd, scores = profile.last("sd").value, profile.cohort.scores
    if disagreement == 0:
        return ["no two runs disagree on any example"]
    clause = f"on average two runs disagree on {percent(disagreement)} of the examples"
    if disagreement < max(_NOTABLE_DISAGREEMENT, _HIDDEN * sd):
        return [clause]
    return [f"{f'the scores agree within {points(float(np.ptp(scores)))} points, ' if sd else ''}yet {clause}"]


def _against(row: Row, reference: Row) -> tuple[str, int]:
    """Say how a recipe differs from the baseline, and how many differences that claims."""
    ours, theirs = row.profile.cohort, reference.profile.cohort
    if min(len(ours), len(theirs)) < 2:
        return f"Against {row.baseline}: too few finished runs to compare.", 0
    failures = failure_comparison(ours, theirs)
    holds = not (failed_runs(ours).any() or failed_runs(theirs).any())
    mean, spread = row.mean_difference.excludes(0) and holds, row.sd_ratio.excludes(1) and holds
    noun = runs_noun([*ours.seeds, *theirs.seeds])
    runs = counted(len(ours), noun)
    if len(ours) != len(theirs):
        runs = f"{spelled(len(ours))} and {spelled(len(theirs))} {noun}s"
    if not holds:
        conclusion = "; these intervals do not hold where runs fail, so nothing follows from them"
    elif mean and spread:
        conclusion = ""
    elif mean or spread:
        conclusion = f"; {runs} cannot tell the {'SDs' if mean else 'means'} apart"
    else:
        conclusion = f": {runs} cannot tell them apart"
    scores = f"{_mean_words(row, mean)}, {_spread_words(row, reference, spread)}{conclusion}."
    return f"Against {row.baseline}: {f'{failures}. {capital(scores)}' if failures else scores}", mean + spread


def _mean_words(row: Row, claimed: bool) -> str:
    difference = row.mean_difference
    if claimed:
        direction = "higher" if difference.value > 0 else "lower"
        return f"{row.metric} is {direction}, {signed_points(difference.value)} points{points_range(difference)}"
    return f"{row.metric} {signed_points(difference.value)} points{points_range(difference)}"


def _spread_words(row: Row, reference: Row, claimed: bool) -> str:
    ratio = row.sd_ratio
    if math.isnan(ratio.value):
        same = row if row.sd.value == 0 else reference
        return f"SD cannot be compared since all runs of {same.recipe} score the same"
    factor = f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
    if claimed:
        return f"SD is {'lower' if ratio.value < 1 else 'higher'}, {factor}"
    return f"SD {factor}"
