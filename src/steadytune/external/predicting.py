"""Predictions of any trained model on batches of any form, as the fields of a recorded run."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS
from steadytune.models.criterion import check_highest, logits_in
from steadytune.models.modules import evaluating, find_head, pool
from steadytune.models.padding import read_token
from steadytune.models.random_state import preserved_random_state
from steadytune.models.states import hidden_states, stored

Position = Literal["cls", "mean", "last"]
_LABELS = ("labels", "label")


def check_position(position: str | None) -> None:
    """Reject an unknown position of hidden states.

    Raises:
        UserError: The position is unknown; names the closest one.
    """
    if position is not None and position not in get_args(Position):
        raise unknown_name("position", str(position), get_args(Position))


def fields_of(
    model: nn.Module,
    batches: Iterable[Any],
    position: Position | None,
    kind: str | None = None,
    *,
    trained: bool = False,
) -> dict[str, Any]:
    """Return a model's arguments of `record_run`: logits, labels, representations, kind and digest of the examples.

    Args:
        model: As in `record_model`.
        batches: As in `record_model`.
        position: As in `record_model`.
        kind: As in `record_model`.
        trained: Whether training is over and nothing may be lost: invalid labels are left out instead of raising.

    Raises:
        UserError: As `record_model`.
    """
    check_position(position)
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    states: list[Tensor] = []
    digest = hashlib.sha256()
    choice, wrong = False, ""
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    with (
        torch.inference_mode(),
        preserved_random_state(),
        evaluating(model),
        _padding_checked(model) as check_padding,
    ):
        for batch in batches:
            positional, named, answers = _split(batch)
            inputs = {**{str(place): value for place, value in enumerate(positional)}, **named}
            _update(digest, inputs, answers)
            moved = {name: value.to(device) for name, value in named.items()}
            asked = {} if position is None else {"output_hidden_states": True}
            arguments = [value.to(device) for value in positional]
            outputs = _asked(model, arguments, moved | asked)
            check_padding(moved)
            logits.append(_logits(outputs))
            if len(logits) == 1:
                _say_restless(logits[0], _logits(model(*arguments, **moved, **asked)))
            if answers is not None and not wrong:
                try:
                    labels.append(checked(answers, *logits[-1].shape))
                except UserError as error:
                    if not trained:
                        raise
                    wrong = str(error)
                    warnings.warn(f"{wrong}; the run is recorded without labels", stacklevel=3)
            if position is not None:
                states.append(_states(outputs, moved.get("attention_mask"), position))
            choice |= "input_ids" in named and named["input_ids"].ndim == 3
    if not logits:
        raise UserError("there are no batches to record")
    fields: dict[str, Any] = {"logits": torch.cat(logits).numpy(), "examples": digest.hexdigest()}
    if labels and not wrong:
        fields["labels"] = torch.cat(labels).numpy()
    if states:
        fields["representations"] = stored(torch.cat(states, dim=1).numpy(), "float16")
    if not np.isfinite(fields["logits"]).all():
        row = int(np.argwhere(~np.isfinite(fields["logits"]))[0][0])
        fields |= {"status": "diverged", "reason": f"the model's outputs are not finite, first in row {row}"}
    if not np.isfinite(fields.get("representations", np.zeros(0))).all():
        # They cannot be measured, but the rest can.
        del fields["representations"]
        if "status" not in fields:
            warnings.warn("hidden states are not finite and were left out", stacklevel=3)
    fields["kind"] = kind or ("choice" if choice else _kind(fields["logits"], fields.get("labels")))
    return fields


def _asked(model: nn.Module, arguments: list[Tensor], named: dict[str, Any]) -> Any:
    try:
        return model(*arguments, **named)
    except TypeError as error:
        if "output_hidden_states" not in named or "output_hidden_states" not in str(error):
            raise
        raise UserError(
            f"{type(model).__name__} does not accept output_hidden_states, as models of transformers do: use "
            "position=None"
        ) from error


@contextmanager
def _padding_checked(model: nn.Module) -> Iterator[Callable[[Mapping[str, Tensor]], None]]:
    """Observe the last layer's input, and yield a check of whether a decoder reads it at a padding token."""
    entered: list[Tensor] = []
    try:
        handle = find_head(model)[2].register_forward_pre_hook(lambda _, inputs: entered.extend(inputs[:1]))
    except UserError:
        handle = None

    def check(inputs: Mapping[str, Tensor]) -> None:
        if entered and entered[-1].dim() == 3:
            try:
                read_token(model, entered[-1], inputs.get("input_ids"), inputs.get("attention_mask"))
            except UserError as error:  # its training may be over, so its outputs are recorded anyway
                warnings.warn(str(error), stacklevel=4)
        entered.clear()

    try:
        yield check
    finally:
        if handle is not None:
            handle.remove()


