"""All pairs of runs, layer by layer: factor every run once, then measure every pair, on several threads.

Only one layer of all runs is in memory as float64 at a time. Each thread uses one thread of the linear algebra library:
two such threads that wait for each other on a busy machine slow small decompositions by an order of magnitude.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from .base import LayerMeasure
from .distances import Distance, measure_pair
from .factors import Factors, factor_run
from .halves import HALF_RUNS, Halved, Split
from .inputs import Float64Array, to_array
from .pairs import pair_mean

# A null needs fewer pairs than a measurement.
NULL_RUNS = 5


class Layered(NamedTuple):
    """The runs of every layer, not yet converted, and whether they were given as a stack of layers."""

    layers: list[list[Any]]
    stacked: bool


class Measured(NamedTuple):
    """Results for all layers.

    Attributes:
        distances: Shape (measures, L, K, K).
        nulls: Shape (measures, L): the pair mean of a few runs with rows shuffled; NaN if none were asked for.
        bounds: Shape (measures, L): largest possible error of either.
        halves: Shape (measures, S, 2, L): the pair mean of a few runs on both halves of every split.
    """

    distances: Float64Array
    nulls: Float64Array
    bounds: Float64Array
    halves: Float64Array


def read_layers(representations: Any) -> Layered:
    """Split representations into the runs of every layer, without converting them.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    runs = [run if hasattr(run, "detach") else to_array(run, "representations") for run in representations]
    if not runs:
        raise ValueError("representations must contain at least one run")
    for k, run in enumerate(runs):
        if run.ndim not in {2, 3} or 0 in run.shape:
            raise ValueError(
                f"representations of a run must have shape (N, D) or (L, N, D) and not be empty, "
                f"but run {k} has {tuple(run.shape)}"
            )
        if run.shape[:-1] != runs[0].shape[:-1]:
            raise ValueError(
                f"every run must have the same layers and examples: run {k} has shape {tuple(run.shape)}, "
                f"run 0 has {tuple(runs[0].shape)}"
            )
    if runs[0].ndim == 2:
        return Layered([runs], stacked=False)
    return Layered([[run[layer] for run in runs] for layer in range(len(runs[0]))], stacked=True)


def shuffles(layered: Layered, seed: int) -> list[Any]:
    """Return an order of the examples for each of the first few runs, the same at all layers."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(len(run)) for run in layered.layers[0][:NULL_RUNS]]


def measure_layers(
    layered: Layered,
    measures: Sequence[LayerMeasure],
    *,
    published: bool = False,
    null_seed: int | None = None,
    splits: Sequence[Split] = (),
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
    tolerance: float = 0.0,
) -> Measured:
    """Measure all pairs at all layers.

    Args:
        layered: The runs.
        measures: Measures to compute.
        published: Whether runs are factored for the published definition of SVCCA.
        null_seed: Seed of the shuffles for the nulls; None to skip them.
        splits: S splits of the examples, each into the rows of two halves, which are measured as well.
        threads: How many threads; by default one per processor.
        progress: Called with the share of the work done.
        tolerance: Allowed error of measures with a `gap`.
    """
    layers, runs = layered.layers, len(layered.layers[0])
    orders = [] if null_seed is None else shuffles(layered, null_seed)
    result = Measured(
        distances=np.full((len(measures), len(layers), runs, runs), np.nan),
        nulls=np.full((len(measures), len(layers)), np.nan),
        bounds=np.zeros((len(measures), len(layers))),
        halves=np.full((len(measures), len(splits), 2, len(layers)), np.nan),
    )
    steps = len(layers) * (1 + runs * (runs - 1) // 2 + len(orders) * (len(orders) - 1) // 2 + len(splits))
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / steps)

    defined = [at for at, one in enumerate(measures) if len(layers[0][0]) >= one.least_examples]

    def all_pairs(factors: list[Factors | None]) -> tuple[Float64Array, Float64Array]:
        """Return distances of shape (measures, K, K) and bounds of shape (measures,)."""
        distances = np.full((len(measures), len(factors), len(factors)), np.nan)
        distances[:, range(len(factors)), range(len(factors))] = 0
        bounds = np.zeros(len(measures))
        pairs = list(combinations(range(len(factors)), 2))
        asked = [measures[at] for at in defined]

        def measure(pair: tuple[int, int]) -> list[Distance]:
            return measure_pair(factors[pair[0]], factors[pair[1]], asked, tolerance)

        for (i, j), measured in zip(pairs, pool.map(measure, pairs), strict=True):
            for at, distance in zip(defined, measured, strict=True):
                distances[at, i, j] = distances[at, j, i] = distance.value
                bounds[at] = max(bounds[at], distance.bound)
            step()
        return distances, bounds

    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for at, layer in enumerate(layers):
            places = [_place(k, at, layered.stacked) for k in range(runs)]
            factors = list(pool.map(lambda run, place: factor_run(run, place, published), layer, places))
            step()
            result.distances[:, at], result.bounds[:, at] = all_pairs(factors)
            if orders:
                shuffled = [run and run.shuffled(order) for run, order in zip(factors, orders, strict=False)]
                nulls, bounds = all_pairs(shuffled)
                result.nulls[:, at] = pair_mean(nulls)
                result.bounds[:, at] = np.maximum(result.bounds[:, at], bounds)
            if splits:
                halved = Halved(layer[:HALF_RUNS], factors[:HALF_RUNS], places, measures, splits)
                for split, both in enumerate(pool.map(halved.measure, splits)):
                    result.halves[:, split, :, at] = both
                    step()
    return result


def _place(run: int, layer: int, stacked: bool) -> str:
    return f"representations of run {run}, layer {layer}" if stacked else f"representations of run {run}"
