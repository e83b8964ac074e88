"""Recipes side by side: every cohort's measures, and its spread and mean against those of a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.intervals import UNKNOWN, Interval, difference_interval, ratio_interval
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
        baseline: Recipe of the same model and task that it is compared with, possibly its own.
        sd_ratio: SD divided by that of the baseline; unknown for the baseline itself.
        mean_difference: Mean score minus that of the baseline; unknown for the baseline itself.
    """

    profile: Profile
    baseline: str
    sd_ratio: Interval
    mean_difference: Interval

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
    def is_baseline(self) -> bool:
        """Whether the others are compared with this one."""
        return self.recipe == self.baseline

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
        references = {
            (cohort.model, cohort.task): found
            for found in self.profiles
            if (cohort := found.cohort).recipe == self.baselines[cohort.model, cohort.task]
        }
        return [_row(found, references[found.cohort.model, found.cohort.task]) for found in self.profiles]

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


def compare(runs: RunStore | Iterable[Cohort], baseline: str | None = None) -> Comparison:
    """Measure all cohorts and set each beside the baseline of its model and task.

    The ratio of SDs has an F interval and the difference of means Welch's, both at 95 % for one pair of recipes and for
    runs that are normal and independent between the recipes; see `intervals` for how shared seeds and collapsed runs
    bend that. With many recipes some differences appear by luck alone.

    Args:
        runs: A folder of runs, or cohorts.
        baseline: Recipe to compare with; by default "standard", or the first recipe where there is no such.

    Raises:
        UserError: There is nothing to compare, the baseline is missing, or two cohorts have one name.
    """
    profiles = profile_all(runs.cohorts() if isinstance(runs, RunStore) else runs)
    if not profiles:
        raise UserError("nothing to compare: there are no runs yet")
    groups: dict[tuple[str, str], list[str]] = {}
    for cohort in (found.cohort for found in profiles):
        recipes = groups.setdefault((cohort.model, cohort.task), [])
        if cohort.recipe in recipes:
            raise UserError(f"two cohorts are called '{cohort.name}': give them different recipe names")
        recipes.append(cohort.recipe)
    return Comparison(profiles, {group: _baseline(recipes, baseline) for group, recipes in groups.items()})


def _baseline(recipes: list[str], asked: str | None) -> str:
    if asked is None:
        return DEFAULT_BASELINE if DEFAULT_BASELINE in recipes else recipes[0]
    if asked not in recipes:
        raise unknown_name("baseline recipe", asked, recipes)
    return asked


def _row(found: Profile, reference: Profile) -> Row:
    cohort, baseline = found.cohort, reference.cohort
    if found is reference:
        return Row(found, baseline.recipe, UNKNOWN, UNKNOWN)
    return Row(
        profile=found,
        baseline=baseline.recipe,
        sd_ratio=ratio_interval(found.last("sd").value, len(cohort), reference.last("sd").value, len(baseline)),
        mean_difference=difference_interval(cohort.scores, baseline.scores),
    )
