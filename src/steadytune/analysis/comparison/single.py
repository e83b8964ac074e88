"""Compare two single runs example by example: which is better on this evaluation set, and where they differ.

This concerns two trained models. It says nothing about the two recipes: another seed may reverse the difference.

**Right or wrong** (accuracy, exact match; independent examples). Of the n examples that exactly one of the two answers
right, the second answers b right. McNemar's exact test asks whether b is Binomial(n, 1/2). The interval uses the same
distribution, so that the two agree: Clopper & Pearson's for the share b/n, Wilson's for the share n/N, and for their
product (2 b/n - 1) n/N the ends

    d -+ sqrt((p (q - q_end))^2 + (q_end (p - p_end))^2),    q = 2 b/n - 1, p = n/N,

which exclude 0 exactly if the test rejects.

**Any other metric, or examples in groups.** The examples, or groups, are resampled jointly for both runs, and the
difference with its bootstrap error is tested by Student's t with one degree of freedom less than there are examples or
groups; the p-value is the level at which the interval reaches 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.bootstrap import RESAMPLES, example_weights
from steadytune.analysis.distributions import beta_quantile, student_quantile, student_tail
from steadytune.analysis.grouping import count_groups, example_groups, one_group, size_words
from steadytune.analysis.intervals import LEVEL, SIGNIFICANT, Interval
from steadytune.analysis.scores import count_examples, unscored_words, weighted_scores
from steadytune.analysis.sentences import chance, counted, percent, score_range, score_unit, scored, signed_score
from steadytune.analysis.suspicion import fingerprints, same_outputs
from steadytune.errors import UserError, check_path, door
from steadytune.external.sides import read_sides
from steadytune.kinds import KINDS
from steadytune.records import Cohort

_SHARES = ("accuracy", "exact_match")
_CHUNK = 100


@dataclass(frozen=True, eq=False)
class RunComparison:
    """The differences between two runs.

    Attributes:
        one: The first run, a cohort of one.
        other: The second.
        difference: Score of the second minus that of the first, with its 95 % interval; NaN if unknown.
        p: Two-sided p-value of the null hypothesis of no difference; NaN if unknown.
        test: Its name.
        mended: How many examples the first answers wrong and the second right; None if unknown.
        spoiled: How many the first answers right and the second wrong.
        changed: (N,) whether each example is answered differently; None for numeric or unknown outputs.
        moved: Root mean square difference of the outputs of a regression; NaN for other kinds.
        identical: Whether both gave bit-identical outputs or, if only classes are known, the same errors throughout.
    """

    one: Cohort
    other: Cohort
    difference: Interval
    p: float
    test: str
    mended: int | None
    spoiled: int | None
    changed: NDArray[np.bool_] | None
    moved: float
    identical: bool

    @property
    def sentences(self) -> list[str]:
        """The comparison in sentences, the difference first and the warning last."""
        return [*filter(None, (self._score_words(), self._example_words())), self._warning()]

    @property
    def significant(self) -> bool:
        """Whether the difference is significant: p is below .05, and the interval excludes 0."""
        return self.p < SIGNIFICANT

    def _score_words(self) -> str:
        one, other, scale = self.one, self.other, self.one.scale
        names = one.recipe, other.recipe
        if not (one.scored and other.scored):
            return f"{unscored_words(one)}."
        values = (scored(float(cohort.scores[0]), scale) for cohort in (one, other))
        where = " on ".join(["", size_words(one)]) if count_examples(one) > 1 else ""
        said = f"{one.metric_name}{where}: {' and '.join(f'{n} {v}' for n, v in zip(names, values, strict=True))}"
        unit = score_unit(scale)
        amount = f"{signed_score(self.difference.value, scale)}{unit}{score_range(self.difference, scale)}"
        if math.isnan(self.p):
            return (
                f"{said}, a difference of {amount}. It is unknown whether that is more than chance: {self._unknown()}."
            )
        found = f"{self.test}, {chance(self.p)}"
        if not self.significant:
            return f"{said}. The difference of {amount} may be due to the choice of examples ({found})."
        which = "higher" if self.difference.value > 0 else "lower"
        better = scale.better(float(other.scores[0]), float(one.scores[0]))
        judged = "" if better is None else f" and {'better' if better else 'worse'}"
        return f"{said}. {other.recipe} is {which}{judged} on such examples: {amount} ({found})."

    def _unknown(self) -> str:
        if one_group(self.one):
            return "all examples are one group"
        if count_examples(self.one) < 2:
            return "the answers to individual examples are missing"
        return f"the {self.one.metric_name} cannot be computed from the answers in the files"

    def _example_words(self) -> str:
        if self.identical:
            exactly = same_outputs(self.one, 0, self.other, 0)
            what = "outputs to the last bit" if exactly else "answers to all examples, right and wrong"
            return (
                f"{self.one.recipe} and {self.other.recipe} gave the same {what}: this may be one run under two names."
            )
        if not math.isnan(self.moved):
            return f"The outputs differ by {self.moved:.3g} (root mean square)."
        if self.changed is None:
            return ""
        total = len(self.changed)
        differ = int(np.count_nonzero(self.changed))
        words = f"They answer {differ} of {total} examples differently ({percent(differ / total)})"
        if self.mended is None or self.spoiled is None:
            return f"{words}."
        both = differ - self.mended - self.spoiled
        return (
            f"{words}: {self.mended} go from wrong to right, {self.spoiled} from right to wrong"
            f"{f', {both} from wrong to wrong' if both else ''}."
        )

    def _warning(self) -> str:
        return (
            "This compares two trained models. One run each says nothing about the recipes: another seed may reverse "
            f"the difference. To compare recipes, train {counted(5, 'seed')} or more of each and compare the two "
            "folders."
        )


@door
def compare_runs(
    one: Cohort | str | Path,
    other: Cohort | str | Path,
    *,
    metric: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RunComparison:
    """Compare two single runs on the same examples, paired example by example.

    Args:
        one: A run: a cohort of one, or its file.
        other: Another, of the same kind.
        metric: Metric for runs in files, as in `read_runs`.
        resamples: Of the bootstrap.
        seed: Seed of the draws.

    Raises:
        UserError: One of the two is not a single run, or they have different examples or metrics.
    """
    if not isinstance(one, Cohort) or not isinstance(other, Cohort):
        if isinstance(one, Cohort) or isinstance(other, Cohort):
            raise UserError("cannot compare a path with a cohort: give two paths, or two cohorts of one run each")
        check_path(one, "a run to compare")
        check_path(other, "a run to compare")
        one, other = read_sides([one, other], metric).cohorts
    for cohort in (one, other):
        if len(cohort) != 1:
            raise UserError(f"'{cohort.recipe}' holds {len(cohort)} runs, not one: compare cohorts with st.compare")
    if one.metric != other.metric or one.kind != other.kind or count_examples(one) != count_examples(other):
        raise UserError(
            f"'{one.recipe}' and '{other.recipe}' have different metrics or examples: they cannot be compared"
        )
    right = _right(one), _right(other)
    mended = spoiled = None
    if right[0] is not None and right[1] is not None:
        mended, spoiled = int(np.count_nonzero(~right[0] & right[1])), int(np.count_nonzero(right[0] & ~right[1]))
    difference = float(other.scores[0] - one.scores[0])
    weighted = weighted_scores(one), weighted_scores(other)
    interval, p, test = Interval(difference, math.nan, math.nan), math.nan, ""
    if weighted[0] is not None and weighted[1] is not None and not one_group(one):
        if one.groups is None and mended is not None and spoiled is not None and one.metric in _SHARES:
            interval, p = mcnemar(mended, spoiled, count_examples(one))
            test = "McNemar's exact test"
        else:
            interval, p = _bootstrap(one, other, difference, resamples, seed)
            what = "examples" if one.groups is None else "groups of examples"
            test = f"paired bootstrap over {count_groups(one)} {what}"
    prints = [fingerprints(cohort)[0] for cohort in (one, other)]
    same = same_outputs(one, 0, other, 0) or (prints[0] is not None and prints[0] == prints[1])
    return RunComparison(one, other, interval, p, test, mended, spoiled, _changed(one, other), _moved(one, other), same)


def mcnemar(mended: int, spoiled: int, examples: int) -> tuple[Interval, float]:
    """Return the difference of two accuracies on the same examples, its interval and McNemar's exact p-value.

    Args:
        mended: Examples that only the second answers right.
        spoiled: Examples that only the first answers right.
        examples: N.
    """
    from scipy.stats import binomtest

    discordant = mended + spoiled
    rate = discordant / examples
    low_rate, high_rate = _wilson(discordant, examples)
    if not discordant:
        return Interval(0.0, -high_rate, high_rate), 1.0
    share = 2 * mended / discordant - 1
    p = float(binomtest(mended, discordant, 0.5).pvalue)
    low = 2 * beta_quantile(SIGNIFICANT / 2, mended, spoiled + 1) - 1 if mended else -1.0
    high = 2 * beta_quantile(1 - SIGNIFICANT / 2, mended + 1, spoiled) - 1 if spoiled else 1.0
    # Towards the side on which the product moves away from its point estimate.
    off_low = low * (rate - (low_rate if low > 0 else high_rate))
    off_high = high * (rate - (high_rate if high > 0 else low_rate))
    value = (mended - spoiled) / examples
    return (
        Interval(
            value,
            max(-1.0, value - math.hypot(rate * (share - low), off_low)),
            min(1.0, value + math.hypot(rate * (high - share), off_high)),
        ),
        p,
    )


def _wilson(count: int, total: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def _bootstrap(one: Cohort, other: Cohort, difference: float, resamples: int, seed: int) -> tuple[Interval, float]:
    first, second = weighted_scores(one), weighted_scores(other)
    assert first is not None
    assert second is not None
    draws = example_weights(count_examples(one), resamples, _CHUNK, seed, example_groups(one))
    drawn = np.concatenate([(second(weights) - first(weights))[:, 0] for _, weights in draws])
    units = count_groups(one)
    # Drawing N of N examples shows (N - 1)/N of the variance; for groups, one fewer is drawn.
    shown = 1.0 if one.groups is not None else (units - 1) / units
    error = math.sqrt(float(drawn.var()) / shown) if units > 1 else 0.0
    if not error > 0:
        return Interval(difference, math.nan, math.nan), math.nan
    half = float(student_quantile(1 - SIGNIFICANT / 2, units - 1)) * error
    scale = one.scale
    most = math.inf if scale.lowest is None or scale.highest is None else scale.highest - scale.lowest
    ends = Interval(difference, max(-most, difference - half), min(most, difference + half))
    return ends, 2 * float(student_tail(abs(difference) / error, units - 1))


def _right(cohort: Cohort) -> NDArray[np.bool_] | None:
    """Return (N,) whether a single run answers each example right, or None if unknown."""
    if cohort.predictions is not None and cohort.labels is not None:
        return np.asarray(cohort.predictions[0] == KINDS[cohort.kind].coded(cohort.labels))
    worth = weighted_scores(cohort) if cohort.generations is not None and cohort.metric == "exact_match" else None
    if worth is None:
        return None
    # The score of one example is the score with all weight on it.
    rows = np.arange(count_examples(cohort))
    ones = (rows[at : at + _CHUNK, None] == rows for at in range(0, len(rows), _CHUNK))
    return np.concatenate([worth(one.astype(np.float64))[:, 0] > 0 for one in ones])


def _changed(one: Cohort, other: Cohort) -> NDArray[np.bool_] | None:
    if one.predictions is not None and other.predictions is not None:
        return np.asarray(one.predictions[0] != other.predictions[0])
    if one.generations is not None and other.generations is not None:
        pairs = zip(one.generations[0], other.generations[0], strict=True)
        return np.array([a != b for a, b in pairs])
    return None


def _moved(one: Cohort, other: Cohort) -> float:
    if not KINDS[one.kind].has_numbers or one.logits is None or other.logits is None:
        return math.nan
    return float(np.sqrt(np.mean(np.square(one.logits[0].astype(np.float64) - other.logits[0]))))
