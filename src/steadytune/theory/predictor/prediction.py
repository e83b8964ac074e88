"""Can instability over seeds be predicted? Rank correlations, and a predictor evaluated on held-out tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from steadytune.analysis.intervals import SIGNIFICANT
from steadytune.theory.predictor.quantities import QUANTITIES
from steadytune.theory.predictor.ranks import (
    Array,
    Indices,
    correlations,
    mean_interval,
    mean_known,
    shuffles,
    task_rows,
    unit_ranks,
)

if TYPE_CHECKING:
    import pandas as pd

STRONG = 0.5
"""Mean rank correlation on held-out tasks below which a predictor predicts only weakly."""
FEWEST_COHORTS = 3
"""Fewest cohorts of a task: two points always lie on a line."""
BEST, RATE, RECIPE = "best single quantity", "learning rate × steps", "the recipe on the other tasks"
_SHUFFLES = 1999
_ROUNDING = 1e-9
_NAMES = [one.name for one in QUANTITIES]

PredictionVerdict = Literal[
    "predicts", "predicts weakly", "predicts, but no better than a baseline", "predicts nothing", "inconclusive"
]


class Correlation(NamedTuple):
    """How one quantity correlates with instability.

    Attributes:
        name: Name of the quantity.
        within: Mean over tasks of Spearman's correlation within a task; NaN if the quantity varies within none.
        low: Lower end of its 95 % interval, see `ranks.mean_interval`.
        high: Upper end.
        p: Two-sided p-value, corrected for testing all quantities: the share of shuffles in which the largest
            correlation of any quantity is at least as large. Shuffles permute instability among the cohorts of a task.
        pooled: Correlation over all cohorts of all tasks. Tasks that differ in both make it large, whatever happens
            within them; it has no interval, since that would require resampling tasks.
        tasks: Correlation in each task.
    """

    name: str
    within: float
    low: float
    high: float
    p: float
    pooled: float
    tasks: Mapping[str, float]


@dataclass(frozen=True)
class HeldOut:
    """Predictions for held-out tasks.

    Attributes:
        predicted: (n,) predicted rank of each cohort within its task, in units of `ranks.unit_ranks`; NaN if there is
            no prediction.
        tasks: Spearman's correlation with the measured instability, in each held-out task.
        p: One-sided p-value: the share of shuffles within tasks that are predicted at least as well.
        baselines: Name -> correlation in each held-out task.
        chosen: Task -> the best single quantity on the other tasks.
    """

    predicted: Array
    tasks: Mapping[str, float]
    p: float
    baselines: Mapping[str, Mapping[str, float]]
    chosen: Mapping[str, str]

    @property
    def mean(self) -> float:
        """Mean correlation over the held-out tasks."""
        return _mean(self.tasks)

    def baseline(self, name: str) -> float:
        """Return the mean correlation of a baseline over the same tasks."""
        return _mean(self.baselines[name])

    @property
    def rival(self) -> str:
        """The better of the two baselines that need no run of the cohort; a predictor must beat it."""
        return max((RATE, RECIPE), key=self.baseline)


@dataclass(frozen=True)
class Prediction:
    """How well one kind of instability can be predicted.

    Attributes:
        target: Column of the table.
        cohorts: The rows used: those with a known target, of tasks with at least three cohorts.
        correlations: One per quantity.
        held_out: None with fewer than two tasks.
        split_half: Correlation within each task between the instability of every second run and that of the others:
            how precisely half the runs measure it.
        with_first: Mean correlation on the held-out tasks if the target includes the run that gives the quantities.
    """

    target: str
    cohorts: pd.DataFrame
    correlations: tuple[Correlation, ...]
    held_out: HeldOut | None
    split_half: Mapping[str, float]
    with_first: float

    @property
    def verdict(self) -> PredictionVerdict:
        """Whether the predictor works: p is below 5 %; weakly: the mean correlation is below 0.5.

        If `HeldOut.rival` has at least as large a mean correlation, that is the verdict, whether weak or not.
        """
        if self.held_out is None or math.isnan(self.held_out.mean):
            return "inconclusive"
        if self.held_out.p >= SIGNIFICANT:
            return "predicts nothing"
        if self.held_out.mean <= self.held_out.baseline(self.held_out.rival) + _ROUNDING:
            return "predicts, but no better than a baseline"
        return "predicts" if self.held_out.mean >= STRONG else "predicts weakly"


def predict_instability(table: pd.DataFrame, target: str, *, shuffled: int = _SHUFFLES) -> Prediction:
    """Correlate quantities with instability, and predict each task's cohorts from the other tasks.

    The predictor is ridge regression on ranks within tasks: it predicts the rank of a cohort among the cohorts of its
    task. Of the held-out task it knows the quantities of all cohorts, which it ranks, but not their instability. The
    penalty is the number p of quantities: this is the ratio of the noise variance to the variance of a slope if p
    independent quantities together explain half of the variance of the ranks (derived). Nothing is tuned. A quantity is
    used if it is known for more than half of the other tasks' cohorts and varies there; unknown values take the middle
    rank.

    Args:
        table: As `cohort_table` makes it. Cohorts of several models and studies on one task are ranked together.
        target: One of `TARGETS`.
        shuffled: Number of shuffles for the p-values, which assume that without a relation the cohorts of a task are
            exchangeable. Recipes that train alike on the same seeds are not independent, so the p-values are too small.
    """
    sizes = table.dropna(subset=[target]).groupby("task")[target].transform("size")
    cohorts = table.loc[sizes.index[sizes >= FEWEST_COHORTS]].reset_index(drop=True)
    groups = task_rows(list(cohorts["task"]))
    rows = list(groups.values())

    def ranked(column: str) -> Array:
        return unit_ranks(cohorts[[column]].to_numpy(np.float64), rows)

    ranks = unit_ranks(cohorts[_NAMES].to_numpy(np.float64), rows)
    targets = shuffles(ranked(target)[:, 0], rows, shuffled)
    held_out, with_first = None, math.nan
    if len(groups) > 1:
        held_out = _held_out(cohorts, ranks, targets, groups)
        every = ranked(f"{target}_all")
        with_first = float(mean_known(_scores(_ridge(cohorts, ranks, every, rows), every, rows))[0])
    split_half = correlations(ranked(f"{target}_even"), ranked(f"{target}_odd"), rows)[:, 0, 0]
    return Prediction(
        target,
        cohorts,
        tuple(_correlations(cohorts, target, ranks, targets, groups)),
        held_out,
        dict(zip(groups, split_half.tolist(), strict=True)),
        with_first,
    )


def _correlations(
    cohorts: pd.DataFrame, target: str, ranks: Array, targets: Array, groups: Mapping[str, Indices]
) -> list[Correlation]:
    rows = list(groups.values())
    values, measured = (cohorts[columns].to_numpy(np.float64) for columns in (_NAMES, target))
    by_task = correlations(ranks, targets, rows)
    means = mean_known(by_task)
    known = np.isfinite(means[:, 0])
    largest = np.abs(means[known]).max(axis=0, initial=0)
    low, high = mean_interval(values, measured, rows)
    whole = [np.arange(len(cohorts))]
    pooled = correlations(unit_ranks(values, whole), unit_ranks(measured, whole)[:, None], whole)[0, :, 0]
    return [
        Correlation(
            name,
            float(means[i, 0]),
            float(low[i]),
            float(high[i]),
            float((largest >= abs(means[i, 0]) - _ROUNDING).mean()) if known[i] else math.nan,
            float(pooled[i]),
            dict(zip(groups, by_task[:, i, 0].tolist(), strict=True)),
        )
        for i, name in enumerate(_NAMES)
    ]


def _held_out(cohorts: pd.DataFrame, ranks: Array, targets: Array, groups: Mapping[str, Indices]) -> HeldOut:
    rows = list(groups.values())
    predicted = _ridge(cohorts, ranks, targets, rows)
    scores = mean_known(_scores(predicted, targets, rows))
    best, rate, recipe = np.zeros((3, len(ranks)))
    chosen = {}
    column = _NAMES.index("rate_times_steps")
    for task, here in groups.items():
        others = [other for other in rows if other is not here]
        found = np.nan_to_num(mean_known(correlations(ranks, targets[:, :1], others))[:, 0])
        first = int(np.abs(found).argmax())
        chosen[task] = _NAMES[first]
        best[here] = found[first] * ranks[here, first]
        rate[here] = found[column] * ranks[here, column]
        elsewhere = np.concatenate(others)
        stood = cohorts.loc[elsewhere].assign(rank=targets[elsewhere, 0] * _scale(others))
        recipe[here] = cohorts.loc[here, "recipe"].map(stood.groupby("recipe")["rank"].mean()).fillna(0.0)

    def by_task(values: Array) -> dict[str, float]:
        return dict(zip(groups, _scores(values[:, None], targets[:, :1], rows)[:, 0].tolist(), strict=True))

    return HeldOut(
        predicted[:, 0],
        by_task(predicted[:, 0]),
        float((scores >= scores[0] - _ROUNDING).mean()) if np.isfinite(scores[0]) else math.nan,
        {BEST: by_task(best), RECIPE: by_task(recipe), RATE: by_task(rate)},
        chosen,
    )


def _ridge(cohorts: pd.DataFrame, ranks: Array, targets: Array, groups: Sequence[Indices]) -> Array:
    """Predict the targets (n, m) of each group from the other groups."""
    known = cohorts[_NAMES].notna().to_numpy()
    predicted = np.zeros(targets.shape)
    for here in groups:
        others = [other for other in groups if other is not here]
        rows, scale = np.concatenate(others), _scale(others)[:, None]
        counts = ranks[rows].any(axis=0) & (known[rows].mean(axis=0) > 0.5)
        x, y = ranks[np.ix_(rows, counts)] * scale, targets[rows] * scale
        slopes = np.linalg.solve(x.T @ x + max(1, x.shape[1]) * np.eye(x.shape[1]), x.T @ y)
        predicted[here] = ranks[np.ix_(here, counts)] @ slopes
    return predicted


def _scale(groups: Sequence[Indices]) -> Array:
    """Return the factor that makes the mean square of unit ranks 1 in each group, one number per row."""
    return np.concatenate([np.full(len(rows), math.sqrt(len(rows))) for rows in groups])


def _scores(predicted: Array, targets: Array, groups: Sequence[Indices]) -> Array:
    """Return Spearman's correlations (groups, m), column by column: 0 for a constant prediction.

    NaN if the target does not vary.
    """
    ranks = unit_ranks(np.round(predicted, 12), groups)
    found = np.stack([(ranks[rows] * targets[rows]).sum(axis=0) for rows in groups])
    varies = np.stack([targets[rows].any(axis=0) for rows in groups])
    return np.where(varies, np.clip(found, -1, 1), np.nan)


def _mean(values: Mapping[str, float]) -> float:
    return float(mean_known(np.array(list(values.values())))) if values else math.nan
