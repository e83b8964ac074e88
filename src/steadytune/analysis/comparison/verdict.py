"""The words that come first in a report: what happened, what luck did to the score, and what that allows to claim.

A difference between recipes is claimed only where its p-value, adjusted for the number of recipes, is below .05. Every
other is reported as what it is: too few runs to tell, and how many it would take.
"""

from __future__ import annotations

import math

import numpy as np

from steadytune.analysis.comparison.compare import Comparison, Row
from steadytune.analysis.comparison.significance import SIGNIFICANT
from steadytune.analysis.failures import failed_runs, failure_clauses, wrong_runs
from steadytune.analysis.profile import Profile
from steadytune.analysis.wording import (
    capital,
    chance,
    counted,
    in_points,
    listed,
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


def verdict(comparison: Comparison, detect: float = 0.01) -> dict[tuple[str, str], list[str]]:
    """Put a comparison into words.

    Args:
        comparison: Profiles of all cohorts.
        detect: Difference of mean scores for which the seeds needed are told, as a fraction.

    Returns:
        (model, task) -> sentences: one entry for the baseline, which comes first, one for every other recipe, and where
        there are several what that did to the p-values.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows():
        groups.setdefault((row.model, row.task), []).append(row)
    return {group: _group(rows, detect) for group, rows in groups.items()}


def describe(profile: Profile) -> str:
    """Say in one sentence which runs went wrong, what the rest score, and how far they agree."""
    cohort = profile.cohort
    clauses = [*failure_clauses(cohort), *_score_clauses(profile), *_agreement_clauses(profile)]
    return f"{cohort.recipe or 'these runs'}: {'; '.join(clauses)}."


def _group(rows: list[Row], detect: float) -> list[str]:
    reference = next(row for row in rows if row.is_baseline)
    others = [row for row in rows if row is not reference]
    sentences = [describe(reference.profile)]
    sentences += [f"{describe(row.profile)} {_against(row, detect)}" for row in others]
    if len(others) > 1:
        sentences.append(
            f"{spelled(len(others)).capitalize()} recipes were compared with {reference.recipe}: p-values are adjusted "
            "for that, each measure on its own (Holm)."
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
    if not cohort.scored:
        return ["the score is unknown"]
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
    if not profile.cohort.scored or disagreement < max(_NOTABLE_DISAGREEMENT, _HIDDEN * sd):
        return [clause]
    return [f"{f'the scores agree within {points(float(np.ptp(scores)))} points, ' if sd else ''}yet {clause}"]


def _against(row: Row, detect: float) -> str:
    """Say how a recipe differs from the baseline, and how many seeds would be needed to say more."""
    ours, theirs = row.profile.cohort, row.reference.cohort
    failures = _failure_words(row)
    start = f"Against {row.baseline}: {f'{failures}. ' if failures else ''}"
    if min(len(ours), len(theirs)) < 2:
        return f"{start}{'Too' if failures else 'too'} few finished runs to compare."
    if not (ours.scored and theirs.scored):
        return f"{start}{'Without' if failures else 'without'} scores there are none to compare."
    scores = f"{_mean_words(row)}, {_spread_words(row)}{_agreement_words(row)}{_conclusion(row, detect)}"
    return f"{start}{capital(scores) if failures else scores}"


def claimed(row: Row, measure: str) -> bool:
    """Tell whether a difference is claimed: its adjusted p-value is below .05."""
    return row.differences[measure].p_adjusted < SIGNIFICANT


def _impossible(row: Row, measure: str) -> bool:
    """Tell whether so few runs could not have shown any difference, whatever their scores."""
    return row.differences[measure].significance.smallest * row.comparisons >= SIGNIFICANT


def _failure_words(row: Row) -> str:
    cohort = row.profile.cohort
    wrong, total = wrong_runs(cohort)
    wrong_baseline, total_baseline = wrong_runs(row.reference.cohort)
    if not wrong + wrong_baseline:
        return ""
    noun = runs_noun(cohort.seeds)
    against = f"{wrong} of {total} {noun}s went wrong, against {wrong_baseline} of {total_baseline}"
    found = row.differences["failed"]
    test = f" (Fisher's exact test, {chance(found.p_adjusted)})" if found.p_adjusted == found.p_adjusted else ""
    if claimed(row, "failed"):
        return f"{against}: that is {'fewer' if found.interval.value < 0 else 'more'}{test}"
    luck = f"which so few {noun}s cannot tell from luck" if _impossible(row, "failed") else "which may be luck"
    return f"{against}, {luck}{test}"


def _mean_words(row: Row) -> str:
    words = _points_words(row, "mean")
    if not claimed(row, "mean"):
        return f"{row.metric} {words}"
    return f"{row.metric} is {'higher' if row.mean_difference.value > 0 else 'lower'}, {words}"


def _agreement_words(row: Row) -> str:
    if not claimed(row, "disagreement"):
        return ""
    fewer = row.differences["disagreement"].interval.value < 0
    words = _points_words(row, "disagreement")
    return f", and two runs disagree on {'fewer' if fewer else 'more'} examples, {words}"


def _points_words(row: Row, measure: str) -> str:
    interval = row.differences[measure].interval
    return f"{signed_points(interval.value)} points{points_range(interval)}{_test_words(row, measure, 0)}"


def _spread_words(row: Row) -> str:
    ratio = row.sd_ratio
    if math.isnan(ratio.value):
        same = row.profile if row.sd.value == 0 else row.reference
        return f"SD cannot be compared since all runs of {same.cohort.recipe} score the same"
    ends = f" [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low == ratio.low else ""
    words = f"{ratio.value:.2f}x{ends}{_test_words(row, 'sd_ratio', 1)}"
    return f"SD is {'lower' if ratio.value < 1 else 'higher'}, {words}" if claimed(row, "sd_ratio") else f"SD {words}"


def _test_words(row: Row, measure: str, equal: int) -> str:
    found = row.differences[measure]
    if not (p := chance(found.p_adjusted)):
        return ""
    # The tests take the examples as they are, and the intervals do not.
    doubt = claimed(row, measure) and found.interval.low <= equal <= found.interval.high
    return f" ({p}{f', but the interval holds {equal}' if doubt else ''})"


def _conclusion(row: Row, detect: float) -> str:
    """Say what the runs cannot tell apart, and how many could."""
    cohorts = row.profile.cohort, row.reference.cohort
    sizes = list(dict.fromkeys(map(len, cohorts)))
    noun = runs_noun([seed for cohort in cohorts for seed in cohort.seeds])
    runs = counted(sizes[0], noun) if len(sizes) == 1 else f"{listed([spelled(size) for size in sizes])} {noun}s"
    compared = {"mean": "means"} | ({} if math.isnan(row.sd_ratio.value) else {"sd_ratio": "SDs"})
    open_ = [measure for measure in compared if not claimed(row, measure)]
    if not open_:
        return "."
    needed = {}
    if "mean" in open_ and max(row.sd.value, row.reference.last("sd").value) > 0:
        needed[f"a difference of {in_points(detect)}"] = row.seeds_to_detect(detect)
    if "sd_ratio" in open_:
        needed["an SD ratio of 2"] = row.seeds_to_detect_ratio(2)
    out_of_reach = {what: seeds for what, seeds in needed.items() if seeds > min(sizes)}
    verb = "are too few to" if out_of_reach else "do not"
    everything = open_ == list(compared) and len(open_) == 2 and not _agreement_words(row)
    what = "them" if everything else f"the {listed([compared[measure] for measure in open_])}"
    words = f"{':' if everything else ';'} {runs} {verb} tell {what} apart."
    if impossible := [compared[measure] for measure in open_ if _impossible(row, measure)]:
        words += f" With {runs} no difference of {listed(impossible)} could be significant."
    if out_of_reach:
        takes = [f"{what} about {seeds} {noun}s a recipe" for what, seeds in out_of_reach.items()]
        words += f" To see {listed(takes)} would be needed."
    if seen := [what for what in needed if what not in out_of_reach]:
        words += f" {capital(listed(seen))} would most likely have shown."
    return words
