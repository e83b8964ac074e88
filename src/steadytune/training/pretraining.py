"""Input of the stabilizers' hook before training, for a recorded run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steadytune.files import canonical_json, sha256
from steadytune.stabilizers import Pretraining
from steadytune.study import RunSpec
from steadytune.training.data import RunData
from steadytune.training.weights import model_folder


def pretraining_context(
    spec: RunSpec, data: RunData, cache: Path, device: str, progress: Callable[[float], None]
) -> Pretraining:
    """Return the training inputs of a run without labels, and a key shared by all runs with the same inputs."""
    inputs = data.train.token_ids
    return Pretraining(
        source=model_folder(spec.model),
        inputs=inputs,
        tokenizer=data.tokenizer,
        batch_size=spec.training.batch_size,
        device=device,
        cache=cache,
        key=sha256(canonical_json([spec.weights, inputs, spec.training.batch_size, spec.training.threads])),
        progress=progress,
    )
