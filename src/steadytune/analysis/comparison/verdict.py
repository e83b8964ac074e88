"""The verdict that opens a report: what happened, how much the score varies, and what can be claimed.

A difference between recipes is claimed only if its p-value, adjusted for all tests of the paragraph, is below .05,
which is when its interval, adjusted likewise, excludes equality. Any other is reported as inconclusive, with the number
of runs that it would take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from steadytune.analysis.comparison.compare import Comparison, Row
from steadytune.analysis.comparison.same_seed import describe_same_seed
from steadytune.analysis.comparison.significance import FEWEST_FOR_SPREAD
from steadytune.analysis.failures import failed_runs, failure_clauses, wrong_runs
from steadytune.analysis.grouping import one_group, size_words
from steadytune.analysis.intervals import FEWEST, SIGNIFICANT
from steadytune.analysis.learned import describe_learned
from steadytune.analysis.profile import Profile
from steadytune.analysis.sentences import (
    capital,
    chance,
    counted,
    listed,
    percent,
    runs_noun,
    score_range,
    score_step,
    score_unit,
    scored,
    signed_score,
    spelled,
    times,
)
from steadytune.analysis.suspicion import describe_copied_between
from steadytune.kinds import KINDS
from steadytune.metrics import Scale
from steadytune.records import Cohort

# With fewer than five runs the upper end of the SD's interval is more than five times its lower end.
_FEW_RUNS = 5
# Fewest runs per recipe for a test.
_FEWEST = {"mean": FEWEST, "sd_ratio": FEWEST_FOR_SPREAD}
# Disagreement is stressed if it is notable and an order of magnitude above the spread of the scores.
_NOTABLE_DISAGREEMENT = 0.05
_HIDDEN = 10
# Predictions of a regression have the unit of the target, whatever the unit of the score.
_TARGET = Scale("prediction_rmse")


class Statement(str):
    """A sentence about a recipe, "standard: ...", or about the whole comparison.

    Attributes:
        about: The recipe, or "".
        words: The sentence without that prefix.
    """

    about: str
    words: str

    def __new__(cls, words: str, about: str = "") -> Statement:
        """Join the two."""
        made = super().__new__(cls, f"{about}: {words}" if about else words)
        made.about, made.words = about, words
        return made


def verdict(comparison: Comparison, detect: float | None = None) -> dict[tuple[str, str], list[Statement]]:
    """Describe a comparison in sentences.

    Args:
        comparison: Profiles of all cohorts.
        detect: Difference of mean scores to plan seeds for, see `Row.step`.

    Returns:
        (model, task) -> sentences: one for the baseline, which comes first, one for every other recipe, and with
        several tests one about the adjustment of the p-values.
    """
    return {group: _group(rows, detect) for group, rows in comparison.groups().items()}


def describe(profile: Profile) -> Statement:
    """Describe in one sentence which runs failed, what the rest score, and how far they agree."""
    cohort = profile.cohort
    learned = filter(None, [describe_learned(cohort)])
    clauses = [*failure_clauses(cohort), *learned, *_score_clauses(profile), *_agreement_clauses(profile)]
    return Statement(f"{'; '.join(clauses)}.", cohort.recipe or "these runs")


def must_know(row: Row) -> list[str]:
    """Return warnings for readers of a recipe's numbers: that it, or its training, did almost nothing."""
    copied = describe_copied_between(row.profile.cohort, row.reference.cohort, row.shared_copies)
    return list(filter(None, (copied, describe_same_seed(row.same_seed), describe_learned(row.profile.cohort))))


def first_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes that precede all numbers: how files were read, duplicates, permuted labels; by recipe."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        for note in row.profile.first_notes:
            notes.setdefault(note, []).append(row.recipe)
    said = [note if len(of) == len(rows) else f"{', '.join(of)}: {note}" for note, of in notes.items()]
    between = (describe_copied_between(row.profile.cohort, row.reference.cohort, row.shared_copies) for row in rows)
    return said + [f"{capital(words)}." for words in between if words]


