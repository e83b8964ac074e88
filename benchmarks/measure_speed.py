"""All pairs of runs at all layers against a plain loop over pairs, on the same states, in one process.

Times are seconds of the processor, both sides have one thread, and so has every library. A busy machine then slows
both sides, but more the one whose matrices just fit into the caches. The plain loop is timed on a sample of pairs
spread over runs and layers, and scaled up to all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.made_states import make_runs
from benchmarks.plain_measures import all_three
from steadytune.measures import layer_distances, representation_distances

# runs, layers, examples, features, least ratio, pairs of the plain loop that are timed
CASES = [(20, 13, 277, 768, 40, 12), (20, 1, 1043, 1024, 15, 8)]
ACCURACY = 1e-8
TOLERANCES = (1e-3, 1e-2)


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether every ratio and the accuracy are as claimed."""
    lines, holds = [], True
    with threadpool_limits(limits=1, user_api="blas"):
        for case in CASES:
            more, fine = _measure_case(*case)
            lines += more
            holds &= fine
    return lines, holds


def _measure_case(
    runs: int, layers: int, examples: int, features: int, least: float, sampled: int
) -> tuple[list[str], bool]:
    states = make_runs(runs, layers, examples, features)
    pairs = [(i, j, layer) for layer in range(layers) for i, j in combinations(range(runs), 2)]
    chosen = [pairs[at] for at in np.linspace(0, len(pairs) - 1, sampled).astype(int)]
    half = len(chosen) // 2
    # The plain loop runs before and after, so that a change of the machine's speed shows.
    before = [_plain(states, pair) for pair in chosen[:half]]
    mine, found = _seconds(lambda: representation_distances(states, threads=1))
    after = [_plain(states, pair) for pair in chosen[half:]]
    plain = float(np.mean([seconds for seconds, _ in before + after])) * len(pairs)
    wrong = max(
        abs(value - found[name][layer, i, j])
        for (i, j, layer), (_, values) in zip(chosen, before + after, strict=True)
        for name, value in values.items()
    )
    ratio = plain / mine
    rank = min(examples - 1, features)
    products = len(pairs) * 3 * rank**2 * examples
    rate = _product_rate(rank)
    lines = [
        f"{runs} runs x {layers} layers x {examples} examples x {features} features, {len(pairs)} pairs, one thread",
        f"  plain loop   {plain:8.1f} s of the processor ({sampled} pairs timed, scaled to all)",
        f"  steadytune   {mine:8.1f} s   ratio {ratio:.1f}, claimed at least {least}",
        f"  largest difference {wrong:.1e}, claimed at most {ACCURACY:.0e}",
        f"  products alone at this machine's rate of {rate / 1e9:.0f} GFLOP/s: {products / rate:.1f} s, "
        f"{products / rate / mine:.0%} of the time",
        f"  of a pair's time, eigenvalues take {_eigenvalue_seconds(rank) * len(pairs) / mine:.0%}: half of their "
        "operations are products of a matrix with a vector, bound by memory",
    ]
    for tolerance in TOLERANCES:
        seconds, cut = _seconds(lambda tolerance=tolerance: layer_distances(states, tolerance=tolerance, threads=1))
        error = max(float(np.abs(cut.distances[name] - found[name]).max()) for name in found)
        bound = max(float(by_layer.max()) for by_layer in cut.bounds.values())
        lines.append(
            f"  tolerance {tolerance:.0e} {seconds:8.1f} s   ratio {plain / seconds:.1f}, "
            f"certified {bound:.1e}, true error {error:.1e}"
        )
    return lines, ratio >= least and wrong <= ACCURACY


def _plain(states: NDArray[np.float16], pair: tuple[int, int, int]) -> tuple[float, dict[str, float]]:
    i, j, layer = pair
    return _seconds(lambda: all_three(states[i, layer], states[j, layer]))


def _seconds(task: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = task()
    return time.process_time() - started, result


def _product_rate(size: int) -> float:
    """Return the floating-point operations per second of a square product of this size."""
    matrix = np.random.default_rng(0).standard_normal((size, size))
    return 2 * size**3 / min(_seconds(lambda: matrix @ matrix.T.copy())[0] for _ in range(10))


def _eigenvalue_seconds(size: int) -> float:
    matrix = np.random.default_rng(0).standard_normal((size, size))
    return min(_seconds(lambda: np.linalg.eigvalsh(matrix @ matrix.T))[0] for _ in range(5))
