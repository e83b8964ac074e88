"""Compare recipes: the measures of every cohort, and their differences from a baseline."""

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
from steadytune.errors import UserError, door, type_of, unknown_name
from steadytune.external.commands.store import CommandStore
from steadytune.external.commands.sweep import is_sweep
from steadytune.external.sides import read_sides
from steadytune.grouped import grouped
from steadytune.measures import declared
from steadytune.metrics import Scale
from steadytune.records import Cohort, RunStore
from steadytune.shown import Drawn, plural

if TYPE_CHECKING:
    import pandas as pd

    from steadytune.analysis.comparison.verdict import Statement

DEFAULT_BASELINE = "standard"


def claims() -> list[str]:
    """Return the names of the differences that the verdict covers."""
    return ["mean", "sd_ratio", "failed", *(measure.name for measure in declared() if measure.claimed)]


@dataclass(frozen=True, eq=False)
class Row:
    """One cohort in the comparison table. Scores are fractions, K its finished runs.

    Attributes:
        profile: All measures of the cohort.
        reference: The baseline of the same model and task, possibly the same profile.
        differences: Differences from the baseline, see `difference.differences`; empty for the baseline itself.
        comparisons: Number of tests against that baseline in the verdict, over all recipes.
        planned: Number of such tests once there are enough runs for all of them; seeds are planned for these.
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
        """Name of the metric, with its positive class if any."""
        return self.profile.cohort.metric_name

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of the scores."""
        return self.profile.cohort.scale

    @property
    def baseline(self) -> str:
        """Baseline recipe of the same model and task, possibly this one."""
        return self.reference.cohort.recipe

    @property
    def is_baseline(self) -> bool:
        """Whether this is the baseline."""
        return self.profile is self.reference

    @property
    def runs(self) -> int:
        """K, the number of finished runs."""
        return len(self.profile.cohort)

    @property
    def failed(self) -> int | None:
        """How many of the K runs score no better than a constant answer; None if unknown."""
        failed = self.profile.cohort.failed
        return None if failed is None else int(np.count_nonzero(failed))

    @property
    def lost(self) -> int:
        """How many further runs diverged or crashed."""
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
        """Return the difference of mean scores to detect, in units of the stored scores.

        Args:
            asked: In the displayed unit of the metric, points for a fraction. By default one point, or for a metric
                without points the larger SD of the two, to one digit.
        """
        if asked is not None:
            return float(asked / self.scale.factor)
        if self.scale.unit == "points":
            return 0.01
        return float(f"{max(self.reference.last('sd').value, self.sd.value):.0e}")

    def seeds_to_detect(self, difference: float) -> int | None:
        """Return how many seeds per recipe would detect a difference of mean scores, given the errors observed.

        These errors are uncertain, and so is the answer. None if the error of the evaluation set hides the difference
        from any number of seeds.

        Raises:
            UserError: The recipes cannot be tested, or too many seeds would be needed.
        """
        found = self.differences["mean"].estimate if self.differences else None
        if found is None:
            raise UserError(
                f"'{self.recipe}' and '{self.baseline}' have too few runs, or too similar ones, to plan from"
            )
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
        """Return how many seeds per recipe would detect a ratio of SDs, adjusted for all planned tests."""
        return seeds_to_detect_ratio(ratio, significance=SIGNIFICANT / max(1, self.planned))

    @property
    def same_seed(self) -> SameSeed | None:
        """What the recipe changes at the same seed, and what a seed changes; None for the baseline itself."""
        return None if self.is_baseline else same_seed(self.profile.cohort, self.reference.cohort)

    @cached_property
    def shared_copies(self) -> list[tuple[int, int]]:
        """Runs that duplicate a run of the baseline under another seed; empty for the baseline itself."""
        return [] if self.is_baseline else copied_between(self.profile.cohort, self.reference.cohort)

    @property
    def copied(self) -> bool:
        """Whether runs are duplicates, within or across the recipes, so that nothing is tested."""
        return self.profile.copied or self.reference.copied or bool(self.shared_copies)

    @property
    def measures(self) -> dict[str, Value]:
        """The measures by name, see `Profile.values`; the representation measures at the last layer."""
        return {value.measure: value for value in self.profile.values}

    @property
    def seconds(self) -> float:
        """Mean wall-clock seconds per run; NaN if unknown."""
        seconds = self.profile.cohort.seconds
        return float(np.mean(seconds)) if seconds is not None and len(seconds) else float("nan")


