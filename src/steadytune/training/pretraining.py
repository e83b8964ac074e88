"""Input of the stabilizers' hook before training, for a recorded run and for a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from steadytune.errors import UserError
from steadytune.files import canonical_json, sha256
from steadytune.models.language import unanswered
from steadytune.models.modules import encoder_of
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


def script_context(model: nn.Module, rows: Any, tokenizer: Any, arguments: Any) -> Pretraining:
    """Return the training inputs of a script's Trainer, with a cache in its output folder.

    Args:
        model: The Trainer's model.
        rows: Its training set.
        tokenizer: Its tokenizer, or None.
        arguments: Its `TrainingArguments`.

    Raises:
        UserError: The model is not from a checkpoint, or the inputs or the tokenizer are unknown.
    """
    source = str(getattr(getattr(model, "config", None), "_name_or_path", ""))
    if tokenizer is None or not source:
        raise UserError(
            "surt continues pre-training: it needs a model from a checkpoint, and its tokenizer as processing_class"
        )
    if rows is None or not hasattr(rows, "__len__") or any("input_ids" not in row for row in rows):
        raise UserError("surt reads the training texts: use a train_dataset with a length and 'input_ids'")
    inputs = [ids for row in rows if len(ids := unanswered(model, row))]
    weights = encoder_of(model).state_dict().values()
    state = sha256(b"".join(weight.detach().float().cpu().numpy().tobytes() for weight in weights))
    return Pretraining(
        source=Path(source),
        inputs=inputs,
        tokenizer=tokenizer,
        batch_size=arguments.train_batch_size,
        device=arguments.device.type,
        cache=Path(arguments.output_dir) / "steadytune-cache",
        key=sha256(canonical_json([state, arguments.train_batch_size, [list(map(int, ids)) for ids in inputs]])),
        progress=lambda share: None,
    )
