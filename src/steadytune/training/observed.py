"""What a trained model says about a data set, as arrays in the order of its examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from steadytune.files import Arrays
from steadytune.kinds import KINDS
from steadytune.models.states import logits_of
from steadytune.training.data import Collator, Encoded, batches

_BATCH = 64


def observed(
    model: nn.Module,
    dataset: Encoded,
    collate: Collator,
    device: torch.device,
    bf16: bool,
    position: str | None = None,
) -> Arrays:
    """Ask a model about all examples.

    Args:
        model: Left in evaluation mode.
        dataset: N examples.
        collate: Makes batches of them.
        device: Device of the model.
        bf16: Whether to compute under bfloat16 autocast.
        position: "cls", "last" or "mean" to return hidden states of this position; None for none.

    Returns:
        "logits" (rows, C), and "representations" (L, rows, D) if asked, see `logits_of`.
    """
    answering = KINDS[collate.kind].answering
    logits, states = logits_of(model, batches(dataset, collate, _BATCH), device, bf16, position, answering)
    counts = [len(row["answers"]) if "answers" in row else 1 for row in dataset.rows]
    arrays: Arrays = {"logits": _in_order(logits, dataset, counts)}
    if states is not None:
        # Each example of several candidates has as many rows of states.
        each = [count * states.shape[1] // len(logits) for count in counts]
        arrays["representations"] = _in_order(states.swapaxes(0, 1), dataset, each).swapaxes(0, 1)
    return arrays


def _in_order(rows: NDArray[Any], dataset: Encoded, counts: list[int]) -> NDArray[Any]:
    """Return the rows of all examples, of each as many as it has, in the order of the data set."""
    order = dataset.shortest_first
    ends = np.cumsum([counts[example] for example in order])
    places: list[NDArray[Any]] = [np.empty(0, np.intp)] * len(order)
    for example, end in zip(order, ends, strict=True):
        places[example] = np.arange(end - counts[example], end)
    result: NDArray[Any] = rows[np.concatenate(places)]
    return result
