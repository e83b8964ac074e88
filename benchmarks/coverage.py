"""How often 95 % intervals hold the truth: where examples form groups, where runs collapse, and of regressions.

The populations are those of the docstring of `analysis.intervals`. An example has a margin, drawn with a part that its
group shares (SD 1.6 logits); a run moves along a direction and adds a little of its own. The truth is the mean of a
measure over other cohorts of as many runs and groups, of the SD the root of the mean square.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steadytune.analysis.anova import decompose
from steadytune.analysis.bootstrap import resample
from steadytune.analysis.grouping import count_groups
from steadytune.analysis.intervals import mean_interval, pair_interval, spread_interval
from steadytune.analysis.profile import prediction_values
from steadytune.analysis.scores import possible_scores
from steadytune.analysis.tables import outputs_of, pair_tables
from steadytune.records import Cohort

GROUP_SD = 1.6
COLLAPSES = 1 / 7
COHORTS, TRUTHS, RESAMPLES = 400, 1500, 300
CLASSES = ("mean", "sd", "disagreement", "kappa", "jensen_shannon")
TARGETS = ("mean", "sd", "prediction_rmse", "prediction_correlation", "icc")


def draw(
    runs: int, groups: int, size: int, generator: np.random.Generator, *, tight: bool = False, shared: float = GROUP_SD
) -> Cohort:
    """Draw a cohort of two classes; tight runs collapse one time in seven."""
    examples = groups * size
    members = np.repeat(np.arange(groups), size)
    margin = 1.2 + shared * generator.normal(size=groups)[members] + generator.normal(size=examples)
    labels = (generator.random(examples) < 0.6).astype(int)
    quality = generator.normal(size=(runs, 1))
    if tight:
        right = margin + 0.05 * generator.normal(size=(runs, examples))
    else:
        right = margin + 0.15 * quality + 0.5 * generator.normal(size=(runs, examples))
    towards = np.where(labels == 1, right, -right)
    if tight:
        towards[generator.random(runs) < COLLAPSES] = 3.0
    logits = np.stack([-towards / 2, towards / 2], axis=-1)
    scores = (logits.argmax(axis=-1) == labels).mean(axis=1)
    return Cohort(scores=scores, logits=logits, labels=labels, metric="accuracy", groups=None if size == 1 else members)


def draw_regression(
    runs: int, groups: int, size: int, generator: np.random.Generator, *, tight: bool = False, metric: str = "pearson"
) -> Cohort:
    """Draw a cohort of a regression on targets of variance 1; tight runs collapse to a number one time in seven."""
    examples = groups * size
    members = np.repeat(np.arange(groups), size)
    targets = generator.normal(size=examples)
    hardness = 0.4 * generator.normal(size=groups)[members] + 0.4 * generator.normal(size=examples)
    scale = 1 + 0.05 * generator.normal(size=(runs, 1))
    noise = 0.05 if tight else 0.25
    numbers = scale * (0.8 * targets + hardness) + noise * generator.normal(size=(runs, examples))
    if tight:
        collapsed = generator.random(runs) < COLLAPSES
        numbers[collapsed] = 1e-3 * generator.normal(size=(int(collapsed.sum()), examples))
    return Cohort(
        logits=numbers[..., None],
        labels=targets,
        kind="regression",
        metric=metric,
        groups=None if size == 1 else members,
    )


def values(cohort: Cohort) -> dict[str, float]:
    """Measure a cohort."""
    outputs = outputs_of(cohort)
    found = prediction_values(outputs, pair_tables(outputs), len(cohort))
    return found | {"mean": float(cohort.scores.mean()), "sd": float(cohort.scores.std(ddof=1))}


def held(cohort: Cohort, truth: dict[str, float], seed: int) -> list[bool]:
    """Tell for each measure whether its interval holds the truth."""
    runs, freedom = len(cohort), count_groups(cohort) - 1
    drawn = resample(cohort, {}, {}, resamples=RESAMPLES, seed=seed)
    seen = values(cohort)
    lowest, highest = possible_scores(cohort)
    intervals = {
        "mean": mean_interval(cohort.scores, drawn.of("mean", freedom), lowest, highest),
        "sd": spread_interval(seen["sd"], runs, drawn.of("sd", freedom), (highest - lowest) / 2),
    }
    for name in list(truth)[2:]:
        largest = math.inf if name == "prediction_rmse" else 2.0
        intervals[name] = pair_interval(seen[name], runs, largest, drawn.of(name, freedom))
    return [intervals[name].low <= truth[name] <= intervals[name].high for name in truth]


def coverage(
    runs: int,
    groups: int,
    size: int,
    *,
    known: bool = True,
    drawn: Callable[..., Cohort] = draw,
    measures: Sequence[str] = CLASSES,
    **model: Any,
) -> dict[str, float]:
    """Return the share of cohorts whose intervals hold the truth, by measure.

    Args:
        runs: K.
        groups: Groups of examples.
        size: Examples of each.
        known: Whether the intervals know of the groups.
        drawn: Draws a cohort, of which `measures` are the measures.
        measures: "mean", "sd" and what pairs of runs have.
        model: As `drawn` takes it.
    """
    generator = np.random.default_rng([runs, groups, size])
    others = [drawn(runs, groups, size, generator, **model) for _ in range(TRUTHS)]
    seen = [values(cohort) for cohort in others]
    truth = {name: float(np.mean([one[name] for one in seen])) for name in measures}
    truth["sd"] = math.sqrt(np.mean([one["sd"] ** 2 for one in seen]))
    rates = []
    for seed in range(COHORTS):
        cohort = drawn(runs, groups, size, generator, **model)
        rates.append(held(cohort if known else dataclasses.replace(cohort, groups=None), truth, seed))
    return dict(zip(measures, np.mean(rates, axis=0).tolist(), strict=True))


def regressions(metric: str = "pearson") -> dict[tuple[int, str], dict[str, float]]:
    """Return the coverage of the intervals of regressions, by number of runs and population."""
    given = {"drawn": draw_regression, "measures": TARGETS, "metric": metric}
    found = {}
    for runs in (5, 10, 20):
        found[runs, "regression, 300 examples"] = coverage(runs, 300, 1, **given)
        found[runs, "regression, 60 groups of 8"] = coverage(runs, 60, 8, **given)
        found[runs, "regression, 1 in 7 collapses"] = coverage(runs, 300, 1, tight=True, **given)
    return found


def measure() -> tuple[list[str], bool]:
    """Print the table; it holds if intervals that know of many groups cover the truth, and others fall short."""
    lines = [f"per cent of {COHORTS} cohorts{'':24}{'  '.join(f'{name[:8]:>8}' for name in CLASSES)}"]
    found = {}
    for runs in (5, 10):
        for name, settings in {
            "60 groups of 8": {"groups": 60, "size": 8},
            "the same, groups unknown": {"groups": 60, "size": 8, "known": False},
            "20 groups of 8": {"groups": 20, "size": 8},
            "10 groups of 16": {"groups": 10, "size": 16},
            "480 examples": {"groups": 480, "size": 1},
        }.items():
            found[runs, name] = coverage(runs, **settings)
    for runs in (5, 10, 20):
        found[runs, "tight, 1 in 7 collapses"] = coverage(runs, groups=300, size=1, tight=True)
    lines += [_line(name, rates) for name, rates in found.items()]
    lines.append(f"{'':44}{'  '.join(f'{name[:8]:>8}' for name in ('mean', 'sd', 'rmse', '1 - r', '1 - icc'))}")
    lines += [_line(name, rates) for name, rates in regressions().items()]
    holds = found[10, "60 groups of 8"]["mean"] > 0.9 > found[10, "the same, groups unknown"]["mean"]
    return lines, bool(holds)


def _line(name: tuple[int, str], rates: dict[str, float]) -> str:
    cells = "  ".join(f"{100 * rate:8.0f}" for rate in rates.values())
    return f"{f'K = {name[0]:2d}, {name[1]}':44}{cells}"


def components(values: int, tail: float, grids: int = 400) -> dict[str, float]:
    """Return how often the intervals of three equal variance components hold the truth on grids of two factors.

    Args:
        values: Values of each factor.
        tail: Degrees of freedom of the Student distribution that all effects follow, scaled to variance 1.
        grids: How many grids are drawn.
    """
    generator = np.random.default_rng([values, int(10 * min(tail, 1e6))])
    levels = {"init": np.repeat(np.arange(values), values).tolist(), "order": list(range(values)) * values}
    held_by: dict[str, list[bool]] = {}
    for _ in range(grids):
        rows, columns, rest = (
            generator.standard_t(tail, size=shape) / math.sqrt(tail / (tail - 2))
            for shape in ((values, 1), (1, values), (values, values))
        )
        scores = (rows + columns + rest).ravel()
        for source in decompose(np.square(scores[:, None] - scores) / 2, levels):
            held_by.setdefault(":".join(source.factors), []).append(
                bool(source.variance.low <= 1 <= source.variance.high)
            )
    return {name: float(np.mean(each)) for name, each in held_by.items()}