class MeasureRow(NamedTuple):
    """One line of measures.csv, whose columns are these fields; `layer` is None except for representation measures."""

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

    `difference` is recipe minus baseline, for "sd_ratio" recipe divided by baseline. `low` to `high` includes
    equality if and only if `p` is .05 or more, `low_adjusted` to `high_adjusted` if and only if `p_adjusted` is. A
    second line for a measure is a permutation test, which applies to these examples only.
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
        baselines: (model, task) -> the baseline recipe.
    """

    profiles: tuple[Profile, ...]
    baselines: dict[tuple[str, str], str]

    def rows(self) -> list[Row]:
        """Return the comparison table, a row per cohort in the order of the study."""
        return self._rows

    def difference_rows(self) -> list[DifferenceRow]:
        """Return differences.csv, a row per recipe except the baseline, measure and test."""
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

    @cached_property
    def _verdict(self) -> dict[tuple[str, str], list[Statement]]:
        from steadytune.analysis.comparison.verdict import verdict

        return verdict(self)

    def summary(self) -> str:
        """Return the verdict, a paragraph for each recipe."""
        lines = [f"Comparison of {plural(len(self.profiles), 'cohort')}"]
        for (model, task), sentences in self._verdict.items():
            lines += [" on ".join(filter(None, (model, task)))] if model or task else []
            lines += [line for sentence in sentences for line in textwrap.wrap(sentence, 100, subsequent_indent="  ")]
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """Return the sentences of the verdict."""
        return [sentence for sentences in self._verdict.values() for sentence in sentences]

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


@door
def compare(
    runs: RunStore | CommandStore | str | Path | Cohort | Iterable[Cohort] | Iterable[str | Path],
    baseline: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Measure all cohorts and compare each with the baseline of its model and task.

    Every difference has an interval and a test, which are one procedure; see `difference` for what they are and how
    often they err. The verdict covers mean score, SD, failures and disagreement (pairwise RMSE for a regression): all
    these tests of all recipes of a model and task form one family, and Holm's correction keeps the probability of any
    false claim among them at 5 %. A test of failures does not count if it could not have been significant with so few
    failures in total (Tarone, "A modified Bonferroni method for discrete data", 1990; from memory). The p-values of
    each other measure are adjusted for the number of recipes. There is no adjustment for models and tasks.

    In simulations of equal recipes, 0.3 to 5 % of pairs get a false claim; without the correction up to 9 % would, see
    `difference`.

    Args:
        runs: The store of a study or its path, one cohort or several, or paths of folders that each hold the runs of
            one recipe, see `read_sides`.
        baseline: Recipe to compare with; by default "standard", or the first recipe if there is no "standard".
        progress: Called with the share of the work done.

    Raises:
        UserError: There is nothing to compare, the baseline is missing, or two cohorts have the same name or different
            examples.
    """
    profiles = profile_all(_same_groups(_cohorts(runs)), progress)
    if not profiles:
        raise UserError("nothing to compare: no runs yet")
    groups: dict[tuple[str, str], list[str]] = {}
    for cohort in (found.cohort for found in profiles):
        recipes = groups.setdefault((cohort.model, cohort.task), [])
        if cohort.recipe in recipes:
            raise UserError(f"two cohorts have the name '{cohort.name}': give them different recipe names")
        recipes.append(cohort.recipe)
    _check_examples([found.cohort for found in profiles])
    return Comparison(profiles, {group: _baseline(recipes, baseline) for group, recipes in groups.items()})


