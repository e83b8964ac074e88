"""All measures of one cohort, with intervals."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from steadytune.analysis.intervals import (
    UNKNOWN,
    jackknife_interval,
    leave_one_out_means,
    mean_interval,
    spread_interval,
    varies,
)
from steadytune.analysis.notes import prediction_notes, representation_notes, run_notes
from steadytune.analysis.value import Value
from steadytune.errors import UserError
from steadytune.measures import (
    disagreement,
    fleiss_kappa,
    jensen_shannon,
    pair_mean,
    permutation_null,
    representation_distances,
    score_spread,
)
from steadytune.records import Cohort

PREDICTION_MEASURES = ("disagreement", "kappa", "jensen_shannon")
REPRESENTATION_MEASURES = ("svcca", "procrustes", "cka")
MEASURES = ("sd", *PREDICTION_MEASURES, *REPRESENTATION_MEASURES)

_LARGEST = {"disagreement": 1.0, "jensen_shannon": math.log(2), "svcca": 1.0, "procrustes": 1.0, "cka": 2.0}

Distances = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Profile:
    """All measures of one cohort.

    Attributes:
        cohort: The runs.
        mean: Mean score with its interval, as measure "mean".
        values: The seven measures in the order of `MEASURES`; a representation measure once per layer, or once with
            layer None where no representations were compared.
        distances: Measure -> (K, K), or (L, K, K) for a representation measure; those that were compared only.
        flips: (N,) per example the share of runs that do not predict its most frequent prediction, or None.
        notes: What a reader must know before trusting a value, one sentence each.
    """

    cohort: Cohort
    mean: Value
    values: tuple[Value, ...]
    distances: Distances
    flips: NDArray[np.float64] | None
    notes: tuple[str, ...]

    def last(self, measure: str) -> Value:
        """Return a measure's value, of a representation measure that at the last layer."""
        return [value for value in self.values if value.measure == measure][-1]


def profile(cohort: Cohort) -> Profile:
    """Measure a cohort: seven measures, each with a 95 % interval.

    Only finished runs count. A cohort of one run or none has no instability: every measure is NaN, and a note says so.

    Args:
        cohort: K runs that differ in their seeds alone.

    Returns:
        The profile; see `Profile` and `intervals` for what the numbers mean and where they fall short.

    Raises:
        UserError: The arrays of the cohort do not fit together or hold NaN.
    """
    return profile_all([cohort])[0]


def profile_all(cohorts: Iterable[Cohort]) -> tuple[Profile, ...]:
    """Measure cohorts, several at the same time, each on one thread of the linear algebra library.

    Two such threads that wait for each other on a busy machine slow small decompositions by an order of magnitude.

    Args:
        cohorts: As `profile` takes them.

    Returns:
        Their profiles, in order.
    """
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(_profile, cohorts))


def _profile(cohort: Cohort) -> Profile:
    runs = len(cohort)
    sd = _measured(cohort, score_spread, cohort.scores) if runs else math.nan
    if runs > 1 and not varies(cohort.scores):
        sd = 0.0
    predictions, distances = _prediction_values(cohort)
    representations, layer_distances = _representation_values(cohort)
    return Profile(
        cohort=cohort,
        mean=Value("mean", None, *mean_interval(cohort.scores)),
        values=(Value("sd", None, *spread_interval(sd, runs)), *predictions, *representations),
        distances=distances | layer_distances,
        flips=flip_rates(cohort.predictions) if runs > 1 else None,
        notes=(
            *run_notes(cohort),
            *prediction_notes(cohort),
            *representation_notes(cohort, representations, layer_distances),
        ),
    )


def flip_rates(predictions: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
    """Return the share of runs that differ from the most frequent prediction, 1 - max_c n_nc / K, per example.

    Args:
        predictions: (K, N) predicted class, or None.

    Returns:
        (N,) within [0, 1 - 1/K], or None.
    """
    if predictions is None:
        return None
    votes = np.stack([(predictions == label).sum(axis=0) for label in np.unique(predictions)])
    rates: NDArray[np.float64] = 1 - votes.max(axis=0) / len(predictions)
    return rates


def _measured(cohort: Cohort, measure: Callable[[Any], Any], arrays: Any) -> Any:
    """Apply a measure; what it refuses is a mistake in the cohort, whose name the user knows."""
    try:
        return measure(arrays)
    except ValueError as error:
        raise UserError(f"{cohort.name or 'cohort'}: {error}") from error


def _pairwise(measure: str, layer: int | None, distances: NDArray[np.float64], null: float = math.nan) -> Value:
    interval = jackknife_interval(float(pair_mean(distances)), leave_one_out_means(distances), _LARGEST[measure])
    return Value(measure, layer, *interval, null=null)


def _prediction_values(cohort: Cohort) -> tuple[list[Value], Distances]:
    predictions, runs = cohort.predictions, len(cohort)
    if predictions is None or runs < 2:
        return [Value(measure, None, *UNKNOWN) for measure in PREDICTION_MEASURES], {}
    distances = {
        "disagreement": disagreement(predictions),
        "jensen_shannon": _measured(cohort, jensen_shannon, cohort.probabilities),
    }
    left_out = [1 - fleiss_kappa(np.delete(predictions, run, axis=0)) for run in range(runs)] if runs > 2 else []
    kappa = jackknife_interval(1 - fleiss_kappa(predictions), left_out, runs / (runs - 1))
    return [
        _pairwise("disagreement", None, distances["disagreement"]),
        Value("kappa", None, *kappa),
        _pairwise("jensen_shannon", None, distances["jensen_shannon"]),
    ], distances


def _representation_values(cohort: Cohort) -> tuple[list[Value], Distances]:
    runs = cohort.representations
    if len(cohort) > 1 and runs is None and cohort.frozen_encoder:
        return [Value(measure, None, 0.0, 0.0, 0.0) for measure in REPRESENTATION_MEASURES], {}
    if len(cohort) < 2 or runs is None or not all(np.isfinite(run).all() for run in runs):
        return [Value(measure, None, *UNKNOWN) for measure in REPRESENTATION_MEASURES], {}
    layered = [run if run.ndim == 3 else run[None] for run in runs]
    stacked = _measured(cohort, _all_representation_measures, layered)
    # One call for the three measures shuffles and factors every run once.
    nulls = permutation_null(_all_representation_measures, layered).T
    values = [
        _pairwise(measure, layer, matrix, null=float(null))
        for measure, matrices, by_layer in zip(REPRESENTATION_MEASURES, stacked, nulls, strict=True)
        for layer, (matrix, null) in enumerate(zip(matrices, by_layer, strict=True), start=1)
    ]
    return values, dict(zip(REPRESENTATION_MEASURES, stacked, strict=True))


def _all_representation_measures(representations: Any) -> NDArray[np.float64]:
    distances = representation_distances(representations)
    return np.stack([distances[measure] for measure in ("svcca", "procrustes", "linear_cka")])
