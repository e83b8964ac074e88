"""What a trained model says about a data set, as arrays in the order of its examples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from steadytune.decoding import Decoding
from steadytune.files import Arrays, packed_texts
from steadytune.kinds import KINDS
from steadytune.kinds.encoding import IGNORED
from steadytune.models.candidates import Candidates
from steadytune.models.reading import read_arrays, read_candidates
from steadytune.models.states import logits_of
from steadytune.models.texts import forced, generate
from steadytune.training.data import Collator, Encoded, batches

_BATCH = 64
# Fewer where there is a distribution over all words at every token.
_PROMPTS = 16


class Asked(NamedTuple):
    """How a model is asked.

    Attributes:
        device: Device of the model.
        bf16: Whether to compute under bfloat16 autocast.
        position: "cls", "last" or "mean" to return hidden states of this position; None for none.
        decoding: How texts are generated.
        seed: Of the draws of generated words.
        candidates: Words at which the distributions of a generator are recorded; None for none.
    """

    device: torch.device
    bf16: bool = False
    position: str | None = None
    decoding: Decoding = Decoding()
    seed: int = 0
    candidates: Candidates | None = None


def observed(model: nn.Module, dataset: Encoded, collate: Collator, asked: Asked) -> Arrays:
    """Ask a model about all examples.

    Args:
        model: Left in evaluation mode.
        dataset: N examples.
        collate: Makes batches of them.
        asked: How.

    Returns:
        "logits" (rows, C), and "representations" (L, rows, D) if asked, see `logits_of`. From a generator
        "generations", see `packed_texts`, "representations", and of T target tokens in the order of the examples
        "token_counts" (N,), "target_log_probabilities" (T,), "token_choices" (T,) the most probable words and, at
        candidates, "token_log_probabilities" and "token_weights" (T, C) and "token_exact" ().
    """
    if KINDS[collate.kind].has_texts:
        return _texts(model, dataset, collate, asked)
    found = batches(dataset, collate, _BATCH)
    counted = KINDS[collate.kind].counted
    logits, states = logits_of(model, found, asked.device, asked.bf16, asked.position, counted)
    counts = [len(row["answers"]) if "answers" in row else 1 for row in dataset.rows]
    arrays: Arrays = {"logits": _in_order(logits, dataset, counts)}
    if states is not None:
        # Each example of several candidates has as many rows of states.
        each = [count * states.shape[1] // len(logits) for count in counts]
        arrays["representations"] = _in_order(states.swapaxes(0, 1), dataset, each).swapaxes(0, 1)
    return arrays


def _texts(model: nn.Module, dataset: Encoded, collate: Collator, asked: Asked) -> Arrays:
    device, bf16, position, decoding, seed, candidates = asked
    prompts = [row["prompt"] for row in dataset.rows]
    texts = generate(model, prompts, collate.tokenizer, decoding, device, bf16, seed=seed, batch_size=_PROMPTS)
    found = forced(model, batches(dataset, collate, _PROMPTS), device, bf16, position)
    arrays = read_arrays(found, dataset.shortest_first, candidates, target_counts(dataset))
    return {**arrays, "generations": packed_texts(texts)}


def target_counts(dataset: Encoded) -> NDArray[np.int64]:
    """Return the number of target tokens (N,) of each example."""
    return np.array([sum(label != IGNORED for label in row["labels"]) for row in dataset.rows], dtype=np.int64)


def find_candidates(model: nn.Module, dataset: Encoded, collate: Collator, device: torch.device) -> Candidates:
    """Return the words at which the runs that start from a pre-trained model are compared, see `draw_candidates`."""
    found = forced(model, batches(dataset, collate, _PROMPTS), device, False, None)
    return read_candidates(found, dataset.shortest_first)


def _in_order(rows: NDArray[Any], dataset: Encoded, counts: list[int]) -> NDArray[Any]:
    """Return the rows of all examples, of each as many as it has, in the order of the data set."""
    order = dataset.shortest_first
    ends = np.cumsum([counts[example] for example in order])
    places: list[NDArray[Any]] = [np.empty(0, np.intp)] * len(order)
    for example, end in zip(order, ends, strict=True):
        places[example] = np.arange(end - counts[example], end)
    result: NDArray[Any] = rows[np.concatenate(places)]
    return result