def _cohorts(
    runs: RunStore | CommandStore | str | Path | Cohort | Iterable[Cohort] | Iterable[str | Path],
) -> Sequence[Cohort]:
    if isinstance(runs, (str, Path)):
        runs = CommandStore(runs) if is_sweep(runs) else RunStore(runs)
    if isinstance(runs, (RunStore, CommandStore)):
        return runs.cohorts()
    listed = [runs] if isinstance(runs, Cohort) else list(runs) if isinstance(runs, Iterable) else [runs]
    cohorts = [one for one in listed if isinstance(one, Cohort)]
    paths = [one for one in listed if not isinstance(one, Cohort)]
    for one in paths:
        if not isinstance(one, (str, Path)):
            raise UserError(f"expected a folder (st.RunStore or its path) or cohorts to compare, not {type_of(one)}")
    if cohorts and paths:
        raise UserError("paths and cohorts are mixed: read all of them with st.read_runs, or give only paths")
    return paired_by_seed(read_sides(paths)) if paths else cohorts


def _same_groups(cohorts: Sequence[Cohort]) -> list[Cohort]:
    """Copy the groups of examples to the cohorts of the same model and task that lack them.

    Raises:
        UserError: Two cohorts have different groups.
    """
    known: dict[tuple[str, str], Cohort] = {}
    for cohort in cohorts:
        if (groups := example_groups(cohort)) is not None:
            first = known.setdefault((cohort.model, cohort.task), cohort)
            shared = example_groups(first)
            if shared is not None and not np.array_equal(groups, shared):
                raise UserError(
                    f"'{first.recipe}' and '{cohort.recipe}' have different groups of examples, so they were "
                    "measured on different examples: compare recipes on the same ones"
                )
    return [_grouped(cohort, known.get((cohort.model, cohort.task))) for cohort in cohorts]


def _grouped(cohort: Cohort, known: Cohort | None) -> Cohort:
    if known is None or known.groups is None or cohort.groups is not None:
        return cohort
    return replace(cohort, groups=known.groups) if count_examples(cohort) == len(known.groups) else cohort


def _check_examples(cohorts: list[Cohort]) -> None:
    """Raise UserError if two cohorts of one model and task have different labels, and hence different examples."""
    first: dict[tuple[str, str], Cohort] = {}
    for cohort in cohorts:
        if cohort.labels is None:
            continue
        other = first.setdefault((cohort.model, cohort.task), cohort)
        assert other.labels is not None
        if not np.array_equal(cohort.labels, other.labels):
            raise UserError(
                f"'{other.recipe}' and '{cohort.recipe}' have different labels, so they were measured on different "
                "examples: compare recipes on the same ones"
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
        The differences of each recipe, and the number of tests in the verdict.
    """
    compared = [differences(found, reference) for found in others]
    family: list[tuple[dict[str, Difference], str]] = []
    rest: list[tuple[dict[str, Difference], str]] = []
    for by in compared:
        for name in claims():
            if name in by and not math.isnan(by[name].significance.p):
                (family if by[name].significance.attainable < SIGNIFICANT else rest).append((by, name))
    _adjust(family)
    # Far from significant, whatever the adjustment.
    for test in rest:
        _adjust([test])
    for name in dict.fromkeys(name for by in compared for name in by):
        if name not in claims() and not name.endswith(HERE):
            _adjust([(by, name) for by in compared if name in by])
    return compared, len(family)


def _planned(by: dict[str, Difference], found: Profile, reference: Profile) -> int:
    """Count the tests of a recipe that enough runs would allow: of known values, and of failures if there are any."""
    failures = sum(wrong_runs(one.cohort)[0] for one in (found, reference))
    known = [name for name in claims() if name in by and not math.isnan(by[name].interval.value)]
    return len([name for name in known if name != "failed" or failures])


def _adjust(tests: list[tuple[dict[str, Difference], str]]) -> None:
    """Replace the p-values of some tests by Holm's adjusted ones."""
    for (by, name), p in zip(tests, holm([by[name].significance.p for by, name in tests]), strict=True):
        by[name] = by[name].adjust(float(p))
