"""Recipes side by side: every cohort's measures, and all of them against those of a baseline."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from steadytune.analysis.comparison.difference import HERE, Difference, differences
from steadytune.analysis.comparison.pairing import paired_by_seed
from steadytune.analysis.comparison.power import seeds_to_detect_ratio, seeds_to_reach
from steadytune.analysis.comparison.same_seed import SameSeed, same_seed
from steadytune.analysis.comparison.significance import holm
from steadytune.analysis.failures import wrong_runs
from steadytune.analysis.grouping import example_groups
from steadytune.analysis.intervals import SIGNIFICANT, UNKNOWN, Interval
from steadytune.analysis.profile import Profile, profile_all
from steadytune.analysis.scores import count_examples
from steadytune.analysis.suspicion import copied_between
from steadytune.analysis.value import Value
from steadytune.errors import UserError, unknown_name
from steadytune.external.sides import read_sides
from steadytune.grouped import grouped
from steadytune.measures import declared
from steadytune.metrics import Scale
from steadytune.records import Cohort, RunStore
from steadytune.shown import Drawn

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_BASELINE = "standard"


def claims() -> list[str]:
    """Return the differences of which the verdict speaks."""
    return ["mean", "sd_ratio", "failed", *(measure.name for measure in declared() if measure.claimed)]


@dataclass(frozen=True, eq=False)
class Row:
    """One cohort in the comparison table. Scores are fractions, K its finished runs.

    Attributes:
        profile: Everything that is known of the cohort.
        reference: The baseline of the same model and task, possibly the same profile.
        differences: By what it differs from the baseline, see `difference.differences`; empty for the baseline itself.
        comparisons: How many tests are made with that baseline of which the verdict speaks, over all recipes.
        planned: How many will be once there are runs enough for all of them, which is what seeds are planned for.
    """

    profile: Profile
    reference: Profile
    differences: dict[str, Difference]
    comparisons: int
    planned: int

    @property
    def model(self) -> str:
        """Model name."""
        return self.profile.cohort.model

    @property
    def task(self) -> str:
        """Task name."""
        return self.profile.cohort.task

    @property
    def recipe(self) -> str:
        """Recipe name."""
        return self.profile.cohort.recipe

    @property
    def metric(self) -> str:
        """What the scores mean, with the class that they speak of."""
        return self.profile.cohort.metric_name

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of the scores."""
        return self.profile.cohort.scale

    @property
    def baseline(self) -> str:
        """Recipe of the same model and task that it is compared with, possibly its own."""
        return self.reference.cohort.recipe

    @property
    def is_baseline(self) -> bool:
        """Whether the others are compared with this one."""
        return self.profile is self.reference

    @property
    def runs(self) -> int:
        """K."""
        return len(self.profile.cohort)

    @property
    def failed(self) -> int | None:
        """How many of the K runs score no better than always giving one answer; None where that is unknown."""
        failed = self.profile.cohort.failed
        return None if failed is None else int(np.count_nonzero(failed))

    @property
    def lost(self) -> int:
        """How many further runs diverged or raised."""
        return len(self.profile.cohort.lost)

    @property
    def mean(self) -> Interval:
        """Mean score."""
        return self.profile.mean.interval

    @property
    def sd(self) -> Interval:
        """SD of the score."""
        return self.profile.last("sd").interval

    @property
    def mean_difference(self) -> Interval:
        """Mean score minus that of the baseline; unknown for the baseline itself."""
        return UNKNOWN if self.is_baseline else self.differences["mean"].interval

    @property
    def sd_ratio(self) -> Interval:
        """SD divided by that of the baseline; unknown for the baseline itself."""
        return UNKNOWN if self.is_baseline else self.differences["sd_ratio"].interval

    def step(self, asked: float | None = None) -> float:
        """Return the difference of mean scores that is looked for, in units of the stored scores.

        Args:
            asked: In the unit in which the metric is shown, points for a fraction. Left out, it is one point, or of a
                metric that is shown as it is the SD of the baseline, to one digit.
        """
        if asked is not None:
            return float(asked / self.scale.factor)
        if self.scale.unit == "points":
            return 0.01
        return float(f"{max(self.reference.last('sd').value, self.sd.value):.0e}")

    def seeds_to_detect(self, difference: float) -> int | None:
        """Return how many seeds a recipe would show a difference of mean scores, given the errors observed.

        They are uncertain, and the answer with them. None where the evaluation set's own error hides the difference
        from any number of seeds.

        Raises:
            UserError: The recipes are not tested, or too many seeds would be needed.
        """
        found = self.differences["mean"].estimate if self.differences else None
        if found is None:
            raise UserError(f"'{self.recipe}' and '{self.baseline}' have too few runs, or runs too equal, to plan from")
        sds = self.sd.value, self.reference.last("sd").value
        share = 1.0 if found.paired or not max(sds) else (sds[0] ** 2 + sds[1] ** 2) ** 2 / (sds[0] ** 4 + sds[1] ** 4)
        return seeds_to_reach(
            difference,
            found.per_run,
            share,
            found.from_examples,
            found.examples_freedom,
            significance=SIGNIFICANT / max(1, self.planned),
        )

    def seeds_to_detect_ratio(self, ratio: float) -> int:
        """Return how many seeds a recipe would show a ratio of SDs, by a p-value adjusted for all planned tests."""
        return seeds_to_detect_ratio(ratio, significance=SIGNIFICANT / max(1, self.planned))

    @property
    def same_seed(self) -> SameSeed | None:
        """What the recipe changes at the same seed, beside what a seed changes; None for the baseline itself."""
        return None if self.is_baseline else same_seed(self.profile.cohort, self.reference.cohort)

    @cached_property
    def shared_copies(self) -> list[tuple[int, int]]:
        """Which runs are copies of those of the baseline under another seed; none of the baseline itself."""
        return [] if self.is_baseline else copied_between(self.profile.cohort, self.reference.cohort)

    @property
    def copied(self) -> bool:
        """Whether runs are copies of one another, on either side or across, so that nothing is tested."""
        return self.profile.copied or self.reference.copied or bool(self.shared_copies)

    @property
    def measures(self) -> dict[str, Value]:
        """The measures by name, see `Profile.values`; the representation measures at the last layer."""
        return {value.measure: value for value in self.profile.values}

    @property
    def seconds(self) -> float:
        """Mean wall-clock seconds of a run; NaN where unknown."""
        seconds = self.profile.cohort.seconds
        return float(np.mean(seconds)) if seconds is not None and len(seconds) else float("nan")


