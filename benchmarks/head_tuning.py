"""Leave-one-out of 2,490 examples by full-batch gradient descent, all heads at once, against loops of single fits.

All take 500 steps from zero on the same single-precision features of MiniLM. Times are seconds of the processor; both
sides have one thread. A loop is timed on a few fits before and a few after, and scaled up to all.

The claim is about the loop that one writes: a linear layer with an output per class, cross-entropy, SGD. It does the
work of two columns where one is enough, and so does not read well as a limit: beside it stand the same descent with
one output, and with its steps written out, without autograd and optimizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.approximate_loo import minilm_features
from benchmarks.measure_speed import timed
from steadytune.linear.fit import fit_heads
from steadytune.linear.smoothness import smoothness

EXAMPLES, STEPS = 2490, 500
LEAST, LEAST_SHARE = 15, 0.6
CLOSE = 1e-4
FITS = 3
COLUMNS = 512

Fit = Callable[[Tensor, Tensor, float, int], Tensor]


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether ratio, rate and weights are as claimed."""
    torch.set_num_threads(1)
    made, classes = minilm_features(EXAMPLES)
    features, labels = torch.from_numpy(made).float(), torch.from_numpy(classes)
    rate = 1 / smoothness(features, bias=False)
    examples = np.linspace(0, EXAMPLES - 1, 2 * FITS).astype(int).tolist()
    loops: dict[str, Fit] = {
        "linear layer, cross-entropy, SGD": _layer_of_two,
        "linear layer with one output": _layer_of_one,
        "steps written out": _written_out,
    }
    for fit in loops.values():
        fit(features, labels, rate, 5)
    fits = {name: [_without(i, features, labels, rate, fit) for i in examples[:FITS]] for name, fit in loops.items()}
    best = _square_rate()
    mine, found = timed(
        lambda: fit_heads(features, labels, learning_rate=rate, epochs=STEPS, bias=False, left_out=range(EXAMPLES))
    )
    best = max(best, _square_rate())
    lines, ratios, wrong = [], [], 0.0
    for name, fit in loops.items():
        fits[name] += [_without(i, features, labels, rate, fit) for i in examples[FITS:]]
        loop = float(np.mean([seconds for seconds, _ in fits[name]])) * EXAMPLES
        ratios.append(loop / mine)
        lines.append(f"  loop: {name:<34} {loop:7.1f} s of the processor   ratio {loop / mine:5.1f}")
        for i, (_, weight) in zip(examples, fits[name], strict=True):
            own = found.weight[i, 1] - found.weight[i, 0]
            wrong = max(wrong, float((own - weight).norm() / weight.norm()))
    operations = 4 * EXAMPLES * features.shape[1] * EXAMPLES * STEPS
    share = operations / mine / best
    products = _products(features) * STEPS * EXAMPLES / COLUMNS
    return [
        f"{EXAMPLES} heads x {EXAMPLES} examples x {features.shape[1]} features of MiniLM, built-in task, {STEPS} "
        f"steps, one thread, load {os.getloadavg()[0]:.1f}; {2 * FITS} fits of each loop timed, scaled to all",
        *lines,
        f"  {'steadytune':<40} {mine:7.1f} s   ratio to the first claimed at least {LEAST}",
        f"  weights differ by at most {wrong:.0e} of their norm, claimed {CLOSE:.0e}",
        f"  limit: the two products of a step, at {operations / mine / 1e9:.0f} of the {best / 1e9:.0f} GFLOP/s of a "
        f"square product on this machine ({share:.0%}, claimed at least {LEAST_SHARE:.0%}); alone they take "
        f"{products:.1f} s, {products / mine:.0%} of the time",
    ], ratios[0] >= LEAST and share >= LEAST_SHARE and wrong <= CLOSE


def _without(left_out: int, features: Tensor, labels: Tensor, rate: float, fit: Fit) -> tuple[float, Any]:
    kept = torch.arange(len(labels)) != left_out
    inputs, targets = features[kept], labels[kept]
    return timed(lambda: fit(inputs, targets, rate, STEPS))


def _layer_of_two(features: Tensor, labels: Tensor, rate: float, steps: int) -> Tensor:
    weight = _descend(features, labels, nn.Linear(features.shape[1], 2, bias=False), rate, steps)
    return weight[1] - weight[0]


def _layer_of_one(features: Tensor, labels: Tensor, rate: float, steps: int) -> Tensor:
    # The difference of the two rows moves by twice what each of them moves by.
    return _descend(features, labels.float()[:, None], nn.Linear(features.shape[1], 1, bias=False), 2 * rate, steps)[0]


def _descend(features: Tensor, targets: Tensor, layer: nn.Linear, rate: float, steps: int) -> Tensor:
    criterion = nn.functional.cross_entropy
    if targets.is_floating_point():
        criterion = nn.functional.binary_cross_entropy_with_logits
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(layer(features), targets).backward()
        optimizer.step()
    return layer.weight.detach()


def _written_out(features: Tensor, labels: Tensor, rate: float, steps: int) -> Tensor:
    weight, targets = torch.zeros(features.shape[1]), labels.float()
    for _ in range(steps):
        residual = torch.mv(features, weight).sigmoid_().sub_(targets)
        weight.addmv_(features.T, residual, alpha=-2 * rate / len(targets))
    return weight


def _square_rate() -> float:
    """Return the floating-point operations per second of a square product in single precision."""
    matrix = torch.randn(2048, 2048)
    return 2 * len(matrix) ** 3 / min(timed(lambda: matrix @ matrix)[0] for _ in range(5))


def _products(features: Tensor) -> float:
    """Return the seconds that the two products of a step of some heads take."""
    heads, logits = torch.randn(features.shape[1], COLUMNS), torch.empty(len(features), COLUMNS)
    return min(timed(lambda: features.T @ torch.mm(features, heads, out=logits))[0] for _ in range(20))
