"""Construction of a RunRecord from the end of a training, successful or not."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from steadytune.files import Arrays
from steadytune.records import RunRecord
from steadytune.study import RunSpec
from steadytune.tasks.base import Examples, Task
from steadytune.tasks.metrics import evaluate, majority_score
from steadytune.training.loading import padding_note
from steadytune.training.versions import versions
from steadytune.training.weights import half_precision


class Diverged(Exception):
    """The loss or the outputs of a run are no longer finite."""


def device_name(device: str) -> str:
    """Return the name of an accelerator, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{device} ({platform.machine()})"


def notes(spec: RunSpec) -> tuple[str, ...]:
    """Return what a reader should know about this run."""
    half, padding = half_precision(spec.model), padding_note(spec.model)
    stored = f"the checkpoint is stored in {half} and was loaded in float32" if half else None
    return tuple(note for note in (stored, padding) if note)


def finished(
    spec: RunSpec,
    task: Task,
    measured: Examples,
    outputs: Arrays,
    *,
    device: str,
    curves: Mapping[str, Sequence[float | None]],
    measurements: Mapping[str, float],
    timings: Mapping[str, float],
    told: Sequence[str] = (),
) -> RunRecord:
    """Score a finished run, from its outputs as `evaluate` takes them; `told` is what a reader should know about it.

    Raises:
        Diverged: An output is not finite.
    """
    for name in ("logits", "target_log_probabilities"):
        if name in outputs and not np.isfinite(outputs[name]).all():
            raise Diverged(f"the trained model's {name.replace('_', ' ')} are not finite")
    scores = evaluate([task.metric, *task.extra_metrics], task.kind, outputs, measured, task.label_names)
    return RunRecord(
        spec=spec,
        status="done",
        metric=task.metric,
        score=_number(scores[task.metric]),
        scores={name: _number(value) for name, value in scores.items()},
        majority_score=_number(majority_score(task.metric, task.kind, measured, task.label_names)),
        curves={name: [_number(value) for value in values] for name, values in curves.items()},
        measurements={name: _number(value) for name, value in measurements.items()},
        timings=dict(timings),
        versions={**versions(), "device": device_name(device), "threads": str(spec.training.threads)},
        notes=(*notes(spec), *told),
    )


def lost(spec: RunSpec, error: BaseException, seconds: float) -> RunRecord:
    """Record a run that diverged or raised, with the reason in one line."""
    diverged = isinstance(error, Diverged)
    reason = str(error).strip().partition("\n")[0][:300]
    return RunRecord(
        spec=spec,
        status="diverged" if diverged else "crashed",
        reason=reason if diverged else f"{type(error).__name__}: {reason}".rstrip(": "),
        timings={"total": seconds},
        versions=versions(),
    )


def _number(value: float | None) -> float | None:
    """Replace NaN, which JSON lacks, by null."""
    return None if value is None or not math.isfinite(value) else float(value)