class MeasureRow(NamedTuple):
    """One line of measures.csv, whose columns are these fields; `layer` is None but for representation measures."""

    model: str
    task: str
    recipe: str
    measure: str
    layer: int | None
    value: float
    low: float
    high: float
    null: float


class DifferenceRow(NamedTuple):
    """One line of differences.csv, whose columns are these fields.

    `difference` is recipe minus baseline, for "sd_ratio" recipe divided by baseline. `low` to `high` holds equality
    where `p` is .05 or more and there alone, `low_adjusted` to `high_adjusted` where `p_adjusted` is. A second line of
    a measure has a permutation test, which speaks of these examples alone.
    """

    model: str
    task: str
    recipe: str
    baseline: str
    measure: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    low_adjusted: float
    high_adjusted: float
    test: str


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Drawn):
    """All cohorts of a study.

    Attributes:
        profiles: One per cohort, in the order of the study.
        baselines: (model, task) -> the recipe that the others are compared with.
    """

    profiles: tuple[Profile, ...]
    baselines: dict[tuple[str, str], str]

    def rows(self) -> list[Row]:
        """Return the comparison table, a row per cohort in the order of the study."""
        return self._rows

    def difference_rows(self) -> list[DifferenceRow]:
        """Return differences.csv, a row per recipe but the baseline, measure and test."""
        return [
            DifferenceRow(
                row.model,
                row.task,
                row.recipe,
                row.baseline,
                found.measure,
                *found.interval,
                found.significance.p,
                found.p_adjusted,
                found.adjusted.low,
                found.adjusted.high,
                found.significance.test,
            )
            for row in self._rows
            for found in row.differences.values()
        ]

    @cached_property
    def _rows(self) -> list[Row]:
        compared = {}
        for group, members in grouped(self.profiles, lambda found: found.cohort.group).items():
            reference = next(found for found in members if found.cohort.recipe == self.baselines[group])
            others = [found for found in members if found is not reference]
            by_recipe, tests = _compared(others, reference)
            planned = sum(_planned(by, found, reference) for found, by in zip(others, by_recipe, strict=True))
            compared[reference] = Row(reference, reference, {}, tests, planned)
            for found, by in zip(others, by_recipe, strict=True):
                compared[found] = Row(found, reference, by, tests, planned)
        return [compared[found] for found in self.profiles]

    def groups(self) -> dict[tuple[str, str], list[Row]]:
        """Return the rows by model and task, in the order of the study."""
        return grouped(self._rows, lambda row: (row.model, row.task))

    def summary(self) -> str:
        """Return the verdict, a paragraph for each recipe."""
        from steadytune.analysis.comparison.verdict import verdict

        lines = [f"Comparison of {len(self.profiles)} cohorts"]
        for (model, task), sentences in verdict(self).items():
            lines += [" on ".join(filter(None, (model, task)))] if model or task else []
            lines += [line for sentence in sentences for line in textwrap.wrap(sentence, 100, subsequent_indent="  ")]
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """Return the verdict."""
        from steadytune.analysis.comparison.verdict import verdict

        return [sentence for sentences in verdict(self).values() for sentence in sentences]

    def to_frame(self, what: Literal["measures", "differences"] = "measures") -> pd.DataFrame:
        """Return measures.csv or differences.csv as a data frame.

        Args:
            what: A row per cohort, measure and layer; or a row per recipe, measure and test against the baseline.
        """
        import pandas as pd

        if what not in ("measures", "differences"):
            raise unknown_name("table", what, ("measures", "differences"))
        if what == "measures":
            return pd.DataFrame(self.measures_rows(), columns=list(MeasureRow._fields))
        return pd.DataFrame(self.difference_rows(), columns=list(DifferenceRow._fields))

    def measures_rows(self) -> list[MeasureRow]:
        """Return measures.csv, a row per cohort, measure and layer."""
        return [
            MeasureRow(
                found.cohort.model,
                found.cohort.task,
                found.cohort.recipe,
                value.measure,
                value.layer,
                *value.interval,
                value.null,
            )
            for found in self.profiles
            for value in found.values
        ]


