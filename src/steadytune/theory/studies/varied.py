"""One data set under every setting: heads with an example left out, and heads with other seeds.

Leave-one-out instability, "loo_directions", is the mean over left-out examples of the distance between the directions
of two heads with the same seed. Seed instability, "seed_directions", is the mean over pairs of seeds of the distance
between the directions of two heads with the same data. Directions have length 1, so both lie in [0, 2], and unrelated
directions are about sqrt(2) apart. In full-batch gradient descent a seed determines only the initial weights; in the
part "order" it determines the order of the examples instead, from the same start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from steadytune.linear.fit import fit_heads
from steadytune.measures import pair_mean
from steadytune.theory.studies.adapter import tune_adapters
from steadytune.theory.studies.dataset import Array, DataSet, Indices

Row = dict[str, Any]

HEADS, SCALED, ZERO = "H heads", "one head, init / sqrt(H)", "one head, zero init"
"""MHLoss, and its two controls."""


@dataclass(frozen=True)
class Grid:
    """How heads are trained on each data set: every value of every parameter, one parameter at a time.

    Attributes:
        steps: Steps of gradient descent at which heads are evaluated, increasing.
        rates: Learning rates in units of 1/beta, where beta is the Lipschitz constant of the gradient of the mean loss.
            Each is used with a zero and a random start. All else is varied at the first rate.
        scales: Scales of the initial weights, in units of `DataSet.scale`. All else is varied at the first scale.
        heads: Values of H for MHLoss, increasing from 1.
        alphas: Weights of MMR's regularizer, increasing from 0.
        seeds: Number of seeds, at least 2.
        left_out: Number of examples that are left out in turn where H or alpha varies.
        trained_left_out: The same where steps, rate and scale vary; None for all. Comparisons of max-margin heads only
            always leave out all.
        epochs: Epochs of stochastic gradient descent, where the order of the examples varies.
        batch_size: Number of examples in each of its steps.
        adapter_steps: Number of steps for which MMR's adapter and head are tuned.
        adapter_rate: Their learning rate, in units of 1/beta of the given features.
    """

    steps: tuple[int, ...] = (10, 30, 100, 300, 1000)
    rates: tuple[float, ...] = (1.0, 0.1, 0.01)
    scales: tuple[float, ...] = (1.0, 0.1, 10.0)
    heads: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    alphas: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0, 10.0)
    seeds: int = 5
    left_out: int = 5
    trained_left_out: int | None = None
    epochs: int = 20
    batch_size: int = 8
    adapter_steps: int = 200
    adapter_rate: float = 0.25


SMALL = Grid(
    steps=(10, 100), rates=(1.0, 0.1), scales=(1.0, 0.1), heads=(1, 2, 10), alphas=(0.0, 1.0), seeds=3, epochs=2
)
"""A small grid that is enough for every column and figure."""

ON_FEATURES = Grid(seeds=3, left_out=3, trained_left_out=50)
"""For features of real tasks, which are many times as wide as generated ones, with many more examples."""

SMALL_ON_FEATURES = replace(SMALL, left_out=2, trained_left_out=5, adapter_steps=20)
"""A small grid for such features."""


def studied(data: DataSet, grid: Grid) -> list[Row]:
    """Return a row per setting; "part" names the function below that it comes from."""
    parts = {"training": training, "order": shuffled, "heads": many_heads, "mmr": regularized}
    rows = [{"part": name, **row} for name, part in parts.items() for row in part(data, grid)]
    return [{"part": "geometry", **geometry(data)}, *rows]


def geometry(data: DataSet) -> Row:
    """Return the geometry of the features: for separable classes, the margin and the exact leave-one-out instability.

    "max_margin_loo" is the leave-one-out instability of the max-margin head, "loo_bound" and "sharp_loo_bound" bound it
    (`margin.bound`), and "norm_over_margin" is B/gamma.
    """
    centres = np.stack([data.features[data.labels == label].mean(0) for label in np.unique(data.labels)])
    solution = data.bound.solution
    row = {
        "separable": data.separable,
        "norm": solution.largest_norm,
        "centre_distance": float(pair_mean(np.linalg.norm(centres[:, None] - centres, axis=-1))),
    }
    if data.separable:
        row |= {
            "margin": solution.gamma,
            "norm_over_margin": solution.largest_norm / solution.gamma,
            "max_margin_loo": float(data.without.direction_differences.mean()),
            "loo_bound": data.bound.direction_bound,
            "sharp_loo_bound": float(data.bound.sharp_direction_bound.mean()),
        }
    return row


def training(data: DataSet, grid: Grid) -> Iterator[Row]:
    """Yield a row per learning rate, initial scale and step; examples are left out in turn."""
    pairs = [*product(grid.rates, (grid.scales[0], 0.0))]
    pairs += [(grid.rates[0], scale) for scale in grid.scales[1:]]
    rates, scales = np.array(pairs).T[:, :, None]
    examples = _some(data, grid.trained_left_out)
    left_out, noise = _starts(data, grid.seeds, examples, heads=1)
    start = scales[..., None, None] * noise[:, 0]
    for step, weights in data.train(start, left_out, rates, grid.steps):
        for (rate, scale), units in zip(pairs, data.directions(weights), strict=True):
            row = {"steps": step, "rate": rate, "learning_rate": rate * data.rate, **_start(data, scale)}
            yield (
                row
                | _instabilities(units, grid.seeds)
                | _to_max_margin(units[: grid.seeds], data)
                | _descent_bound(units, grid.seeds, data, examples)
            )


def shuffled(data: DataSet, grid: Grid) -> Iterator[Row]:
    """Yield a row per learning rate of stochastic descent from zero with linear decay; seeds determine the order."""
    epochs, seeds = grid.epochs, grid.seeds
    trained = fit_heads(
        data.features,
        data.labels,
        learning_rate=np.repeat(grid.rates, seeds) * data.rate,
        epochs=epochs,
        batch_size=grid.batch_size,
        loss=data.loss,
        bias=False,
        order_seeds=[*range(seeds)] * len(grid.rates),
        optimizer="sgd",
        warmup=0.0,
        weight_decay=0.0,
        clip=0.0,
    )
    units = data.directions(trained.weight.numpy())
    for place, rate in enumerate(grid.rates):
        row = {"steps": len(trained.losses), "rate": rate, "learning_rate": rate * data.rate, **_start(data, 0.0)}
        found = units[place * seeds : (place + 1) * seeds]
        yield row | {"seed_directions": seed_directions(found)} | _to_max_margin(found, data)


def many_heads(data: DataSet, grid: Grid) -> Iterator[Row]:
    """Yield a row per step and H of MHLoss, and for its controls; some examples are left out in turn.

    The H heads of one seed train side by side at the full rate, and their mean is the head that predicts.
    """
    most, scale = grid.heads[-1], grid.scales[0]
    left_out, noise = _starts(data, grid.seeds, _some(data, grid.left_out), most)
    controls = [1 / math.sqrt(heads) for heads in grid.heads] + [0.0]
    start = scale * np.concatenate([noise, noise[:, :1] * np.reshape(controls, (-1, 1, 1))], axis=1)
    for step, weights in data.train(start, left_out[:, None], np.array(grid.rates[0]), grid.steps):
        each = data.directions(weights[: grid.seeds, :most])
        means = [(HEADS, heads, weights[:, :heads].mean(1)) for heads in grid.heads]
        means += [(SCALED, heads, weights[:, most + place]) for place, heads in enumerate(grid.heads)]
        means += [(ZERO, 1, weights[:, -1])]
        for kind, heads, mean in means:
            units = data.directions(mean)
            row = {"kind": kind, "heads": heads, "steps": step, "rate": grid.rates[0], **_start(data, scale)}
            if kind == HEADS and heads > 1:
                # The sum of the cosines of all pairs, without those of a head with itself.
                total = np.square(each[:, :heads].sum(1)).sum(-1).mean()
                row["cosine_between_heads"] = (total - heads) / (heads * (heads - 1))
            yield row | _instabilities(units, grid.seeds) | _to_max_margin(units[: grid.seeds], data)


def regularized(data: DataSet, grid: Grid) -> Iterator[Row]:
    """Yield a row per alpha of MMR, adapter and head tuned together; some examples are left out in turn.

    The instabilities are those of adapter and head as one linear map, both tuned anew each time. The geometry is that
    of the features adapted with seed 0.
    """
    left_out, noise = _starts(data, grid.seeds, _some(data, grid.left_out), heads=1)
    for alpha in grid.alphas:
        # One alpha at a time: adapters are large, and few of them stay in the processor's cache.
        adapted = tune_adapters(
            data.features,
            data.labels,
            alphas=np.full(len(left_out), alpha),
            init=grid.scales[0] * noise[:, 0],
            left_out=left_out,
            learning_rate=grid.adapter_rate * data.rate,
            steps=grid.adapter_steps,
        )
        moved = DataSet(data.features @ adapted.adapter[0].T, data.labels, data.seed)
        row = {"alpha": alpha, "steps": grid.adapter_steps, "rate": grid.adapter_rate}
        yield row | geometry(moved) | _instabilities(data.directions(adapted.composed), grid.seeds)


def _starts(data: DataSet, seeds: int, examples: Indices, heads: int) -> tuple[Indices, Array]:
    """Return the heads to train: all seeds on all examples, then the first seed without each of some examples.

    Returns:
        (seeds + m,) left-out examples, -1 for none, and their noise (seeds + m, heads, outputs, d).
    """
    left_out = np.concatenate([np.full(seeds, -1), examples])
    noise = data.noise(seeds, heads)
    return left_out, noise[np.where(left_out < 0, np.arange(len(left_out)), 0)]


def _some(data: DataSet, number: int | None) -> Indices:
    """Return which examples are left out in turn: the first in a random order, or all."""
    n = len(data.labels)
    return np.arange(n if number is None else min(number, n))


def _start(data: DataSet, scale: float) -> Row:
    return {"init_scale": scale, "init_sd": scale * data.scale}


def _instabilities(units: Array, seeds: int) -> Row:
    """Return both instabilities of directions (seeds + m, p), arranged as by `_starts`."""
    return {
        "left_out": len(units) - seeds,
        "loo_directions": float(np.linalg.norm(units[seeds:] - units[0], axis=-1).mean()),
        "seed_directions": seed_directions(units[:seeds]),
    }


def seed_directions(units: Array) -> float:
    """Return the mean distance between two of the directions (seeds, p)."""
    return float(pair_mean(np.linalg.norm(units[:, None] - units, axis=-1)))


def _to_max_margin(units: Array, data: DataSet) -> Row:
    """Return how far directions (k, p) of heads trained on all examples are from the max-margin direction.

    Empty if the classes are not separable: then descent does not converge to a max-margin head.
    """
    if not data.separable:
        return {}
    return {
        "direction_error": float(np.linalg.norm(units - data.limit, axis=-1).mean()),
        "cosine_to_max_margin": float((units @ data.limit).mean()),
    }


def _descent_bound(units: Array, seeds: int, data: DataSet, examples: Indices) -> Row:
    """Return the bound on the leave-one-out instability of descent, for directions (seeds + m, p), m examples left out.

    It is the sum of the per-example bound of the max-margin heads, which on average is never above the other bound, and
    the two direction errors of the first seed: on S, and the mean of those on the S^i.
    """
    if not data.separable:
        return {}
    left_out = np.linalg.norm(units[seeds:] - data.limits[examples], axis=-1).mean()
    errors = np.linalg.norm(units[0] - data.limit) + left_out
    return {"descent_loo_bound": float(data.bound.sharp_direction_bound[examples].mean() + errors)}
