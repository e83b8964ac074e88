"""Quantities that may predict instability before a second seed is trained: of no run, and of one.

Expectations marked "abstract" are claims of Fu, So & Collier, "A Stability Analysis of Fine-Tuning a Pre-Trained
Model", arXiv 2301.09820, read as statements about seeds; "ours" are this toolkit's. Quantities without an expectation
are tested as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steadytune.errors import UserError
from steadytune.records import RunRecord
from steadytune.study import RunSpec
from steadytune.tasks import load_task

_PART = 4
"""Early and late are the first and the last quarter of a curve."""


class Quantity(NamedTuple):
    """One quantity.

    Attributes:
        name: Column of the table.
        title: Its name in a sentence.
        runs: How many runs it needs, 0 or 1.
        expected: 1 if cohorts with larger values should be less stable, -1 if more stable, 0 if nothing is expected.
        source: Who expects it.
    """

    name: str
    title: str
    runs: Literal[0, 1]
    expected: Literal[-1, 0, 1] = 0
    source: str = ""


QUANTITIES = (
    Quantity("train_examples", "number of training examples", 0, -1, "abstract"),
    Quantity("steps", "number of steps", 0, -1, "abstract"),
    Quantity("learning_rate", "learning rate", 0, 1, "abstract"),
    Quantity("rate_times_steps", "learning rate × steps", 0),
    Quantity("margin", "margin γ of frozen features", 0, -1, "abstract"),
    Quantity("norm_over_margin", "B/γ of frozen features", 0, 1, "abstract"),
    Quantity("loo_directions", "leave-one-out on frozen features", 0, 1, "ours"),
    Quantity("gradient_largest", "largest gradient norm", 1, 1, "abstract"),
    Quantity("gradient_late", "late gradient norm", 1, 1, "ours"),
    Quantity("gradient_fall", "gradient norm, early over late", 1),
    Quantity("gradient_depth", "gradient norm, bottom over top", 1),
    Quantity("late_loss", "late training loss", 1, 1, "ours"),
    Quantity("distance", "distance travelled", 1, 1, "abstract"),
    Quantity("late_margin", "late margin over feature norm", 1, -1, "abstract"),
    Quantity("late_centre_distance", "late centre distance over norm", 1, -1, "abstract"),
    Quantity("above_majority", "score above the majority class", 1, -1, "ours"),
    Quantity("largest_class", "share of commonest prediction", 1),
    Quantity("confidence", "mean confidence", 1),
    Quantity("logit_gap", "mean gap of the top two logits", 1, -1, "abstract"),
)


def spec_quantities(spec: RunSpec) -> dict[str, float]:
    """Return the quantities that need no run; n is known without the task's data only if the recipe states it."""
    training = spec.training
    examples = float(training.train_size or math.nan)
    if not training.train_size:
        with suppress(UserError):
            examples = float(len(load_task(spec.task).train))
    steps = training.epochs * float(np.ceil(examples / training.batch_size))
    rate = float(training.learning_rate or math.nan)
    return {"train_examples": examples, "steps": steps, "learning_rate": rate, "rate_times_steps": rate * steps}


def run_quantities(record: RunRecord, logits: NDArray[Any] | None) -> dict[str, float]:
    """Return the quantities of one run.

    Args:
        record: A finished run. In older records the loss includes the penalties.
        logits: (N, C) of C >= 2 classes on the measured examples, or None.

    Returns:
        The quantities with `runs` 1; NaN for what the run did not record. Margin, centre distance and feature norm
        come from single training batches.
    """
    curves = {name: np.array(values, dtype=np.float64) for name, values in record.curves.items()}
    gradient, top = curves.get("grad_norm", _NONE), curves.get("gradient_top", _NONE)
    norm = curves.get("feature_norm", _NONE)
    late = _mean(gradient[-_quarter(gradient) :])
    numbers = (record.score, record.majority_score, record.measurements.get("distance_from_start"))
    score, majority, distance = (math.nan if one is None else one for one in numbers)
    return {
        "gradient_largest": float(np.nanmax(gradient, initial=-math.inf)) if np.isfinite(gradient).any() else math.nan,
        "gradient_late": late,
        "gradient_fall": _ratio(_mean(gradient[: _quarter(gradient)]), late),
        "gradient_depth": _late_ratio(curves.get("gradient_embeddings", _NONE), top),
        "late_loss": _late(curves.get("task_loss", curves.get("loss", _NONE))),
        "distance": distance,
        "late_margin": _late_ratio(curves.get("margin", _NONE), norm),
        "late_centre_distance": _late_ratio(curves.get("centre_distance", _NONE), norm),
        "above_majority": score - majority,
        **_logit_quantities(logits),
    }


_NONE: NDArray[np.float64] = np.zeros(0)


def _logit_quantities(logits: NDArray[Any] | None) -> dict[str, float]:
    if logits is None:
        return dict.fromkeys(("largest_class", "confidence", "logit_gap"), math.nan)
    values = np.asarray(logits, dtype=np.float64)
    largest = np.sort(values, axis=1)[:, -2:]
    return {
        "largest_class": float(np.bincount(values.argmax(axis=1)).max() / len(values)),
        "confidence": float(softmax(values, axis=1).max(axis=1).mean()),
        "logit_gap": float((largest[:, 1] - largest[:, 0]).mean()),
    }


def _quarter(curve: Sequence[float] | NDArray[np.float64]) -> int:
    return max(1, math.ceil(len(curve) / _PART))


def _late(curve: NDArray[np.float64]) -> float:
    return _mean(curve[-_quarter(curve) :])


def _late_ratio(curve: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return _ratio(_late(curve), _late(other))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _ratio(value: float, other: float) -> float:
    return value / other if other else math.nan