def _say_restless(first: Tensor, again: Tensor) -> None:
    """Warn if a model gives different outputs when called again in evaluation mode."""
    finite = torch.isfinite(first) & torch.isfinite(again)
    if not bool(finite.any()):
        return
    difference = (first - again)[finite].abs().max()
    if bool(difference > 1e-3 * first[finite].abs().max()):
        warnings.warn(
            f"the model gives different outputs for the same batch in evaluation mode (by up to {difference:.2g}): "
            "some dropout is still active and would count as variation between seeds; nn.functional.dropout needs "
            "training=self.training",
            stacklevel=4,
        )


def group_numbers(groups: Any) -> NDArray[np.int64]:
    """Return integers for groups: those given, or names numbered alphabetically."""
    values = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def labels_in(batch: Any) -> Tensor | None:
    """Return the labels of a batch, as `record_model` finds them."""
    return _split(batch)[2]


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
    found = logits_in(outputs).float().cpu()
    if found.ndim not in (1, 2):
        raise UserError(
            f"the model returns logits of shape {tuple(found.shape)}: there must be one row per example. "
            "For text, pass the generated texts to steadytune.record_run(generations=...)"
        )
    return found[:, None] if found.ndim == 1 else found


def checked(labels: Tensor, examples: int, outputs: int) -> Tensor:
    """Return the labels of a batch, one per example, classes as integers.

    Args:
        labels: The labels of the batch.
        examples: Rows of the batch.
        outputs: Number of model outputs per example; one is a number, more are classes or choices.

    Raises:
        UserError: There are several per example, a class has no output in the model, or a target is not finite.
    """
    flat = labels.cpu().flatten()
    if len(flat) != examples or len(labels) != examples:
        raise UserError(
            f"labels of shape {tuple(labels.shape)} for {examples} examples: only one label per example is "
            "supported, so tasks with several labels per example cannot be recorded"
        )
    if outputs > 1 and bool((flat == flat.long()).all()):
        flat = flat.long()
    check_highest(
        KINDS["regression" if outputs == 1 else "classification"].check_batch_labels(flat, "evaluation set"), outputs
    )
    return flat.float() if flat.is_floating_point() else flat.long()


def _states(outputs: Any, mask: Tensor | None, position: Position) -> Tensor:
    layers = hidden_states(outputs)[1:]
    shapes = {tuple(layer.shape) for layer in layers}
    if len(shapes) != 1 or layers[0].ndim != 3:
        raise UserError(f"hidden states must be (examples, tokens, width) in every layer, not {sorted(shapes)}")
    mask = layers[0].new_ones(layers[0].shape[:2]) if mask is None else mask.flatten(0, -2)
    return torch.stack([pool(layer, mask, position).float().cpu() for layer in layers])


def _kind(logits: NDArray[Any], labels: NDArray[Any] | None) -> str:
    if logits.shape[1] > 1:
        return "classification"
    # One output may be a target, or the logit of class 1: num_labels=1 does not decide.
    if labels is None or not np.isin(labels, (0, 1)).all():
        return "regression"
    raise UserError(
        "the model returns one number per example and all labels are 0 or 1: for two classes return the two logits 0 "
        "and that number; for a regression use kind='regression'"
    )