def _group(rows: list[Row], detect: float | None) -> list[Statement]:
    reference = next(row for row in rows if row.is_baseline)
    others = [row for row in rows if row is not reference]
    sentences = [describe(reference.profile)]
    for row in others:
        alone = describe(row.profile)
        sentences.append(Statement(f"{alone.words} {_against(row, detect)}", alone.about))
    if reference.comparisons > 1:
        words = (
            f"p-values and intervals of differences are adjusted for the {spelled(reference.comparisons)} tests made "
            "here (Holm): the probability of any false claim is at most about 5 %."
        )
        sentences.append(Statement(words))
    return sentences


def _score_clauses(profile: Profile) -> list[str]:
    cohort, sd = profile.cohort, profile.last("sd").interval
    noun = runs_noun(cohort.seeds)
    runs = counted(len(cohort), noun)
    mean = scored(profile.mean.value, cohort.scale)
    if not len(cohort):
        return ["no run finished: nothing to measure"]
    if len(cohort) == 1:
        return [f"{runs} with {cohort.metric_name} {mean}: measuring instability needs at least two"]
    if not cohort.scored:
        return ["the score is unknown"]
    if sd.value == 0:
        every = f"both {noun}s" if len(cohort) == 2 else f"all {runs}"
        return [f"{every} have the same score, {cohort.metric_name} {mean}"]
    clause = (
        f"mean {cohort.metric_name} {mean}, SD {scored(sd.value, cohort.scale)}"
        f"{score_unit(cohort.scale)}{score_range(sd, cohort.scale)}{_without_failed(cohort)}"
    )
    if len(cohort) < _FEW_RUNS and sd.high == sd.high:
        clause += f", uncertain by a factor of {sd.high / sd.low:.0f} with {runs}"
    return [clause]


def _without_failed(cohort: Cohort) -> str:
    rest = cohort.scores[~failed_runs(cohort)]
    if len(rest) < 2 or len(rest) == len(cohort):
        return ""
    return f" ({scored(float(rest.std(ddof=1)), cohort.scale)} without failed runs)"


def _agreement_clauses(profile: Profile) -> list[str]:
    if KINDS[profile.cohort.kind].has_numbers:
        return _distance_clauses(profile)
    disagreement = profile.last("disagreement").value
    if math.isnan(disagreement):
        return []
    sd, scores = profile.last("sd").value, profile.cohort.scores
    if disagreement == 0:
        return [f"no two runs disagree on any {KINDS[profile.cohort.kind].item}"]
    clause = f"on average two runs disagree on {percent(disagreement)} of the {KINDS[profile.cohort.kind].item}s"
    scale = profile.cohort.scale
    # Only shares of examples can be compared with each other.
    if not profile.cohort.scored or not scale.unit or disagreement < max(_NOTABLE_DISAGREEMENT, _HIDDEN * sd):
        return [clause]
    within = f"the scores agree within {scored(float(np.ptp(scores)), scale)}{score_unit(scale)}, " if sd else ""
    return [f"{within}yet {clause}"]


def _distance_clauses(profile: Profile) -> list[str]:
    """Describe how far apart the predictions of two regression runs are, relative to the labels."""
    rmse, labels = profile.last("prediction_rmse").value, profile.cohort.labels
    if math.isnan(rmse):
        return []
    if rmse == 0:
        return ["no two runs differ in any prediction"]
    clause = f"on average the predictions of two runs differ by {scored(rmse, _TARGET)} (RMSE)"
    spread = float(np.std(labels, ddof=1)) if labels is not None and len(labels) > 1 else 0.0
    return [f"{clause}, {percent(rmse / spread)} of the labels' SD" if spread else clause]


