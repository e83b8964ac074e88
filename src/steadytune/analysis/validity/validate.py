"""Are the measures of a study worth reporting? Validity, consistency, and what follows from both.

Source: the framework of Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023, with its defects repaired,
as described in each part: `groups`, `subsampling`, `consistency`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from steadytune.analysis.profile import Profile
from steadytune.analysis.validity.consistency import (
    Agreement,
    Overall,
    bootstrap_agreement,
    overall_agreement,
    rank_recipes,
)
from steadytune.analysis.validity.correlation import Association, pearson
from steadytune.analysis.validity.groups import KnownGroups, known_groups
from steadytune.analysis.validity.recommendation import Evidence, Recommendation, recommend
from steadytune.analysis.validity.subsampling import Layers, Subsample, steps, subsample
from steadytune.errors import UserError, door, unknown_name
from steadytune.grouped import grouped
from steadytune.measures import layer_measures, pair_mean
from steadytune.shown import Drawn, plural

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Convergence:
    """How the representation measures of one cohort correlate over its layers.

    Attributes:
        recipe: Name of the cohort's recipe.
        layers: L.
        pairs: Pearson's r of every two measures; NaN for fewer than three layers or if a measure does not vary.
    """

    recipe: str
    layers: int
    pairs: tuple[Association, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Validation(Drawn):
    """The validation of the measures of one model on one task.

    Attributes:
        profiles: Its cohorts of two runs or more, one per recipe. The parts below that describe single cohorts have
            one entry for each, or none.
        convergent: Convergent validity; for cohorts with representations.
        groups: Concurrent validity A, successful against failed runs.
        subsamples: Concurrent validity B, on fewer examples.
        ranking: Kendall's tau between measures over recipes; empty for fewer than two.
        agreements: Bootstrap correlations between measures.
        overall: Stability against consistency, over all cohorts of the same model.
        recommendation: Which measures to report, and why.
    """

    profiles: tuple[Profile, ...]
    convergent: tuple[Convergence, ...]
    groups: tuple[KnownGroups, ...]
    subsamples: tuple[Subsample, ...]
    ranking: tuple[Association, ...]
    agreements: tuple[Agreement, ...]
    overall: Overall
    recommendation: Recommendation

    def summary(self) -> str:
        """Return which measures to report, and why."""
        cohort = self.profiles[0].cohort
        where = " on ".join(filter(None, (cohort.model, cohort.task))) or "these runs"
        lines = [f"Validation of the measures of {where}, over {plural(len(self.profiles), 'cohort')}"]
        wrapped = (textwrap.wrap(one, 100, subsequent_indent="  ") for one in self.recommendation.sentences)
        return "\n".join([*lines, *(line for sentence in wrapped for line in sentence)])

    def remarks(self) -> list[str]:
        """Return the recommendation."""
        return list(self.recommendation.sentences)

    def to_frame(self) -> pd.DataFrame:
        """Return validity.csv as a data frame: a row per number of every analysis."""
        import pandas as pd

        cohort = self.profiles[0].cohort
        return pd.DataFrame(list(_rows(cohort.model, cohort.task, self)), columns=list(ValidityRow._fields))


class ValidityRow(NamedTuple):
    """One line of validity.csv, whose columns are these fields; None and NaN are empty.

    Attributes:
        model: Model name.
        task: Task name.
        recipe: Recipe name, or "" for all recipes together.
        analysis: "convergent", "known_groups", "subsampling", "ranking", "bootstrap", "bootstrap_published" or
            "overall".
        measure: The measure, or "".
        other: The measure that it is compared with; for known groups, which mean it is; for a subsample, its share.
        layer: Block, counted from 1.
        value: Correlation, mean distance, or mean relative change.
        low: Smallest change of a subset.
        high: Largest.
        p: p-value.
        note: Further information for the reader.
    """

    model: str
    task: str
    recipe: str
    analysis: str
    measure: str
    other: str
    layer: int | None
    value: float
    low: float
    high: float
    p: float
    note: str


@door
def validate(
    profiles: Iterable[Profile] | Any, *, layers: Layers = "last", progress: Callable[[int, int], None] | None = None
) -> dict[tuple[str, str], Validation]:
    """Evaluate the measures of a study, from existing measurements except for the subsamples.

    Args:
        profiles: All cohorts of the study, as `Comparison.profiles` holds them; or the comparison, or whatever
            `compare` takes.
        layers: Whether subsamples measure representations at the last layer only or at all layers.
        progress: Called with the number of finished parts of the work and their total.

    Returns:
        (model, task) -> the validation; without those in which no cohort has two runs.

    Raises:
        UserError: No cohort has two finished runs.
    """
    if layers not in ("last", "all"):
        raise unknown_name("choice of layers", layers, ("last", "all"))
    several = (profile for profile in _profiles(profiles) if len(profile.cohort) > 1)
    groups = grouped(several, lambda profile: profile.cohort.group)
    everyone = [profile for group in groups.values() for profile in group]
    if not everyone:
        raise UserError("no recipe has two finished runs, which validating measures needs: train more seeds")
    done, total = 0, steps(everyone)

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    agreements = {id(profile): bootstrap_agreement(profile) for profile in everyone}
    found = {}
    # Two threads that wait for each other slow down the small decompositions of subsamples by an order of magnitude.
    with threadpool_limits(limits=1, user_api="blas"):
        for (model, task), group in groups.items():
            mates = [profile for profile in everyone if profile.cohort.model == model]
            overall = overall_agreement(mates, [agreements[id(profile)] for profile in mates])
            found[model, task] = _validate(group, [agreements[id(profile)] for profile in group], overall, layers, step)
    return found


def _validate(
    profiles: list[Profile], agreements: list[Agreement], overall: Overall, layers: Layers, step: Callable[[], None]
) -> Validation:
    groups = tuple(map(known_groups, profiles))
    subsamples = tuple(entry for profile in profiles for entry in subsample(profile, layers, step))
    return Validation(
        profiles=tuple(profiles),
        convergent=tuple(filter(None, map(converge, profiles))),
        groups=groups,
        subsamples=subsamples,
        ranking=rank_recipes(profiles) if len(profiles) > 1 else (),
        agreements=tuple(agreements),
        overall=overall,
        recommendation=recommend(Evidence(tuple(profiles), groups, subsamples, tuple(agreements))),
    )


def _profiles(given: Any) -> Iterable[Profile]:
    from steadytune.analysis.comparison.compare import Comparison, compare

    listed = given.profiles if isinstance(given, Comparison) else given
    if isinstance(listed, (list, tuple)) and listed and all(isinstance(one, Profile) for one in listed):
        return listed
    return compare(given).profiles


def converge(profile: Profile) -> Convergence | None:
    """Correlate the representation measures of a cohort over its layers; None without representations.

    Layers are not an independent sample: anything that grows with depth correlates. So there is no p-value.
    """
    curves = {
        measure.name: np.asarray(pair_mean(profile.distances[measure.name]))
        for measure in layer_measures()
        if measure.judged and measure.name in profile.distances
    }
    if not curves:
        return None
    pairs = tuple(
        Association(first, second, pearson(curves[first], curves[second])) for first, second in combinations(curves, 2)
    )
    return Convergence(profile.cohort.recipe, len(next(iter(curves.values()))), pairs)


def validity_rows(validations: dict[tuple[str, str], Validation]) -> list[ValidityRow]:
    """Return validity.csv: a row per number of every analysis."""
    return [row for (model, task), found in validations.items() for row in _rows(model, task, found)]


def _rows(model: str, task: str, found: Validation) -> Iterator[ValidityRow]:
    def row(
        recipe: str,
        analysis: str,
        measure: str,
        other: str,
        value: float,
        *,
        layer: int | None = None,
        ends: tuple[float, float] = (math.nan, math.nan),
        p: float = math.nan,
        note: str = "",
    ) -> ValidityRow:
        return ValidityRow(model, task, recipe, analysis, measure, other, layer, value, *ends, p, note)

    for curve in found.convergent:
        for pair in curve.pairs:
            note = f"{curve.layers} layers"
            yield row(curve.recipe, "convergent", pair.measure, pair.other, pair.value, note=note)
    for group in found.groups:
        if group.reason:
            yield row(group.recipe, "known_groups", "", "", math.nan, note=group.reason)
        for seen in group.separations:
            for what in ("successful", "failed", "between"):
                yield row(group.recipe, "known_groups", seen.measure, what, getattr(seen, what), layer=seen.layer)
            what = "failed minus successful"
            yield row(group.recipe, "known_groups", seen.measure, what, seen.difference, layer=seen.layer, p=seen.p)
    for part in found.subsamples:
        ends, note = (min(part.changes), max(part.changes)), f"{part.examples} examples"
        share = f"{100 * part.share:g} %"
        yield row(part.recipe, "subsampling", part.measure, share, part.change, layer=part.layer, ends=ends, note=note)
    for pair in found.ranking:
        note = f"{len(found.profiles)} recipes"
        yield row("", "ranking", pair.measure, pair.other, pair.value, p=pair.p, note=note)
    for agreement in found.agreements:
        for first, second in combinations(agreement.measures, 2):
            yield row(agreement.recipe, "bootstrap", first, second, agreement.between(first, second))
            value = agreement.between(first, second, "published")
            yield row(agreement.recipe, "bootstrap_published", first, second, value, note="with self-pairs")
    note = f"{found.overall.cohorts} cohorts of the model"
    yield row("", "overall", "sd", "consistency", found.overall.r, p=found.overall.p, note=note)
