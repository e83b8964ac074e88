"""All measures of one cohort, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from steadytune.analysis.bootstrap import RESAMPLES, Resamples, own_sums, resample
from steadytune.analysis.evaluation import EvaluationError, evaluation_error
from steadytune.analysis.grouping import count_groups, example_groups
from steadytune.analysis.half_sampling import SPLITS, half_deviations, random_splits
from steadytune.analysis.intervals import LEVEL, UNKNOWN, mean_interval, pair_interval, spread_interval, varies
from steadytune.analysis.kept import digest, kept
from steadytune.analysis.notes import prediction_notes, representation_notes, run_notes, score_notes
from steadytune.analysis.scores import count_examples, possible_scores, rows_per_example
from steadytune.analysis.suspicion import copies, suspicious
from steadytune.analysis.tables import outputs_of, pair_tables
from steadytune.analysis.value import Value
from steadytune.errors import UserError, door, type_of
from steadytune.measures import (
    MEASURES,
    Draw,
    Measure,
    Outputs,
    Pairs,
    SpreadMeasure,
    declared,
    layer_distances,
    layer_measures,
    pair_mean,
)
from steadytune.records import Cohort
from steadytune.shown import Drawn, plural

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_RESAMPLES, _MOST_RESAMPLES = 100, 10_000_000

Distances = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False, repr=False)
class Profile(Drawn):
    """All measures of one cohort.

    Attributes:
        cohort: The runs.
        mean: Mean score with its interval, as measure "mean".
        values: The measures that its kind of task can have, in the order of `measures.declared`: of scores, of
            predictions, of representations; the last once per layer, or once with layer None if no representations
            were compared.
        distances: Measure -> (K, K), or (L, K, K) for a representation measure; only measures that were compared.
        evaluation: Chance effects of the evaluation set, and what selecting the best of n runs gains.
        resampled: The measures on resampled runs and examples; see `bootstrap.Resamples`. In entry r, cohorts with the
            same examples, or the same seeds, share the draws.
        notes: What a reader must know before trusting a value, one sentence each.
        first_notes: Notes that precede all numbers: how files were read, duplicates, permuted class labels.
        level: Nominal coverage of the intervals.
        copied: Whether runs are duplicates, and so not a sample; in that case nothing has an interval.
    """

    cohort: Cohort
    mean: Value
    values: tuple[Value, ...]
    distances: Distances
    evaluation: EvaluationError
    resampled: Resamples
    notes: tuple[str, ...]
    first_notes: tuple[str, ...] = ()
    level: float = LEVEL
    copied: bool = False

    def summary(self) -> str:
        """Return all measures with intervals, representation measures at the last layer, and the notes."""
        lines = [
            f"Profile of {self.cohort.name or 'these runs'}: {plural(len(self.cohort), 'run')}, "
            f"{100 * self.level:g} % intervals"
        ]
        last = {value.measure: value for value in (self.mean, *self.values)}
        for name, value in last.items():
            ends = "" if math.isnan(value.low) else f" [{value.low:.4g}, {value.high:.4g}]"
            null = "" if math.isnan(value.null) else f", null {value.null:.4g}"
            layer = f" (layer {value.layer})" if value.layer is not None else ""
            lines.append(
                f"  {name}{layer}: " + ("unknown" if math.isnan(value.value) else f"{value.value:.4g}{ends}{null}")
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def remarks(self) -> list[str]:
        """Return the notes."""
        return list(self.notes)

    def to_frame(self) -> pd.DataFrame:
        """Return a row per measure and layer: value, ends of the interval, and null."""
        import pandas as pd

        columns = ("measure", "layer", "value", "low", "high", "null")
        every = (self.mean, *self.values)
        return pd.DataFrame([[getattr(value, name) for name in columns] for value in every], columns=list(columns))

    def last(self, measure: str) -> Value:
        """Return the value of a measure, for a representation measure at the last layer; NaN if the cohort lacks it.

        Raises:
            UserError: There is no measure of that name.
        """
        found = next((one for one in reversed(self.values) if one.measure == measure), None)
        if found is None and measure not in MEASURES:
            raise MEASURES.unknown(measure)
        return found or Value(measure, None, *UNKNOWN)


class _Settings(NamedTuple):
    """How a cohort is measured; see `profile`."""

    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = 0
    measures: tuple[str, ...] | None = None

    @property
    def usual_draws(self) -> bool:
        """Whether draws are those of `evaluation_error`, whose error is the same for any seed."""
        return (self.resamples, self.seed) == (RESAMPLES, 0)

    def has(self, *names: str) -> bool:
        """Return whether any of these measures is requested."""
        return self.measures is None or any(name in self.measures for name in names)


@door
def profile(
    cohort: Cohort,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    measures: Iterable[str] | None = None,
) -> Profile:
    """Measure a cohort: all measures, see `Profile.values`, each with an interval.

    Only finished runs count. With fewer than two runs every measure is NaN, and a note says so.

    Args:
        cohort: K runs that differ only in their seeds.
        level: Nominal coverage of the intervals; the actual coverage was simulated at .95, see `intervals`.
        resamples: Number of bootstrap resamples for the intervals.
        seed: Seed of the resampling.
        measures: Names of the measures to compute; None for all. Without representation measures a profile is cheap.

    Returns:
        The profile; see `Profile` and `intervals` for what the numbers mean and their limits.

    Raises:
        UserError: The arrays of the cohort are inconsistent or hold NaN, or a parameter is out of range.
    """
    if not isinstance(cohort, Cohort):
        raise UserError(
            f"st.profile takes one cohort (store.cohort(recipe=...), st.read_runs, st.Cohort), not "
            f"{type_of(cohort)}: st.compare takes a whole folder"
        )
    if isinstance(measures, str) or not isinstance(measures, (Iterable, type(None))):
        raise UserError(f"measures must be a list of names, not {measures!r:.60}")
    wanted = None if measures is None else tuple(measures)
    if wanted == ():
        raise UserError("measures are empty: leave them out for all, or name some")
    for name in wanted or ():
        if name not in MEASURES:
            raise MEASURES.unknown(name)
    if not isinstance(level, Real) or not 0 < level < 1:
        raise UserError(f"level must be between 0 and 1, such as 0.95, not {level!r:.60}")
    for name, number, least in (("resamples", resamples, _FEWEST_RESAMPLES), ("seed", seed, 0)):
        if not isinstance(number, Integral) or number < least:
            raise UserError(f"{name} must be a whole number, at least {least}, not {number!r:.60}")
    if resamples > _MOST_RESAMPLES:
        raise UserError(f"resamples must be at most {_MOST_RESAMPLES:,}, not {resamples:,}")
    return profile_all([cohort], settings=_Settings(level, resamples, seed, wanted))[0]


def profile_all(
    cohorts: Iterable[Cohort],
    progress: Callable[[float], None] | None = None,
    settings: _Settings | None = None,
) -> tuple[Profile, ...]:
    """Measure cohorts one after the other; the layers and pairs of a cohort are computed in parallel.

    Args:
        cohorts: As for `profile`.
        progress: Called with the share of the work done, in (0, 1], as it grows.
        settings: The parameters of `profile`.

    Returns:
        Their profiles, in order.

    Raises:
        UserError: As for `profile`.
    """
    every = list(cohorts)
    found = []
    # One thread, so that sums do not depend on the number of processors.
    with threadpool_limits(limits=1, user_api="blas"):
        for at, cohort in enumerate(every):

            def report(share: float, at: int = at) -> None:
                if progress is not None:
                    progress((at + share) / len(every))

            found.append(_profile(cohort, report, settings or _Settings()))
            report(1.0)
    return tuple(found)


def _profile(cohort: Cohort, report: Callable[[float], None], settings: _Settings) -> Profile:
    # Look at every measure first: if one from another package cannot be imported, that is not the cohort's fault.
    compared = settings.has(*(measure.name for measure in layer_measures()))
    outputs = outputs_of(cohort)
    tables = _measured(cohort, pair_tables, outputs) if len(cohort) > 1 else {}
    states = _kept_distances(cohort, report) if compared else _States({}, {}, {})
    resamples = resample(
        cohort, states.distances, states.deviations, outputs=outputs, resamples=settings.resamples, seed=settings.seed
    )
    representations = _representation_values(cohort, states, resamples, settings.level)
    predictions = _prediction_values(cohort, outputs, tables, resamples, settings.level)
    representations = [value for value in representations if settings.has(value.measure)]
    predictions = [value for value in predictions if settings.has(value.measure)]
    first_notes = (*cohort.notes, *suspicious(cohort))
    mean, spreads = _mean(cohort, resamples, settings.level), _spreads(cohort, resamples, settings.level)
    values = [*spreads, *predictions, *representations]
    copied = bool(copies(cohort))
    if copied:
        mean, *values = (replace(value, low=math.nan, high=math.nan) for value in (mean, *values))
    return Profile(
        cohort=cohort,
        mean=mean,
        values=tuple(value for value in values if settings.has(value.measure)),
        distances={name: table.distances() for name, table in tables.items()} | states.distances,
        evaluation=evaluation_error(cohort, means=resamples.examples.get("mean") if settings.usual_draws else None),
        resampled=resamples,
        first_notes=first_notes,
        level=settings.level,
        copied=copied,
        notes=(
            *first_notes,
            *run_notes(cohort),
            *score_notes(cohort),
            *prediction_notes(cohort, outputs, predictions, settings.measures),
            *representation_notes(cohort, representations, states.distances),
        ),
    )


def _measured(cohort: Cohort, measure: Callable[[Any], Any], arrays: Any) -> Any:
    """Apply a measure; turn its errors into a UserError that names the cohort."""
    try:
        return measure(arrays)
    except ValueError as error:
        raise UserError(f"{cohort.name or 'cohort'}: {error}") from error


def _freedom(cohort: Cohort) -> int:
    return max(1, count_groups(cohort) - 1)


def _mean(cohort: Cohort, resamples: Resamples, level: float) -> Value:
    if "mean" not in resamples.both:
        return Value("mean", None, *UNKNOWN)
    draws = resamples.of("mean", _freedom(cohort))
    return Value("mean", None, *mean_interval(cohort.scores, draws, *possible_scores(cohort), level=level))


def _spreads(cohort: Cohort, resamples: Resamples, level: float) -> list[Value]:
    return [_spread(one, cohort, resamples, level) for one in declared("score") if isinstance(one, SpreadMeasure)]


def _spread(measure: SpreadMeasure, cohort: Cohort, resamples: Resamples, level: float) -> Value:
    name = measure.name
    if np.isnan(cohort.scores).all():
        return Value(name, None, *UNKNOWN)
    spread = _measured(cohort, measure.spread, cohort.scores)
    if len(cohort) < 2 or not varies(cohort.scores):
        return Value(name, None, 0.0 if len(cohort) > 1 else spread, math.nan, math.nan)
    lowest, highest = possible_scores(cohort)
    draws = resamples.of(name, _freedom(cohort))
    return Value(name, None, *spread_interval(spread, len(cohort), draws, (highest - lowest) / 2, level=level))


def _prediction_values(
    cohort: Cohort, outputs: Outputs, tables: Mapping[str, Pairs], resamples: Resamples, level: float
) -> list[Value]:
    measured = prediction_values(outputs, tables, len(cohort))

    def value(measure: Measure) -> Value:
        name = measure.name
        if name not in measured:
            return Value(name, None, *UNKNOWN)
        draws = resamples.of(name, _freedom(cohort))
        most = largest(name, cohort)
        return Value(name, None, *pair_interval(measured[name], len(cohort), most, draws, level=level))

    return [value(measure) for measure in declared("prediction") if measure.applies_to(cohort.kind)]


def prediction_values(outputs: Outputs, tables: Mapping[str, Pairs], runs: int) -> dict[str, float]:
    """Return every measure of predictions that K runs have.

    Args:
        outputs: The outputs of the runs.
        tables: Their `pair_tables`.
        runs: K.
    """
    values = {name: float(pair_mean(table.distances())) for name, table in tables.items()}
    if not tables:
        return values
    plain = np.ones((1, next(iter(tables.values())).examples))
    means = {name: table.means(plain) for name, table in tables.items()}
    once = Draw(np.ones((1, runs)))
    return values | {
        measure.name: float(measure.combine(means, sums(plain), once)[0]) for measure, sums in own_sums(outputs, tables)
    }


def largest(measure: str, cohort: Cohort) -> float:
    """Return the largest value that a pairwise measure of a cohort of two runs or more can have."""
    return MEASURES[measure].most(len(cohort), count_examples(cohort))


class _States(NamedTuple):
    """Results from the representations of a cohort: per measure (L, K, K), (S, L) and (L,); empty without any."""

    distances: Distances
    deviations: Distances
    nulls: Distances


def _kept_distances(cohort: Cohort, report: Callable[[float], None]) -> _States:
    """Return `_representation_distances`, computed once for runs in a folder."""

    def compute() -> Distances:
        parts = _representation_distances(cohort, report)._asdict()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    about, measures = {"groups": digest(example_groups(cohort)), "rows": rows_per_example(cohort)}, layer_measures()
    found = kept(cohort.representations, measures, "distances", about, compute)
    # In this order, which a file does not keep.
    names = [one.name for one in measures if f"{_States._fields[0]}.{one.name}" in found]
    return _States(*({name: found[f"{part}.{name}"] for name in names} for part in _States._fields))


def _representation_distances(cohort: Cohort, report: Callable[[float], None]) -> _States:
    runs = cohort.representations
    if len(cohort) < 2 or runs is None or not all(np.isfinite(run).all() for run in runs):
        return _States({}, {}, {})
    measures = layer_measures()
    per_example = rows_per_example(cohort)
    splits = random_splits(runs[0].shape[-2] // per_example, per_example, groups=example_groups(cohort))

    def measure(states: Any) -> Any:
        return layer_distances(states, measures, splits=splits, progress=report)

    found = _measured(cohort, measure, runs)
    return _States(found.distances, half_deviations(found.halves), found.nulls)


def _representation_values(cohort: Cohort, states: _States, resamples: Resamples, level: float) -> list[Value]:
    names = [measure.name for measure in layer_measures()]
    if not states.distances:
        return [Value(name, None, *UNKNOWN) for name in names]
    freedom = SPLITS if cohort.groups is None else min(SPLITS, _freedom(cohort))
    return [
        Value(
            name,
            layer + 1,
            *pair_interval(
                float(value), len(cohort), largest(name, cohort), resamples.of(name, freedom, layer), level=level
            ),
            null=float(states.nulls[name][layer]),
        )
        for name in names
        for layer, value in enumerate(pair_mean(states.distances[name]))
    ]
