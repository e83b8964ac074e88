"""Sources of instability: new weights, order, dropout masks and the training subset.

If the seeds of a cohort form a grid, as with `steadytune run --vary init,order`, `anova` splits the variance into the
factors that vary and their interactions, for the score and for the disagreement of predictions. Fixed factors add
nothing: the components hold at their fixed values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from steadytune.analysis.anova import Component, Factors, decompose
from steadytune.analysis.intervals import Interval
from steadytune.analysis.sentences import listed, percent, score_range, score_unit, scored
from steadytune.measures import disagreement
from steadytune.measures.text import text_disagreement
from steadytune.metrics import Scale
from steadytune.records import Cohort
from steadytune.seeds import FACTORS, Seeds

# A share of the examples cannot exceed 1; a metric may lie within [-1, 1], or be in any unit.
_LARGEST = {"score": math.inf, "disagreement": 1.0}
_TOGETHER = "+"
# Interactions below this share are not named one by one: three factors have four of them.
_MINOR = 0.05
_ROUNDING = 1e-12
_WORDS = {
    "init": "new weights",
    "order": "the order of the examples",
    "dropout": "dropout masks",
    "data": "the training subset",
    "decoding": "the draws of the texts",
    "replicate": "hardware and kernels",
}


@dataclass(frozen=True)
class Components:
    """The sources of variation of one measure of one cohort.

    Attributes:
        measure: "score", whose components are variances in squares of its unit, or "disagreement", whose components
            are shares of the examples and add up to the mean disagreement of runs that share no varying seed.
        sources: The sources, main effects first; empty if the runs do not distinguish them.
        values: Factor -> how many values it takes; "init+order" is one factor made of seeds that always vary together.
        runs: K, the finished runs.
        lost: How many further runs did not finish.
        scale: Scale of the score.
    """

    measure: str
    sources: tuple[Component, ...]
    values: dict[str, int]
    runs: int
    lost: int
    scale: Scale


class ComponentRow(NamedTuple):
    """One line of components.csv, whose columns are these fields; `source` is such as "init", or "init:order"."""

    model: str
    task: str
    recipe: str
    measure: str
    source: str
    variance: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    raw: float
    freedom: int


def variance_components(cohort: Cohort) -> tuple[Components, ...]:
    """Split the variance of the score, and the disagreement, into sources.

    Args:
        cohort: Runs named by their seeds, as `Seeds.label` does. The grid may have gaps.

    Returns:
        One entry per measure that the cohort has, the score first. Empty if all seeds vary together, which leaves only
        a total, or if runs have other names. Entries have no sources if a grid was planned but its finished runs do not
        distinguish the factors.
    """
    finished = _seeds(cohort.seeds)
    if finished is None or not forms_grid(cohort):
        return ()
    levels = _levels(finished)
    distances = {}
    if np.isfinite(cohort.scores).all():
        distances["score"] = np.square(cohort.scores[:, None] - cohort.scores) / 2
    if cohort.predictions is not None:
        distances["disagreement"] = disagreement(cohort.predictions)
    elif cohort.generations is not None:
        distances["disagreement"] = text_disagreement(cohort.generations)
    return tuple(
        Components(
            measure=measure,
            sources=decompose(matrix, levels, _LARGEST[measure]) if _is_grid(levels) else (),
            values={name: len(set(values)) for name, values in levels.items()},
            runs=len(finished),
            lost=len(cohort.lost),
            scale=cohort.scale,
        )
        for measure, matrix in distances.items()
    )


def forms_grid(cohort: Cohort) -> bool:
    """Return whether the planned seeds of a cohort form a grid."""
    seeds = _seeds([*cohort.seeds, *(one.seed for one in cohort.lost)])
    return seeds is not None and _is_grid(_levels(seeds))


def component_rows(cohorts: Iterable[Cohort]) -> list[ComponentRow]:
    """Return a row per cohort, measure and source."""
    return [
        ComponentRow(
            cohort.model,
            cohort.task,
            cohort.recipe,
            found.measure,
            ":".join(source.factors),
            *source.variance,
            *source.share,
            source.raw,
            source.freedom,
        )
        for cohort in cohorts
        for found in variance_components(cohort)
        for source in found.sources
    ]


def describe_components(found: Components) -> str:
    """Describe in one or two sentences where the instability comes from, and what remains open."""
    repeats = [source for source in found.sources if "replicate" in source.factors]
    # What rounding leaves of nothing.
    most = _ROUNDING * sum(source.variance.value for source in found.sources)
    if not repeats or any(source.variance.value > most for source in repeats):
        sentence = f"{_described(found)}."
    else:
        equal = "score" if found.measure == "score" else "predictions"
        sentence = f"Runs of the same seeds have the same {equal}: hardware and kernels add nothing here."
        if others := tuple(source for source in found.sources if source not in repeats):
            sentence = f"{_described(replace(found, sources=others))}. {sentence}"
    if found.lost and found.sources:
        sentence += f" {found.lost} of {found.runs + found.lost} runs did not finish: the intervals are approximate."
    return sentence


def _described(found: Components) -> str:
    if not found.sources:
        return f"The {found.runs} finished runs of {found.runs + found.lost} do not separate the sources of luck"
    score = found.measure == "score"
    if not any(source.variance.value for source in found.sources):
        return f"All seeds give the same {'score' if score else 'predictions'}: there is nothing to split"
    if len(found.sources) == 1:
        variance = found.sources[0].variance
        alone = f"With everything else fixed, {_named(found.sources[0].factors)} alone"
        if score:
            sd = Interval(*np.sqrt(variance).tolist())
            amount = f"{scored(sd.value, found.scale)}{score_unit(found.scale)}{score_range(sd, found.scale)}"
            return f"{alone} can cause a score SD of {amount}"
        return f"{alone} can cause two runs to disagree on {_percents(variance)} of the examples"
    ranked = sorted(found.sources, key=lambda source: -source.share.value)
    minor = [source for source in ranked if len(source.factors) > 1 and source.share.value < _MINOR]
    named = [source for source in ranked if len(minor) < 2 or source not in minor]
    parts = [f"{_percents(source.share)} from {_named(source.factors)}" for source in named]
    parts[0] = parts[0].replace(" from ", " comes from ", 1)
    if len(named) < len(ranked):
        most = max(source.share.high for source in minor)
        parts.append(f"less than {percent(_MINOR)} from each other interaction, with upper ends up to {percent(most)}")
    words = f"Of the {'variance of the score' if score else 'disagreement'}, {listed(parts)}"
    if ranked[0].share.low <= max(source.share.high for source in ranked[1:]):
        # This comes first, because the numbers that follow look like a ranking.
        measure = "score's" if score else "disagreement's"
        words = f"{found.runs} runs do not show which of the {measure} sources is the largest. {words}"
    return words


def _percents(interval: Interval) -> str:
    return f"{percent(interval.value)} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _named(factors: Factors) -> str:
    names = [" with ".join(_WORDS[part] for part in factor.split(_TOGETHER)) for factor in factors]
    return names[0] if len(names) == 1 else f"how {listed(names)} interact"


def _seeds(names: Iterable[str]) -> list[Seeds] | None:
    seeds = [Seeds.from_label(name) for name in names]
    known = [one for one in seeds if one is not None]
    return known if len(known) == len(seeds) else None


def _levels(seeds: Sequence[Seeds]) -> dict[str, tuple[int, ...]]:
    """Return the seeds that vary, with their values as numbers; seeds that always vary together are one factor."""
    together: dict[tuple[int, ...], list[str]] = {}
    for factor in FACTORS:
        numbers: dict[int, int] = {}
        values = tuple(numbers.setdefault(getattr(one, factor), len(numbers)) for one in seeds)
        if len(numbers) > 1:
            together.setdefault(values, []).append(factor)
    return {_TOGETHER.join(names): values for values, names in together.items()}


def _is_grid(levels: dict[str, tuple[int, ...]]) -> bool:
    """Return whether factors can be distinguished: there are several, or one while all others are fixed."""
    return len(levels) > 1 or any(_TOGETHER not in name for name in levels)
