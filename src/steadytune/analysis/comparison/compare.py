"""Recipes side by side: every cohort's measures, and all of them against those of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from steadytune.analysis.comparison.difference import Difference, differences
from steadytune.analysis.comparison.power import LEVEL, seeds_to_detect_difference, seeds_to_detect_ratio
from steadytune.analysis.comparison.significance import holm
from steadytune.analysis.failures import failed_runs
from steadytune.analysis.intervals import UNKNOWN, Interval
from steadytune.analysis.profile import MEASURES, Profile, profile_all
from steadytune.analysis.value import Value
from steadytune.errors import UserError, unknown_name
from steadytune.records import Cohort, RunStore

DEFAULT_BASELINE = "standard"


@dataclass(frozen=True, eq=False)
class Row:
    """One cohort in the comparison table. Scores are fractions, K its finished runs.

    Attributes:
        profile: Everything that is known of the cohort.
        reference: The baseline of the same model and task, possibly the same profile.
        differences: By what it differs from the baseline, see `difference.differences`; empty for the baseline itself.
        comparisons: How many recipes are compared with that baseline.
    """

    profile: Profile
    reference: Profile
    differences: dict[str, Difference]
    comparisons: int

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
        """What the scores mean."""
        return self.profile.cohort.metric

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
    def failed(self) -> int:
        """How many of the K runs are at or below the majority class."""
        return int(np.count_nonzero(failed_runs(self.profile.cohort)))

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

    def seeds_to_detect(self, difference: float) -> int:
        """Return how many seeds a recipe would show a difference of mean scores, given the two SDs observed.

        For shared seeds whose scores move together fewer are enough. The SDs are uncertain, and the answer with them.

        Raises:
            UserError: Neither SD is known and above 0, or too many seeds would be needed.
        """
        sds = self.sd.value, self.reference.last("sd").value
        return seeds_to_detect_difference(difference, *sds, level=LEVEL / self.comparisons)

    def seeds_to_detect_ratio(self, ratio: float) -> int:
        """Return how many seeds a recipe would show a ratio of SDs."""
        return seeds_to_detect_ratio(ratio, level=LEVEL / self.comparisons)

    @property
    def measures(self) -> dict[str, Value]:
        """The seven measures by name; the representation measures at the last layer."""
        return {measure: self.profile.last(measure) for measure in MEASURES}

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

    `difference` is recipe minus baseline, for "sd_ratio" recipe divided by baseline. Where "sd_ratio" has two lines,
    the first has the test to go by.
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
    test: str


@dataclass(frozen=True, eq=False)
class Comparison:
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
                found.significance.test,
            )
            for row in self._rows
            for found in row.differences.values()
        ]

    @cached_property
    def _rows(self) -> list[Row]:
        groups: dict[tuple[str, str], list[Profile]] = {}
        for found in self.profiles:
            groups.setdefault((found.cohort.model, found.cohort.task), []).append(found)
        compared = {}
        for group, members in groups.items():
            reference = next(found for found in members if found.cohort.recipe == self.baselines[group])
            others = [found for found in members if found is not reference]
            compared[reference] = Row(reference, reference, {}, len(others))
            for found, by in zip(others, _compared(others, reference), strict=True):
                compared[found] = Row(found, reference, by, len(others))
        return [compared[found] for found in self.profiles]

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
    runs: RunStore | Iterable[Cohort],
    baseline: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Measure all cohorts and set each beside the baseline of its model and task.

    Every difference has an interval and a test; see `difference` and `significance` for what they are and how often
    they err. The p-values of each measure are adjusted for the number of recipes of a model and task (Holm), not for
    the number of measures, which answer different questions, nor over models and tasks.

    Args:
        runs: A folder of runs, or cohorts.
        baseline: Recipe to compare with; by default "standard", or the first recipe where there is no such.
        progress: Called with the share of the work that is done.

    Raises:
        UserError: There is nothing to compare, the baseline is missing, or two cohorts have one name or other
            examples.
    """
    profiles = profile_all(runs.cohorts() if isinstance(runs, RunStore) else runs, progress)
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


def _compared(others: list[Profile], reference: Profile) -> list[dict[str, Difference]]:
    """Compare recipes with their baseline, and adjust the p-values of each measure over the recipes."""
    compared = [differences(found, reference, len(others)) for found in others]
    for name in dict.fromkeys(name for by in compared for name in by):
        having = [by for by in compared if name in by]
        for by, p in zip(having, holm([by[name].significance.p for by in having]), strict=True):
            by[name] = by[name]._replace(p_adjusted=float(p))
    return compared
