"""What `compare` decides: how often it errs on equal recipes, and how often it finds what the planner says it finds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage import draw
from steadytune.analysis import bootstrap, evaluation
from steadytune.analysis.comparison import compare as comparing
from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.comparison.power import seeds_to_detect_difference, seeds_to_detect_ratio
from steadytune.analysis.intervals import SIGNIFICANT
from steadytune.records import Cohort

EXAMPLES, PAIRS, RESAMPLES = 200, 300, 300


def equal(runs: int, generator: np.random.Generator, *, tight: bool, shared: bool) -> list[Cohort]:
    """Draw two recipes that differ by luck alone, on the same examples."""
    both = draw(2 * runs, EXAMPLES, 1, generator, tight=tight, shared=0.0)
    assert both.logits is not None
    cohorts = []
    for recipe, part in enumerate((slice(runs), slice(runs, None))):
        scores = both.scores[part]
        cohorts.append(
            Cohort(
                scores=scores,
                logits=both.logits[part],
                labels=both.labels,
                metric="accuracy",
                recipe=str(recipe),
                failed=scores <= 0.65 if tight else np.zeros(runs, bool),
                seeds=tuple(str(seed + (0 if shared else recipe * runs)) for seed in range(runs)),
            )
        )
    return cohorts


def claims(cohorts: list[Cohort]) -> dict[str, bool]:
    """Tell which differences are claimed of two recipes, and by which the plain p-value is below .05."""
    found = compare(cohorts).rows()[1].differences
    claimed = {name: found[name].p_adjusted < SIGNIFICANT for name in comparing.claims()}
    plain = {f"{name} alone": found[name].significance.p < SIGNIFICANT for name in comparing.claims()}
    return claimed | plain | {"any": any(claimed.values()), "any alone": any(plain.values())}


def errors(runs: int, **model: Any) -> dict[str, float]:
    """Return the share of pairs of equal recipes of which something is claimed."""
    generator = np.random.default_rng([runs, *map(int, model.values())])
    found = [claims(equal(runs, generator, **model)) for _ in range(PAIRS)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def scored(scores: NDArray[np.float64], recipe: str, shared: bool) -> Cohort:
    """Return a cohort of scores alone; each score in a unit of its own, so that nothing is clipped."""
    seeds = tuple(f"{'' if shared else recipe}{seed}" for seed in range(len(scores)))
    return Cohort(scores=scores, recipe=recipe, metric="my own", seeds=seeds)


def power(runs: int, *, difference: float = 0.0, ratio: float = 1.0, shared: bool = False) -> float:
    """Return the share of pairs in which the plain test finds a difference of means, or of SDs, of normal scores."""
    generator = np.random.default_rng([runs, int(10 * difference), int(10 * ratio), shared])
    measure = "mean" if difference else "sd_ratio"
    found = []
    for _ in range(PAIRS):
        scores = generator.normal(size=(2, runs)) * [[1], [ratio]] + [[0], [difference]]
        row = compare([scored(one, name, shared) for one, name in zip(scores, "ab", strict=True)]).rows()[1]
        found.append(row.differences[measure].significance.p < SIGNIFICANT)
    return float(np.mean(found))


def measure() -> tuple[list[str], bool]:
    """Print both tables; they hold if no rate of errors is far above 5 % and no power far below 80 %."""
    # With ten thousand resamples this would take hours, and say the same.
    defaults = [found.__kwdefaults__ for found in (bootstrap.resample, evaluation.evaluation_error)]
    try:
        for default in defaults:
            default["resamples"] = RESAMPLES
        return _measure()
    finally:
        for default in defaults:
            default["resamples"] = bootstrap.RESAMPLES


def _measure() -> tuple[list[str], bool]:
    lines, holds = [f"per cent of {PAIRS} pairs of equal recipes of which something is claimed"], True
    names = ("any", *comparing.claims(), "any alone")
    lines.append(f"{'':36}{'  '.join(f'{name[:9]:>9}' for name in names)}")
    for tight in (False, True):
        for shared in (False, True):
            for runs in (5, 10, 20):
                found = errors(runs, tight=tight, shared=shared)
                what = f"{'collapses' if tight else 'one kind'}, {'shared' if shared else 'own'} seeds, K = {runs}"
                lines.append(f"{what:36}{'  '.join(f'{100 * found[name]:9.1f}' for name in names)}")
                holds &= found["any"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / PAIRS)
    lines.append(f"power of the seeds told for .80, {PAIRS} pairs")
    for shared in (False, True):
        for difference in (1.0, 2.0, 3.0):
            runs = seeds_to_detect_difference(difference, 1.0, correlation=0.0 if shared else None)
            found_power = power(runs, difference=difference, shared=shared)
            lines.append(f"{difference} SDs, {'shared' if shared else 'own'} seeds, K = {runs}: {found_power:.2f}")
            holds &= found_power >= 0.74
    for ratio in (2.0, 3.0, 5.0):
        runs = seeds_to_detect_ratio(ratio)
        found_power = power(runs, ratio=ratio)
        lines.append(f"ratio {ratio}, own seeds, K = {runs}: {found_power:.2f}")
        holds &= found_power >= 0.74
    return lines, bool(holds)
