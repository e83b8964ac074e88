"""Outputs of a trained model: logits, and the hidden states after each block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.models.modules import pool

_HALF_MAX = 65504.0


@torch.inference_mode()
def logits_of(
    model: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    device: torch.device,
    bf16: bool,
    position: str | None = None,
    counted: Callable[[Tensor], Tensor | None] = lambda labels: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Run a model over batches, without dropout.

    Args:
        model: Returns `logits`; left in evaluation mode.
        batches: Padded inputs with labels, which the model does not see.
        device: Device of the model.
        bf16: Whether to compute under bfloat16 autocast.
        position: "cls", "last" or "mean" to return hidden states reduced in this way; None for none.
        counted: `Kind.counted`. Where it gives tokens, each is a row of logits, and of states as they are there.

    Returns:
        Logits (N, C), and states (L, rows, D) after each of L blocks (the embedding output is not counted; rows are
        candidates for a multiple-choice task), or None.
    """
    model.eval()
    logits: list[Tensor] = []
    states: list[Tensor] = []
    for batch in batches:
        inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
        with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
            outputs = model(**inputs, output_hidden_states=position is not None)
        asked = counted(batch["labels"]) if "labels" in batch else None
        at = None if asked is None else asked.to(device)
        logits.append((outputs.logits if at is None else outputs.logits[at]).float().cpu())
        if position is not None:
            mask = inputs["attention_mask"].flatten(0, -2)
            layers = hidden_states(outputs)[1:]
            rows = [pool(layer, mask, position) if at is None else layer[at] for layer in layers]
            states.append(torch.stack([row.float().cpu() for row in rows]))
    return torch.cat(logits).numpy(), torch.cat(states, dim=1).numpy() if states else None


def hidden_states(outputs: Any) -> tuple[Tensor, ...]:
    """Return the requested hidden states of a transformers model; for an encoder-decoder those of the encoder.

    Raises:
        UserError: It returns none.
    """
    for name in ("hidden_states", "encoder_hidden_states"):
        states: tuple[Tensor, ...] | None = getattr(outputs, name, None)
        if states is not None:
            return states
    raise UserError("the model returns no hidden states: use position=None, or pass them to steadytune.record_run")


def stored(representations: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Return representations in the precision in which they are stored: half unless they exceed its range."""
    if dtype == "float16" and np.abs(representations).max(initial=0) < _HALF_MAX:
        return representations.astype(np.float16)
    return representations
