"""All pairs of runs at all layers against a plain loop over pairs, on the same states, in one process.

Times are seconds of the processor, both sides have one thread, and so has every library. A busy machine then slows
both sides, but more the one whose matrices just fit into the caches. The plain loop is timed on a sample of pairs
spread over runs and layers, and scaled up to all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.made_states import Spectrum, make_runs
from benchmarks.plain_measures import all_three
from steadytune.measures import layer_distances, representation_distances
from steadytune.measures.distances import measure_pair
from steadytune.measures.factors import factor


class Case(NamedTuple):
    """What is measured, what the ratio is claimed to be at least, and what it was aimed at."""

    runs: int
    layers: int
    examples: int
    features: int
    spectrum: Spectrum
    least: float
    aim: float
    sampled: int


CASES = [
    Case(20, 13, 277, 768, "recorded", 28, 40, 12),
    Case(20, 13, 277, 768, "variance 1/k", 28, 40, 12),
    Case(20, 1, 1043, 1024, "recorded", 8, 15, 8),
    Case(20, 1, 1043, 1024, "variance 1/k", 10, 15, 8),
]
ACCURACY = 1e-8
TOLERANCES = (1e-3, 1e-2)


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether every ratio and the accuracy are as claimed."""
    lines, holds = [], True
    with threadpool_limits(limits=1, user_api="blas"):
        for case in CASES:
            more, fine = _measure_case(case)
            lines += more
            holds &= fine
    return lines, holds


def _measure_case(case: Case) -> tuple[list[str], bool]:
    runs, layers, examples, features, spectrum, least, aim, sampled = case
    states = make_runs(runs, layers, examples, features, spectrum=spectrum)
    pairs = [(i, j, layer) for layer in range(layers) for i, j in combinations(range(runs), 2)]
    chosen = [pairs[at] for at in np.linspace(0, len(pairs) - 1, sampled).astype(int)]
    half = len(chosen) // 2
    # The plain loop runs before and after, so that a change of the machine's speed shows.
    before = [_plain(states, pair) for pair in chosen[:half]]
    mine, found = timed(lambda: representation_distances(states, threads=1))
    after = [_plain(states, pair) for pair in chosen[half:]]
    plain = float(np.mean([seconds for seconds, _ in before + after])) * len(pairs)
    wrong = max(
        abs(value - found[name][layer, i, j])
        for (i, j, layer), (_, values) in zip(chosen, before + after, strict=True)
        for name, value in values.items()
    )
    ratio = plain / mine
    lines = [
        f"{runs} runs x {layers} layers x {examples} examples x {features} features, {spectrum}, {len(pairs)} pairs, "
        f"one thread, load {os.getloadavg()[0]:.1f}",
        f"  plain loop   {plain:8.1f} s of the processor ({sampled} pairs timed, scaled to all)",
        f"  steadytune   {mine:8.1f} s   ratio {ratio:.1f}, claimed at least {least}; aimed at {aim}: "
        f"{'reached' if ratio >= aim else 'missed'}",
        f"  largest difference {wrong:.1e}, claimed at most {ACCURACY:.0e}",
        *_limits(states, mine / len(pairs)),
    ]
    for tolerance in TOLERANCES:
        seconds, cut = timed(lambda tolerance=tolerance: layer_distances(states, tolerance=tolerance, threads=1))
        error = max(float(np.abs(cut.distances[name] - found[name]).max()) for name in found)
        bound = max(float(by_layer.max()) for by_layer in cut.bounds.values())
        lines.append(
            f"  tolerance {tolerance:.0e} {seconds:8.1f} s   ratio {plain / seconds:.1f}, "
            f"certified {bound:.1e}, true error {error:.1e}"
        )
    return lines, ratio >= least and wrong <= ACCURACY


def _plain(states: NDArray[np.float16], pair: tuple[int, int, int]) -> tuple[float, dict[str, float]]:
    i, j, layer = pair
    return timed(lambda: all_three(states[i, layer], states[j, layer]))


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = task()
    return time.process_time() - started, result


def _limits(states: NDArray[np.float16], pair: float) -> list[str]:
    """Say what the parts of a pair take, and at what rate the products run: states, and seconds for a pair."""
    centred = [run - run.mean(axis=0) for run in states[:6, 0].astype(np.float64)]
    factors = [factor(run / np.linalg.norm(run)) for run in centred]
    scaled = [one.scaled for one in factors]
    examples, rank = scaled[0].shape
    # Pairs in turn, so that no pair finds its factors in the cache as a repeated product would.
    neighbours = list(pairwise(scaled)) * 3
    product = min(timed(lambda one=one, other=other: one.T @ other)[0] for one, other in neighbours)
    cores = [one.T @ other for one, other in pairwise(scaled)]
    square = min(timed(lambda core=core: core @ core.T)[0] for core in cores * 3)
    grams = [core @ core.T for core in cores]
    eigenvalues = min(timed(lambda gram=gram: np.linalg.eigvalsh(gram))[0] for gram in grams * 3)
    procrustes = min(
        timed(lambda one=one, other=other: measure_pair(one, other, ["procrustes"], 0.0))[0]
        for one, other in list(pairwise(factors)) * 3
    )
    rest = procrustes - product - square - eigenvalues
    best = _product_rate(rank)
    rate = 2 * rank**2 * examples / product
    return [
        f"  of {pair * 1e3:.1f} ms for a pair: product {product * 1e3:.2f}, its square {square * 1e3:.2f}, its "
        f"eigenvalues {eigenvalues * 1e3:.2f}, rest of Procrustes {rest * 1e3:.2f}",
        f"  the product runs at {rate / 1e9:.0f} of the {best / 1e9:.0f} GFLOP/s of this machine ({rate / best:.0%}); "
        f"both products are {(product + square) / pair:.0%} of the time",
        f"  limit: the eigenvalues, {eigenvalues / pair:.0%} of the time: most of their operations are a reduction to "
        "tridiagonal form, half of which are products of a matrix with a vector",
    ]


def _product_rate(size: int) -> float:
    """Return the floating-point operations per second of a square product of this size."""
    matrix = np.random.default_rng(0).standard_normal((size, size))
    return 2 * size**3 / min(timed(lambda: matrix @ matrix.T.copy())[0] for _ in range(10))
