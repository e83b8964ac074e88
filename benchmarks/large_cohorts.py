"""What a profile of many examples or many runs costs, against factoring every half from its rows in double precision.

The old way is the one that small cohorts are still measured in: the limits from which on the short cuts are taken are
set out of reach. Times are seconds of the processor with one thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.made_states import make_runs
from benchmarks.measure_speed import timed
from steadytune.analysis.bootstrap import resample
from steadytune.analysis.half_sampling import half_deviations, random_splits
from steadytune.analysis.tables import outputs_of
from steadytune.measures import base, factors, layer_distances
from steadytune.records import Cohort

RUNS, EXAMPLES, FEATURES = 5, 20_000, 384
MANY_RUNS, RESAMPLES = 100, 400
LEAST_STATES, LEAST_RESAMPLES, ACCURACY, DRAWS_ACCURACY = 3.0, 1.5, 1e-9, 1e-6


@contextmanager
def old_way() -> Iterator[None]:
    """Take no short cut."""
    kept = factors.LARGE, base.LARGE_TABLE
    factors.LARGE = base.LARGE_TABLE = sys.maxsize
    try:
        yield
    finally:
        factors.LARGE, base.LARGE_TABLE = kept


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether every ratio and error is as claimed."""
    with threadpool_limits(limits=1, user_api="blas"):
        lines, holds = _states()
        more, fine = _resampling()
    return [*lines, *more], holds and fine


def _both_ways(task: Any) -> tuple[float, Any, float, Any]:
    short, found = timed(task)
    with old_way():
        long, expected = timed(task)
    return short, found, long, expected


def _states() -> tuple[list[str], bool]:
    states, splits = make_runs(RUNS, 1, EXAMPLES, FEATURES), random_splits(EXAMPLES)
    short, found, long, expected = _both_ways(lambda: layer_distances(states, splits=splits, threads=1))
    wrong = max(
        float(np.abs(part[name] - whole[name]).max())
        for part, whole in ((found.distances, expected.distances), (found.nulls, expected.nulls))
        for name in part
    )
    deviations, exactly = half_deviations(found.halves), half_deviations(expected.halves)
    halves = max(float(np.abs(deviations[name] - exactly[name]).max()) for name in deviations)
    return [
        f"{RUNS} runs x {EXAMPLES} examples x {FEATURES} features, with nulls and {len(splits)} splits, one thread, "
        f"load {os.getloadavg()[0]:.1f}",
        f"  from rows    {long:8.1f} s of the processor",
        f"  steadytune   {short:8.1f} s   ratio {long / short:.1f}, claimed at least {LEAST_STATES}",
        f"  largest difference of distances {wrong:.1e}, claimed at most {ACCURACY:.0e}; of deviations of halves "
        f"{halves:.1e}, claimed at most {DRAWS_ACCURACY:.0e}",
    ], long / short >= LEAST_STATES and wrong <= ACCURACY and halves <= DRAWS_ACCURACY


def _resampling() -> tuple[list[str], bool]:
    generator = np.random.default_rng(0)
    shared = 2 * generator.standard_normal((EXAMPLES, 2))
    logits = np.float32(shared + 0.5 * generator.standard_normal((MANY_RUNS, EXAMPLES, 2)))
    cohort = Cohort(logits=logits, labels=shared.argmax(axis=1), metric="accuracy")
    outputs = outputs_of(cohort)
    # The divergences of all pairs are computed once, and cost the same either way.
    resample(cohort, {}, {}, outputs=outputs, resamples=2)
    short, found, long, expected = _both_ways(
        lambda: resample(cohort, {}, {}, outputs=outputs, resamples=RESAMPLES).both
    )
    wrong = max(float(np.abs(found[name] / expected[name] - 1).max()) for name in expected)
    return [
        f"{RESAMPLES} resamples of {MANY_RUNS} runs on {EXAMPLES} examples",
        f"  in double precision {long:8.1f} s of the processor",
        f"  steadytune          {short:8.1f} s   ratio {long / short:.1f}, claimed at least {LEAST_RESAMPLES}",
        f"  largest relative difference {wrong:.1e}, claimed at most {DRAWS_ACCURACY:.0e}",
    ], long / short >= LEAST_RESAMPLES and wrong <= DRAWS_ACCURACY