def _against(row: Row, detect: float | None) -> str:
    """Describe how a recipe differs from the baseline, and how many more seeds would be needed."""
    ours, theirs = row.profile.cohort, row.reference.cohort
    # First whether the recipe did anything at all: "higher" must not be read without that.
    first = [capital(words) if place else words for place, words in enumerate(_first_words(row))]
    start = f"Against {row.baseline}: {''.join(f'{words}. ' for words in first)}"
    if min(len(ours), len(theirs)) < 2:
        return f"{start}{'Too' if first else 'too'} few finished runs to compare."
    if not (ours.scored and theirs.scored):
        return f"{start}{'No' if first else 'no'} scores to compare."
    scores = f"{_mean_words(row)}, {_spread_words(row)}{_agreement_words(row)}{_conclusion(row, detect)}"
    return f"{start}{capital(scores) if first else scores}"


def _first_words(row: Row) -> list[str]:
    copied = describe_copied_between(row.profile.cohort, row.reference.cohort, row.shared_copies)
    return list(filter(None, (copied, describe_same_seed(row.same_seed), _failure_words(row))))


def claimed(row: Row, measure: str) -> bool:
    """Return whether a difference exists and is claimed: its adjusted p-value is below .05."""
    return measure in row.differences and row.differences[measure].p_adjusted < SIGNIFICANT


def _impossible(row: Row) -> bool:
    """Return whether there are too few runs to show any difference of failures, however many failed."""
    return row.differences["failed"].significance.smallest * max(1, row.comparisons) >= SIGNIFICANT


def _failure_words(row: Row) -> str:
    cohort = row.profile.cohort
    wrong, total = wrong_runs(cohort)
    wrong_baseline, total_baseline = wrong_runs(row.reference.cohort)
    if not wrong + wrong_baseline:
        return ""
    noun = runs_noun(cohort.seeds)
    against = f"{wrong} of {total} {noun}s failed, against {wrong_baseline} of {total_baseline}"
    found = row.differences["failed"]
    test = f" (Fisher's exact test, {chance(found.p_adjusted)})" if found.p_adjusted == found.p_adjusted else ""
    if claimed(row, "failed"):
        return f"{against}: that is {'fewer' if found.interval.value < 0 else 'more'}{test}"
    if row.copied:
        return f"{against}, which is not tested"
    luck = f"which may be chance with so few {noun}s" if _impossible(row) else "which may be chance"
    return f"{against}, {luck}{test}"


def _mean_words(row: Row) -> str:
    words, scale = _points_words(row, "mean", row.scale), row.scale
    if not claimed(row, "mean"):
        return f"{row.metric} {words}"
    higher = row.mean_difference.value > 0
    # It goes without saying that a higher accuracy is better.
    better = "" if scale.higher_is_better is not False else " (worse)" if higher else " (better)"
    return f"{row.metric} is {'higher' if higher else 'lower'}{better}, {words}"


def _agreement_words(row: Row) -> str:
    if claimed(row, "prediction_rmse"):
        less = row.differences["prediction_rmse"].interval.value < 0
        words = _points_words(row, "prediction_rmse", _TARGET)
        return f", and the predictions of two runs differ by {'less' if less else 'more'}, RMSE {words}"
    if not claimed(row, "disagreement"):
        return ""
    fewer, item = row.differences["disagreement"].interval.value < 0, KINDS[row.profile.cohort.kind].item
    words = _points_words(row, "disagreement", Scale("disagreement", "points"))
    return f", and two runs disagree on {'fewer' if fewer else 'more'} {item}s, {words}"


def _points_words(row: Row, measure: str, scale: Scale) -> str:
    found = row.differences[measure]
    amount = f"{signed_score(found.interval.value, scale)}{score_unit(scale)}{score_range(found.adjusted, scale)}"
    return f"{amount}{_test_words(row, measure)}"


