"""Texts into rows of token ids, and rows into padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]
"""One example: {"inputs": [{input_ids, ...} for each candidate], "labels": what is right, and what its kind adds}."""

IGNORED = -100
"""Label of a token that does not count, such as padding or a prompt: torch's and transformers' own."""


class Encoding(NamedTuple):
    """Tokenized examples.

    Attributes:
        rows: A row for each of N examples.
        over: (N,) whether an input was truncated; None if the tokenizer does not report it.
    """

    rows: list[Row]
    over: NDArray[np.bool_] | None


def encode_texts(examples: Any, tokenizer: Any, max_length: int) -> Encoding:
    """Tokenize the candidates of examples, each with the example's label.

    Raises:
        UserError: A text cannot be tokenized.
    """
    segments = [segment for candidates in examples.candidates for segment in candidates]
    pairs = any(second is not None for _, second in segments)
    encoded = tokenized(
        tokenizer,
        [first for first, _ in segments],
        [second or "" for _, second in segments] if pairs else None,
        truncation=True,
        max_length=min(max_length, tokenizer.model_max_length),
    )
    names = list(encoded)
    flat = iter([dict(zip(names, values, strict=True)) for values in zip(*encoded.values(), strict=True)])
    rows = [
        {"inputs": [next(flat) for _ in candidates], "labels": label}
        for candidates, label in zip(examples.candidates, examples.labels.tolist(), strict=True)
    ]
    over = None
    if encoded.encodings:
        starts = np.cumsum([0, *map(len, examples.candidates[:-1])])
        over = np.logical_or.reduceat(np.array([bool(one.overflowing) for one in encoded.encodings]), starts)
    return Encoding(rows, over)


def tokenized(tokenizer: Any, *texts: Any, **options: Any) -> Any:
    """Call a tokenizer.

    Raises:
        UserError: A text cannot be tokenized.
    """
    try:
        return tokenizer(*texts, **options)
    except (TypeError, UnicodeError) as error:
        raise UserError(f"a text cannot be tokenized; it may contain broken characters: {error}") from error


def padded(rows: Sequence[Row], tokenizer: Any) -> dict[str, Tensor]:
    """Return the inputs of rows by name, padded: (inputs, T)."""
    flat = [inputs for row in rows for inputs in row["inputs"]]
    return dict(tokenizer.pad({name: [inputs[name] for inputs in flat] for name in flat[0]}, return_tensors="pt"))


def padded_labels(rows: Sequence[Row], inputs: dict[str, Tensor]) -> Tensor:
    """Return labels of tokens (b, T'), with `IGNORED` where there is none.

    Labels of as many tokens as the inputs have, in every row, belong to these tokens, wherever the padding is;
    otherwise they are a sequence of their own.
    """
    import torch

    labels: list[list[int]] = [row["labels"] for row in rows]
    if all(len(one) == len(row["inputs"][0]["input_ids"]) for one, row in zip(labels, rows, strict=True)):
        result = torch.full_like(inputs["input_ids"], IGNORED)
        result[inputs["attention_mask"].bool()] = torch.tensor([label for one in labels for label in one])
        return result
    width = max(map(len, labels))
    return torch.tensor([one + [IGNORED] * (width - len(one)) for one in labels])
