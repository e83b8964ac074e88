"""Batches of any form, and what is asked and said of them whatever kind of run is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError, unknown_name
from steadytune.models.states import stored

Position = Literal["auto", "cls", "mean", "last"]
_LABELS = ("labels", "label")


def check_position(position: str | None) -> None:
    """Reject an unknown position of hidden states.

    Raises:
        UserError: The position is unknown; names the closest one.
    """
    if position is not None and position not in get_args(Position):
        raise unknown_name("position", str(position), get_args(Position))


class NoStates(UserError):
    """A model returns no hidden states, or none of a transformer."""


def group_numbers(groups: Any) -> NDArray[np.int64]:
    """Return integers for groups: those given, or names numbered alphabetically."""
    values = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def labels_in(batch: Any) -> Tensor | None:
    """Return the labels of a batch, as `record_model` finds them."""
    return split(batch)[2]


def split(batch: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor | None]:
    """Return positional and keyword arguments of the model, and the labels."""
    if isinstance(batch, Tensor):
        return (batch,), {}, None
    if isinstance(batch, Mapping):
        answers = next((batch[name] for name in _LABELS if name in batch), None)
        named = {str(name): value for name, value in batch.items() if name not in _LABELS}
        return (), {name: value for name, value in named.items() if isinstance(value, Tensor)}, answers
    *inputs, answers = batch
    return tuple(inputs), {}, answers


def update(digest: Any, inputs: Mapping[str, Tensor], labels: Tensor | None, at: Tensor | None) -> None:
    """Add examples to a digest, row by row and without padding, so that it does not depend on the size of a batch.

    Args:
        digest: The digest.
        inputs: What the model reads.
        labels: The labels of the batch, if any.
        at: (b, T) which labels count; None if there is one for each example.
    """
    mask = inputs.get("attention_mask")
    values = {name: value.cpu() for name, value in inputs.items() if name != "attention_mask"}
    of_tokens = {name for name, value in values.items() if mask is not None and value.shape == mask.shape}
    if labels is not None:
        values["labels"] = labels.cpu()
        if at is not None and mask is not None and at.shape == mask.shape:
            of_tokens.add("labels")
    for row in range(len(next(iter(values.values())))):
        for name in sorted(values):
            value = values[name][row]
            if mask is not None and name in of_tokens:
                value = value[mask[row].bool().cpu()]
            # NumPy has no bfloat16.
            value = value.float() if value.is_floating_point() else value
            digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
            digest.update(value.contiguous().numpy().tobytes())


def unlike(first: Tensor, again: Tensor) -> str:
    """Return a sentence if a model gave other outputs for the same batch when it was called again, or ""."""
    finite = torch.isfinite(first) & torch.isfinite(again)
    if not bool(finite.any()):
        return ""
    difference = (first - again)[finite].abs().max()
    if bool(difference <= 1e-3 * first[finite].abs().max()):
        return ""
    return (
        f"the model gives different outputs for the same batch in evaluation mode (by up to {difference:.2g}): "
        "some dropout is still active and would count as variation between seeds; nn.functional.dropout needs "
        "training=self.training"
    )


def kept_states(states: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], str]:
    """Return hidden states (L, rows, D) as "representations" in half precision, or nothing, and a sentence why."""
    if np.isfinite(states).all():
        return {"representations": stored(states, "float16")}, ""
    # They cannot be measured, but the rest can.
    return {}, "hidden states are not finite and were left out"