def _spread_words(row: Row) -> str:
    ratio = row.sd_ratio
    adjusted = row.differences["sd_ratio"].adjusted
    if math.isnan(ratio.value):
        same = row.profile if row.sd.value == 0 else row.reference
        return f"SDs cannot be compared since all runs of {same.cohort.recipe} have the same score"
    ends = f" [{times(adjusted.low)}, {times(adjusted.high)}]" if adjusted.low == adjusted.low else ""
    words = f"{ratio.value:.2f}x{ends}{_test_words(row, 'sd_ratio')}"
    return f"SD is {'lower' if ratio.value < 1 else 'higher'}, {words}" if claimed(row, "sd_ratio") else f"SD {words}"


def _test_words(row: Row, measure: str) -> str:
    p = chance(row.differences[measure].p_adjusted)
    return f" ({p})" if p else ""


def _conclusion(row: Row, detect: float | None) -> str:
    """Describe which differences remain inconclusive, and how many runs would settle them."""
    if row.copied:
        return ": duplicate runs are not a sample, so nothing is tested."
    cohorts = row.profile.cohort, row.reference.cohort
    sizes = list(dict.fromkeys(map(len, cohorts)))
    noun = runs_noun([seed for cohort in cohorts for seed in cohort.seeds])
    runs = counted(sizes[0], noun) if len(sizes) == 1 else f"{listed([spelled(size) for size in sizes])} {noun}s"
    compared = {"mean": "means"} | ({} if math.isnan(row.sd_ratio.value) else {"sd_ratio": "SDs"})
    open_ = [measure for measure in compared if not claimed(row, measure)]
    if not open_:
        return "."
    needed: dict[str, int] = {}
    hidden = ""
    if "mean" in open_ and row.differences["mean"].estimate is not None:
        step = row.step(detect)
        asked, seeds = f"a difference of {score_step(step, row.scale)}", row.seeds_to_detect(step)
        if seeds is None:
            hidden = asked
        else:
            needed[asked] = seeds
    too_few = [measure for measure in open_ if min(sizes) < _FEWEST[measure]]
    untested = [measure for measure in open_ if row.differences[measure].estimate is None and measure not in too_few]
    if "sd_ratio" in open_ and "sd_ratio" not in untested:
        needed["an SD ratio of 2"] = row.seeds_to_detect_ratio(2)
    out_of_reach = {what: seeds for what, seeds in needed.items() if seeds > min(sizes)}
    verb = "are too few to" if out_of_reach or min(sizes) < FEWEST else "do not"
    everything = open_ == list(compared) and len(open_) == 2 and not _agreement_words(row)
    what = "the two" if everything else f"the {listed([compared[measure] for measure in open_])}"
    words = f"{':' if everything else ';'} {runs} {verb} distinguish {what}."
    if too_few:
        said = listed([compared[measure] for measure in too_few])
        words += f" With {runs}, no difference of {said} could be significant."
    if untested:
        words += f" {_untested_words(row, [compared[measure] for measure in untested])}"
    if out_of_reach:
        takes = [f"about {seeds} {noun}s per recipe to detect {what}" for what, seeds in out_of_reach.items()]
        tests = f", adjusted for {spelled(row.planned)} tests" if row.planned > 1 else ""
        words += f" It would take {listed(takes)}{tests}."
    if hidden:
        words += (
            f" No number of {noun}s would show {hidden} on {size_words(row.profile.cohort)}: their sampling error "
            "hides it."
        )
    if seen := [what for what in needed if what not in out_of_reach]:
        words += f" {capital(listed(seen))} would most likely have been detected."
    return words


def _untested_words(row: Row, compared: list[str]) -> str:
    """Explain why means or SDs are not tested although there are enough runs."""
    what = f"the {listed(compared)} cannot be tested"
    if row.same_seed is not None and row.same_seed.identical:
        return capital(f"{what}: the runs are identical, seed by seed.")
    if one_group(row.profile.cohort):
        return capital(f"{what}: all examples are one group.")
    return capital(f"{what}: the values vary too little to estimate an error.")
