"""How often 95 % intervals hold the truth where examples form groups, and where runs collapse.

The populations are those of the docstring of `analysis.intervals`. An example has a margin, drawn with a part that its
group shares (SD 1.6 logits); a run moves along a direction and adds a little of its own. The truth is the mean of a
measure over other cohorts of as many runs and groups, of the SD the root of the mean square.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from steadytune.analysis.anova import decompose
from steadytune.analysis.bootstrap import resample
from steadytune.analysis.grouping import count_groups
from steadytune.analysis.intervals import mean_interval, pair_interval, spread_interval
from steadytune.analysis.tables import pair_tables
from steadytune.measures import fleiss_kappa, pair_mean
from steadytune.records import Cohort

GROUP_SD = 1.6
COLLAPSES = 1 / 7
COHORTS, TRUTHS, RESAMPLES = 400, 1500, 300
MEASURES = ("mean", "sd", "disagreement", "kappa", "jensen_shannon")


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


def values(cohort: Cohort, tables: Any) -> dict[str, float]:
    """Measure a cohort."""
    found = {name: float(pair_mean(table.distances())) for name, table in tables.items()}
    assert cohort.predictions is not None
    return found | {
        "kappa": 1 - fleiss_kappa(cohort.predictions),
        "mean": float(cohort.scores.mean()),
        "sd": float(cohort.scores.std(ddof=1)),
    }


def held(cohort: Cohort, truth: dict[str, float], seed: int) -> list[bool]:
    """Tell for each measure whether its interval holds the truth."""
    tables, runs, freedom = pair_tables(cohort), len(cohort), count_groups(cohort) - 1
    drawn = resample(cohort, tables, {}, {}, resamples=RESAMPLES, seed=seed)
    seen = values(cohort, tables)
    intervals = {
        "mean": mean_interval(cohort.scores, drawn.of("mean", freedom), 0, 1),
        "sd": spread_interval(seen["sd"], runs, drawn.of("sd", freedom), 0.5),
    }
    for name in MEASURES[2:]:
        intervals[name] = pair_interval(seen[name], runs, 2.0, drawn.of(name, freedom))
    return [intervals[name].low <= truth[name] <= intervals[name].high for name in MEASURES]


def coverage(runs: int, groups: int, size: int, *, known: bool = True, **model: Any) -> dict[str, float]:
    """Return the share of cohorts whose intervals hold the truth, by measure.

    Args:
        runs: K.
        groups: Groups of examples.
        size: Examples of each.
        known: Whether the intervals know of the groups.
        model: As `draw` takes it.
    """
    generator = np.random.default_rng([runs, groups, size])
    others = [draw(runs, groups, size, generator, **model) for _ in range(TRUTHS)]
    seen = [values(cohort, pair_tables(cohort)) for cohort in others]
    truth = {name: float(np.mean([one[name] for one in seen])) for name in MEASURES}
    truth["sd"] = math.sqrt(np.mean([one["sd"] ** 2 for one in seen]))
    rates = []
    for seed in range(COHORTS):
        cohort = draw(runs, groups, size, generator, **model)
        rates.append(held(cohort if known else dataclasses.replace(cohort, groups=None), truth, seed))
    return dict(zip(MEASURES, np.mean(rates, axis=0).tolist(), strict=True))


def measure() -> tuple[list[str], bool]:
    """Print the table; it holds if intervals that know of many groups cover the truth, and others fall short."""
    lines = [f"per cent of {COHORTS} cohorts{'':24}{'  '.join(f'{name[:8]:>8}' for name in MEASURES)}"]
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
    for (runs, name), rates in found.items():
        cells = "  ".join(f"{100 * rates[measure]:8.0f}" for measure in MEASURES)
        lines.append(f"{f'K = {runs:2d}, {name}':44}{cells}")
    holds = found[10, "60 groups of 8"]["mean"] > 0.9 > found[10, "the same, groups unknown"]["mean"]
    return lines, bool(holds)


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
