"""Frozen features: computed once per model, task, training subset and pooling, cached, and shared by all heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steadytune.cache import cached_arrays
from steadytune.errors import UserError
from steadytune.files import canonical_json, sha256
from steadytune.kinds import KINDS
from steadytune.models.modules import initial_scale, pool
from steadytune.models.random_state import preserved_random_state
from steadytune.stabilizers.denoising import VERSION
from steadytune.study import RunSpec
from steadytune.training.data import Encoded, RunData, batches, in_order
from steadytune.training.loading import is_encoder_decoder, load_encoder
from steadytune.training.pretraining import pretraining_context

_BATCH = 64


@dataclass(frozen=True)
class Features:
    """Encoded examples: (n, d), or (n, c, d) for c candidates each.

    Attributes:
        train: Features of the training set.
        select: Features of the half that selects the epoch, or None.
        measure: Features of the measured examples.
        scale: Standard deviation with which the architecture draws new weights.
        measurements: Measurements of the encoder recorded by the stabilizers.
    """

    train: Tensor
    select: Tensor | None
    measure: Tensor
    scale: float
    measurements: dict[str, Any]


def frozen_features(spec: RunSpec, data: RunData, cache: Path, progress: Callable[[float], None]) -> Features:
    """Return the features of a run, from the cache if they are present and intact.

    Args:
        spec: The run; of its seeds only `data` matters.
        data: Its examples.
        cache: Folder of data shared between seeds.
        progress: Called with the share done, 0 to 1.

    Raises:
        UserError: A feature is not finite.
    """
    arrays, record = cached_arrays(
        cache, f"features-{features_key(spec)}", lambda: _compute(spec, data, cache, progress)
    )
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Features(
        tensors["train"], tensors.get("select"), tensors["measure"], record["scale"], record["measurements"]
    )


def features_key(spec: RunSpec) -> str:
    """Return a hash of everything that determines the frozen features of a run."""
    changes = [method.entry() for method in spec.stabilizers if method.has("before_training")]
    if changes and is_encoder_decoder(spec.model):
        changes.append({"surt": {"objective": VERSION}})
    shared = spec.training.model_dump(
        include={"train_size", "select_checkpoint", "split_seed", "max_length", "pooling", "precision", "threads"}
    )
    if spec.training.split != "random":
        shared["split"] = spec.training.split
    # The batches matter only to a stabilizer that trains the encoder.
    batch_size = spec.training.batch_size if changes else 0
    return sha256(canonical_json([spec.weights, spec.data, spec.seeds.data, shared, changes, batch_size]))[:16]


def _compute(
    spec: RunSpec, data: RunData, cache: Path, progress: Callable[[float], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    encoder = load_encoder(spec.model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measurements: dict[str, Any] = {}
    for method in spec.stabilizers:
        if method.has("before_training"):
            context = pretraining_context(spec, data, cache, device.type, progress)
            with preserved_random_state():
                measurements |= method.before_training(encoder, context)
    encoder = encoder.to(device).eval()
    splits = {"train": data.train, "select": data.select, "measure": data.measure}
    total = sum(len(split) for split in splits.values() if split is not None)
    arrays: dict[str, Any] = {}
    done = 0
    for name, dataset in splits.items():
        if dataset is not None:
            arrays[name] = _encode(encoder, dataset, data, spec, device, partial(_report, progress, done, total))
            done += len(dataset)
            if not np.isfinite(arrays[name]).all():
                raise UserError(f"model '{spec.model}' gives features that are not finite on task '{spec.task.name}'")
    return arrays, {"scale": initial_scale(encoder.config), "measurements": measurements}


def _report(progress: Callable[[float], None], before: int, total: int, done: int) -> None:
    progress((before + done) / total)


@torch.inference_mode()
def _encode(
    encoder: nn.Module,
    dataset: Encoded,
    data: RunData,
    spec: RunSpec,
    device: torch.device,
    report: Callable[[int], None],
) -> Any:
    parts: list[Tensor] = []
    done = 0
    for batch in batches(dataset, data.collate, _BATCH):
        labels = batch.pop("labels")
        rows = {name: (tensor.flatten(0, -2)).to(device) for name, tensor in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=spec.training.precision == "bf16"):
            states = encoder(**rows).last_hidden_state
        feature = pool(states.float(), rows["attention_mask"], spec.training.pooling).cpu()
        parts.append(feature.view(len(labels), -1, feature.shape[-1]) if KINDS[data.task.kind].candidates else feature)
        done += len(labels)
        report(done)
    return in_order(torch.cat(parts).numpy(), dataset)
