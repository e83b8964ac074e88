"""What any trained model says about a stream of batches, whatever their form: the fields of a recorded run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.errors import UserError, unknown_name
from steadytune.records.checks import Kind
from steadytune.training.models import pool
from steadytune.training.recording import hidden_states, stored
from steadytune.training.seeds import preserved_random_state

Position = Literal["cls", "mean", "last"]
_LABELS = ("labels", "label")


def check_position(position: str | None) -> None:
    """Refuse a place for hidden states that there is not.

    Raises:
        UserError: Naming the closest one.
    """
    if position is not None and position not in get_args(Position):
        raise unknown_name("position", str(position), get_args(Position))


@torch.inference_mode()
def fields_of(model: nn.Module, batches: Iterable[Any], position: Position | None) -> dict[str, Any]:
    """Return what `record_run` writes of a model: logits, labels, representations, kind and digest of the examples.

    Args:
        model: As in `record_model`.
        batches: As in `record_model`.
        position: As in `record_model`.

    Raises:
        UserError: As `record_model`.
    """
    check_position(position)
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    states: list[Tensor] = []
    digest = hashlib.sha256()
    choice = False
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    with preserved_random_state(), evaluating(model):
        for batch in batches:
            positional, named, answers = _split(batch)
            inputs = {**{str(place): value for place, value in enumerate(positional)}, **named}
            _update(digest, inputs, answers)
            moved = {name: value.to(device) for name, value in named.items()}
            asked = {} if position is None else {"output_hidden_states": True}
            outputs = model(*(value.to(device) for value in positional), **moved, **asked)
            logits.append(_logits(outputs))
            if answers is not None:
                labels.append(_checked(answers, len(logits[-1])))
            if position is not None:
                states.append(_states(outputs, moved.get("attention_mask"), position))
            choice |= "input_ids" in named and named["input_ids"].ndim == 3
    if not logits:
        raise UserError("there is no batch to record")
    fields: dict[str, Any] = {"logits": torch.cat(logits).numpy(), "examples": digest.hexdigest()}
    if labels:
        fields["labels"] = torch.cat(labels).numpy()
    if states:
        fields["representations"] = stored(torch.cat(states, dim=1).numpy(), "float16")
    fields["kind"] = "choice" if choice else _kind(model, fields["logits"], fields.get("labels"))
    return fields


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its parts back into the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _split(batch: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor | None]:
    """Return positional and keyword arguments of the model, and the labels."""
    if isinstance(batch, Tensor):
        return (batch,), {}, None
    if isinstance(batch, Mapping):
        answers = next((batch[name] for name in _LABELS if name in batch), None)
        named = {str(name): value for name, value in batch.items() if name not in _LABELS}
        return (), {name: value for name, value in named.items() if isinstance(value, Tensor)}, answers
    *inputs, answers = batch
    return tuple(inputs), {}, answers


def _update(digest: Any, inputs: Mapping[str, Tensor], labels: Tensor | None) -> None:
    """Add examples to a digest, row by row and without padding, so that it does not depend on the size of a batch."""
    mask = inputs.get("attention_mask")
    values = {name: value.cpu() for name, value in inputs.items() if name != "attention_mask"}
    if labels is not None:
        values["labels"] = labels.cpu()
    for row in range(len(next(iter(values.values())))):
        for name in sorted(values):
            value = values[name][row]
            if mask is not None and values[name].shape == mask.shape:
                value = value[mask[row].bool().cpu()]
            # NumPy has no bfloat16.
            value = value.float() if value.is_floating_point() else value
            digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
            digest.update(value.contiguous().numpy().tobytes())


def _logits(outputs: Any) -> Tensor:
    found = getattr(outputs, "logits", outputs)
    if isinstance(found, Mapping):
        found = found.get("logits")
    if isinstance(found, (tuple, list)):
        found = found[0]
    if not isinstance(found, Tensor):
        raise UserError(f"the model returns {type(outputs).__name__}, which holds no logits")
    found = found.float().cpu()
    if found.ndim not in (1, 2):
        raise UserError(
            f"the model returns logits of shape {tuple(found.shape)}: one row per example is needed. "
            "For text give what was generated to steadytune.record_run(generations=...)"
        )
    return found[:, None] if found.ndim == 1 else found


def _checked(labels: Tensor, examples: int) -> Tensor:
    labels = labels.cpu()
    flat = labels.flatten()
    if len(flat) != examples or len(labels) != examples:
        raise UserError(
            f"labels of shape {tuple(labels.shape)} for {examples} examples: one label per example is needed, so tasks "
            "with several labels per example are not recorded"
        )
    return flat.float() if flat.is_floating_point() else flat.long()


def _states(outputs: Any, mask: Tensor | None, position: Position) -> Tensor:
    try:
        layers = hidden_states(outputs)[1:]
    except AttributeError:
        raise UserError("the model returns no hidden states: leave position out, or give them to record_run") from None
    shapes = {tuple(layer.shape) for layer in layers}
    if len(shapes) != 1 or layers[0].ndim != 3:
        raise UserError(f"hidden states must be (examples, tokens, width) in every layer, not {sorted(shapes)}")
    mask = layers[0].new_ones(layers[0].shape[:2]) if mask is None else mask.flatten(0, -2)
    return torch.stack([pool(layer, mask, position).float().cpu() for layer in layers])


def _kind(model: nn.Module, logits: NDArray[Any], labels: NDArray[Any] | None) -> Kind:
    if logits.shape[1] > 1:
        return "classification"
    # A transformers model with one label is a regression; elsewhere 0 and 1 may be two classes.
    stated = getattr(getattr(model, "config", None), "num_labels", None) == 1
    if stated or labels is None or not np.isin(labels, (0, 1)).all():
        return "regression"
    raise UserError(
        "the model returns one number per example and all labels are 0 or 1: return two logits, 0 and that number"
    )
