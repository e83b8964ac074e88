"""What generators leave of reading references: arrays in the order of the examples, and the words that are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.models.candidates import Candidates, draw_candidates
from steadytune.models.texts import Forced

_TARGETS, _CHOICES, _STATES = "target_log_probabilities", "token_choices", "representations"
_AT_CANDIDATES = "token_log_probabilities"


def read_arrays(
    found: Iterable[Forced],
    order: NDArray[np.intp] | None = None,
    candidates: Candidates | None = None,
    counts: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return what a generator says under teacher forcing.

    Args:
        found: What it says of N examples.
        order: (N,) the number of each of these examples; None if they come in their order.
        candidates: Words at which its distributions are kept; None for none.
        counts: (N,) number of target tokens of each example, in their order; needed with candidates.

    Returns:
        Of T target tokens in the order of the examples "token_counts" (N,), "target_log_probabilities" (T,),
        "token_choices" (T,) the most probable words and, at candidates, "token_log_probabilities" and "token_weights"
        (T, C) and "token_exact" (); "representations" (L, N, D) if they were asked for.

    Raises:
        UserError: Examples have other numbers of tokens than the candidates were drawn for.
    """
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (_TARGETS, _CHOICES, _AT_CANDIDATES, _STATES)}
    kept: list[int] = []
    ends = np.zeros(0, np.int64) if counts is None else np.cumsum(counts)
    for place, one in enumerate(found):
        example = place if order is None else int(order[place])
        kept.append(len(one.targets))
        parts[_TARGETS].append(one.log_probabilities.gather(1, one.targets[:, None])[:, 0].numpy())
        parts[_CHOICES].append(one.log_probabilities.argmax(1).numpy())
        if candidates is not None and counts is not None:
            held = counts[example] if example < len(counts) else 0
            if held != len(one.targets):
                raise _other_examples(f"example {example} has {len(one.targets)} target tokens, but had {held}")
            words = candidates.words[ends[example] - held : ends[example]]
            parts[_AT_CANDIDATES].append(one.log_probabilities.gather(1, words).numpy())
        if one.states is not None:
            parts[_STATES].append(one.states.numpy()[None])
    if counts is not None and len(kept) != len(counts):
        raise _other_examples(f"there are {len(kept)} examples, but there were {len(counts)}")
    inverse = np.arange(len(kept)) if order is None else np.argsort(order)
    arrays = {name: np.concatenate([part[index] for index in inverse]) for name, part in parts.items() if part}
    if _STATES in arrays:
        arrays[_STATES] = arrays[_STATES].swapaxes(0, 1)
    arrays["token_counts"] = np.array(kept, dtype=np.int64)[inverse]
    if candidates is not None:
        arrays |= {"token_weights": candidates.weights.numpy(), "token_exact": np.array(candidates.exact)}
    return arrays


def _other_examples(said: str) -> UserError:
    return UserError(f"{said} when the words that are compared were drawn: the evaluation set must stay the same")


def read_candidates(found: Iterable[Forced], order: NDArray[np.intp] | None = None) -> Candidates:
    """Return the words at which the runs that start from a pre-trained model are compared, see `draw_candidates`.

    Args:
        found: What the pre-trained model says of N examples.
        order: As in `read_arrays`.
    """
    drawn = [
        draw_candidates(one.log_probabilities, place if order is None else int(order[place]))
        for place, one in enumerate(found)
    ]
    return Candidates.of(drawn if order is None else [drawn[index] for index in np.argsort(order)])