def compare(
    runs: RunStore | str | Path | Cohort | Iterable[Cohort] | Iterable[str | Path],
    baseline: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Measure all cohorts and set each beside the baseline of its model and task.

    Every difference has an interval and a test, which are one procedure; see `difference` for what they are and how
    often they err. The verdict speaks of mean score, SD, failures and disagreement, of a regression of pairwise RMSE in
    its place: all these tests of all recipes of a model and task are one family, and Holm's correction keeps the chance
    of any false claim among them at 5 %. A test of failures that so few of them could not have made significant,
    whichever recipe they fell to, does not count (Tarone, "A modified Bonferroni method for discrete data", 1990;
    recalled). The p-values of each other measure are adjusted for the number of recipes. Models and tasks are not
    adjusted for.

    Simulated on equal recipes, something is claimed of 0.3 to 5 % of pairs; without the correction it would be of up to
    9 %, see `difference`.

    Args:
        runs: The folder of a study or its path, one cohort or several, or paths of folders that hold the runs of a
            recipe each, see `read_sides`.
        baseline: Recipe to compare with; by default "standard", or the first recipe where there is no such.
        progress: Called with the share of the work that is done.

    Raises:
        UserError: There is nothing to compare, the baseline is missing, or two cohorts have one name or other
            examples.
    """
    profiles = profile_all(_same_groups(_cohorts(runs)), progress)
    if not profiles:
        raise UserError("nothing to compare: there are no runs yet")
    groups: dict[tuple[str, str], list[str]] = {}
    for cohort in (found.cohort for found in profiles):
        recipes = groups.setdefault((cohort.model, cohort.task), [])
        if cohort.recipe in recipes:
            raise UserError(f"two cohorts are called '{cohort.name}': give them different recipe names")
        recipes.append(cohort.recipe)
    _check_examples([found.cohort for found in profiles])
    return Comparison(profiles, {group: _baseline(recipes, baseline) for group, recipes in groups.items()})


def _cohorts(runs: RunStore | str | Path | Cohort | Iterable[Cohort] | Iterable[str | Path]) -> Sequence[Cohort]:
    if isinstance(runs, RunStore):
        return runs.cohorts()
    if isinstance(runs, (str, Path)):
        return RunStore(runs).cohorts()
    listed = [runs] if isinstance(runs, Cohort) else list(runs) if isinstance(runs, Iterable) else [runs]
    cohorts = [one for one in listed if isinstance(one, Cohort)]
    paths = [one for one in listed if not isinstance(one, Cohort)]
    for one in paths:
        if not isinstance(one, (str, Path)):
            raise UserError(
                f"what is compared is a folder (st.RunStore or its path) or cohorts, not {type(one).__name__}"
            )
    if cohorts and paths:
        raise UserError("paths and cohorts are mixed: read all of them with st.read_runs, or give paths alone")
    return paired_by_seed(read_sides(paths)) if paths else cohorts


def _same_groups(cohorts: Sequence[Cohort]) -> list[Cohort]:
    """Give the groups of a model's and task's examples to its cohorts that do not know of them.

    Raises:
        UserError: Two cohorts have other groups.
    """
    known: dict[tuple[str, str], Cohort] = {}
    for cohort in cohorts:
        if (groups := example_groups(cohort)) is not None:
            first = known.setdefault((cohort.model, cohort.task), cohort)
            shared = example_groups(first)
            if shared is not None and not np.array_equal(groups, shared):
                raise UserError(
                    f"'{first.recipe}' and '{cohort.recipe}' have their examples in other groups, so they were "
                    "measured on other examples: compare recipes on the same ones"
                )
    return [_grouped(cohort, known.get((cohort.model, cohort.task))) for cohort in cohorts]


def _grouped(cohort: Cohort, known: Cohort | None) -> Cohort:
    if known is None or known.groups is None or cohort.groups is not None:
        return cohort
    return replace(cohort, groups=known.groups) if count_examples(cohort) == len(known.groups) else cohort


def _check_examples(cohorts: list[Cohort]) -> None:
    """Raise UserError if two cohorts of one model and task were measured on other examples, so far as labels tell."""
    first: dict[tuple[str, str], Cohort] = {}
    for cohort in cohorts:
        if cohort.labels is None:
            continue
        other = first.setdefault((cohort.model, cohort.task), cohort)
        assert other.labels is not None
        if not np.array_equal(cohort.labels, other.labels):
            raise UserError(
                f"'{other.recipe}' and '{cohort.recipe}' have other labels, so they were measured on other examples: "
                "compare recipes on the same ones"
            )


def _baseline(recipes: list[str], asked: str | None) -> str:
    if asked is None:
        return DEFAULT_BASELINE if DEFAULT_BASELINE in recipes else recipes[0]
    if asked not in recipes:
        raise unknown_name("baseline recipe", asked, recipes)
    return asked


def _compared(others: list[Profile], reference: Profile) -> tuple[list[dict[str, Difference]], int]:
    """Compare recipes with their baseline, and adjust the p-values.

    Returns:
        The differences of each recipe, and how many tests the verdict speaks of.
    """
    compared = [differences(found, reference) for found in others]
    family: list[tuple[dict[str, Difference], str]] = []
    rest: list[tuple[dict[str, Difference], str]] = []
    for by in compared:
        for name in claims():
            if name in by and not math.isnan(by[name].significance.p):
                (family if by[name].significance.attainable < SIGNIFICANT else rest).append((by, name))
    _adjust(family)
    # Far from significant, whatever it is adjusted for.
    for test in rest:
        _adjust([test])
    for name in dict.fromkeys(name for by in compared for name in by):
        if name not in claims() and not name.endswith(HERE):
            _adjust([(by, name) for by in compared if name in by])
    return compared, len(family)


def _planned(by: dict[str, Difference], found: Profile, reference: Profile) -> int:
    """Count the tests of a recipe that runs enough would allow: of what is known, and of failures where there are."""
    failures = sum(wrong_runs(one.cohort)[0] for one in (found, reference))
    known = [name for name in claims() if name in by and not math.isnan(by[name].interval.value)]
    return len([name for name in known if name != "failed" or failures])


def _adjust(tests: list[tuple[dict[str, Difference], str]]) -> None:
    """Put Holm's p-values over some tests in their places."""
    for (by, name), p in zip(tests, holm([by[name].significance.p for by, name in tests]), strict=True):
        by[name] = by[name].adjust(float(p))
