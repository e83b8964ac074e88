"""Conformance checks of measures, on small generated runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.measures import (
    LEVELS,
    MEASURES,
    Choices,
    CombinedMeasure,
    Draw,
    LayerMeasure,
    Measure,
    Outputs,
    PairMeasure,
    SpreadMeasure,
    Tokens,
    representation_distances,
)

_RUNS, _EXAMPLES, _CLASSES = 4, 12, 3
_CLOSE = 1e-9

Value = Callable[[Any, NDArray[np.int64]], float]


def check_measure(measure: Measure) -> None:
    """Check that a measure behaves as intervals, comparisons and reports require.

    Its facts are complete; identical runs give 0, and no value leaves its range; neither the order of runs nor
    that of examples matters; an example of weight 2 counts as two; two runs, one example and runs without any
    variation give a number or NaN and no exception; a second call gives the same; NaN in the arrays is rejected.

    Args:
        measure: The measure, as named by an entry point.

    Raises:
        AssertionError: It breaks a requirement; says which.
    """
    _check_facts(measure)
    if isinstance(measure, LayerMeasure):
        _check_layers(measure)
    elif isinstance(measure, (PairMeasure, CombinedMeasure)):
        for need in measure.needs:
            _check_outputs(measure, need)
    elif isinstance(measure, SpreadMeasure):
        _check_spread(measure)
    else:
        raise AssertionError(f"measure '{measure.name}': its class is not one that `steadytune.measures` defines")


def _check_facts(measure: Measure) -> None:
    name = measure.name
    assert re.fullmatch("[a-z][a-z0-9_]*", name), f"measure '{name}': its name must be one word in lower case"
    for fact in ("title", "short", "called", "meaning"):
        assert getattr(measure, fact).strip(), f"measure '{name}': its {fact} is empty"
    assert measure.level in LEVELS, f"measure '{name}': its level is not one of {', '.join(LEVELS)}"
    assert measure.most(_RUNS, _EXAMPLES) > 0, f"measure '{name}': its largest value must be above 0"
    for read in getattr(measure, "reads", ()):
        assert isinstance(MEASURES[read], PairMeasure), f"measure '{name}': it reads '{read}', which has no pairs"
    needs = set(Outputs.__dataclass_fields__) if measure.level == "prediction" else set(measure.needs)
    assert measure.needs, f"measure '{name}': it must say what it needs"
    assert set(measure.needs) <= needs, (
        f"measure '{name}': it needs {sorted(set(measure.needs) - needs)}, which runs do not have"
    )


def made(need: str, runs: int = _RUNS, examples: int = _EXAMPLES, seed: int = 0) -> Outputs:
    """Return runs with one array.

    Args:
        need: A field of `Outputs`.
        runs: K.
        examples: N.
        seed: Seed of the random arrays.
    """
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(_CLASSES), (runs, examples))
    words = np.array(["a cat", "a dog", "two dogs", ""])
    counts = np.arange(examples) % 3 + 1
    arrays: dict[str, Any] = {
        "predictions": generator.integers(0, _CLASSES, (runs, examples)),
        "probabilities": shares,
        "numbers": generator.normal(size=(runs, examples)),
        "generations": words[generator.integers(0, len(words), (runs, examples))].tolist(),
        "tokens": Tokens(list(generator.normal(size=(runs, int(counts.sum()), 5))), counts),
        "choices": Choices(list(generator.integers(0, 4, (runs, int(counts.sum())))), counts),
    }
    arrays["label_probabilities"] = generator.uniform(size=(runs, examples, _CLASSES))
    arrays["sets"] = arrays["label_probabilities"] > 0.5
    return Outputs(**{need: arrays[need]})


def _value(measure: PairMeasure | CombinedMeasure, outputs: Outputs, weights: Any = None) -> float:
    """Return the measure of K runs on weighted examples."""
    needed = [measure.name] if isinstance(measure, PairMeasure) else measure.reads
    tables = {}
    for name in needed:
        one = measure if name == measure.name else MEASURES[name]
        assert isinstance(one, PairMeasure)
        table = one.pairs(outputs)
        assert table is not None, f"measure '{measure.name}': it reads '{name}', which these runs do not have"
        tables[name] = table
    first = next(iter(tables.values()))
    weighed = np.ones((1, first.examples)) if weights is None else np.asarray(weights, dtype=np.float64)[None]
    means = {name: table.means(weighed) for name, table in tables.items()}
    pairs = means[needed[0]].shape[1]
    draw = Draw(np.ones((1, round((1 + math.sqrt(1 + 8 * pairs)) / 2))))
    if isinstance(measure, PairMeasure):
        found = draw.pair_mean(means[measure.name])
    else:
        found = measure.combine(means, measure.sums(measure.prepared(outputs), weighed), draw)
    assert np.shape(found) == (1,), (
        f"measure '{measure.name}': one draw must give one number, not shape {np.shape(found)}"
    )
    return float(found[0])


def _turned(outputs: Outputs, need: str, order: NDArray[np.int64]) -> Outputs:
    given = getattr(outputs, need)
    if isinstance(given, (Tokens, Choices)):
        of_runs: Any = given.of_runs(order.tolist())
        return Outputs(**{need: of_runs})
    turned: Any = given[order] if isinstance(given, np.ndarray) else [given[run] for run in order]
    return Outputs(**{need: turned})


def _check_outputs(measure: PairMeasure | CombinedMeasure, need: str) -> None:
    where = f"measure '{measure.name}' of {need}"
    outputs = made(need)
    value = _value(measure, outputs)
    assert math.isfinite(value), f"{where}: different runs have the value {value}, not a finite one"
    assert value == _value(measure, made(need)), f"{where}: a second call gives a different value"
    assert value > 0, f"{where}: different runs are at distance {value}, which must be above 0"
    if isinstance(measure, PairMeasure):
        table = measure.pairs(outputs)
        assert table is not None
        distances, pairs = table.distances(), _RUNS * (_RUNS - 1) // 2
        assert distances.shape == (_RUNS, _RUNS), (
            f"{where}: a table must have a row for each of the {pairs} pairs of runs"
        )
        most = measure.most(_RUNS, _EXAMPLES)
        inside = (distances >= 0) & (distances <= most + _CLOSE)
        assert inside.all(), f"{where}: a distance is outside [0, {most:g}]"
    assert value <= measure.most(_RUNS, _EXAMPLES) + _CLOSE, f"{where}: {value:g} is above its largest value"
    same = _value(measure, _turned(outputs, need, np.zeros(_RUNS, dtype=np.int64)))
    assert abs(same) <= _CLOSE, f"{where}: identical runs are at distance {same:g}, not 0"
    turned = _value(measure, _turned(outputs, need, np.arange(_RUNS)[::-1]))
    assert math.isclose(value, turned, rel_tol=_CLOSE), f"{where}: it depends on the order of the runs"
    mixed = _value(measure, outputs.take(np.random.default_rng(1).permutation(_EXAMPLES)))
    assert math.isclose(value, mixed, rel_tol=_CLOSE), f"{where}: it depends on the order of the examples"
    counts = np.random.default_rng(2).integers(1, 4, _EXAMPLES)
    weighted = _value(measure, outputs, counts)
    repeated = _value(measure, outputs.take(np.repeat(np.arange(_EXAMPLES), counts)))
    assert math.isclose(weighted, repeated, rel_tol=1e-7), (
        f"{where}: a weight must act like repeating the example that often"
    )
    for runs, examples in ((2, _EXAMPLES), (_RUNS, 1)):
        least = _value(measure, made(need, runs, examples))
        assert not math.isinf(least), f"{where}: {runs} runs on {examples} examples give {least}"
    constant = _value(measure, outputs.take(np.zeros(_EXAMPLES, dtype=np.int64)))
    assert not math.isinf(constant), f"{where}: runs with constant predictions give {constant}"
    if need in ("probabilities", "numbers", "label_probabilities"):
        broken = getattr(outputs, need).copy()
        broken[0, 0] = math.nan
        _refuses(lambda: _value(measure, Outputs(**{need: broken})), f"{where}: NaN is not refused with a ValueError")


def _refuses(call: Callable[[], Any], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(what)


def _check_layers(measure: LayerMeasure) -> None:
    where, generator = f"measure '{measure.name}'", np.random.default_rng(0)
    states = generator.normal(size=(1, 20, 5)) + generator.normal(size=(_RUNS, 20, 5))

    def distances(runs: Any) -> NDArray[np.float64]:
        return representation_distances(runs, [measure], threads=1)[measure.name]

    found, most = distances(states), measure.most(2, 20)
    assert np.isfinite(found).all(), f"{where}: different runs have no finite distance"
    assert np.array_equal(found, distances(states)), f"{where}: a second call gives a different value"
    off = found[~np.eye(_RUNS, dtype=bool)]
    assert off.min() > 0, f"{where}: different runs are at distance 0"
    assert off.max() <= most, f"{where}: a distance is outside [0, {most:g}]"
    same = distances(states[[0, 0]])
    assert np.abs(same).max() <= 1e-7, f"{where}: identical runs are at distance {same.max():g}, not 0"
    turned = distances(states[::-1])
    assert np.allclose(turned, found[::-1, ::-1], atol=1e-7), f"{where}: it depends on the order of the runs"
    order = generator.permutation(20)
    assert np.allclose(distances(states[:, order]), found, atol=1e-7), (
        f"{where}: it depends on the order of the examples"
    )
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    moved = [run @ rotation * 3 + 1 if at else run for at, run in enumerate(states)]
    assert np.allclose(distances(moved), found, atol=1e-7), (
        f"{where}: it is not invariant to rotation, scale or shift of a run"
    )
    few = distances(states[:, : measure.least_examples])
    assert not np.isinf(few).any(), f"{where}: {measure.least_examples} examples give an infinite distance"
    wide = distances(generator.normal(size=(2, 6, 9)))
    assert not np.isinf(wide).any(), f"{where}: more dimensions than examples give an infinite distance"


def _check_spread(measure: SpreadMeasure) -> None:
    where, scores = f"measure '{measure.name}'", np.array([0.7, 0.74, 0.72, 0.9])
    once = Draw(np.ones((1, len(scores))))
    value = measure.spread(scores)
    assert value > 0, f"{where}: different scores have a spread of {value:g}"
    assert math.isclose(value, measure.spread(scores[::-1]), rel_tol=_CLOSE), (
        f"{where}: it depends on the order of the runs"
    )
    drawn = float(measure.drawn(scores[None], once)[0])
    assert math.isclose(value, drawn, rel_tol=_CLOSE), f"{where}: `drawn` with each run once differs from `spread`"
    assert measure.spread(np.full(3, 0.7)) <= _CLOSE, f"{where}: equal scores have a non-zero spread"
    assert math.isnan(measure.spread(scores[:1])), f"{where}: a single run has a spread, not NaN"
    _refuses(lambda: measure.spread([0.1, math.nan]), f"{where}: NaN is not refused with a ValueError")
