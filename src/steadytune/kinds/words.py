"""Sentences of words into rows of tokens, each word with the label of its class at its first token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from steadytune.errors import UserError
from steadytune.kinds.encoding import IGNORED, Encoding, tokenized


class _Part(NamedTuple):
    """Tokens of successive words, and the position of the first token of each word."""

    inputs: dict[str, Any]
    firsts: list[int]


def encode_words(examples: Any, tokenizer: Any, max_length: int) -> Encoding:
    """Tokenize sentences, so that every word is read by every model, whatever its limit.

    The words are joined by spaces, which is the text that a model has seen. A sentence of too many tokens is halved
    between two words until its parts fit; no word is cut off. A word without a token, such as an invisible mark,
    becomes the unknown one.

    Args:
        examples: With words as `parts` and tuples of classes as labels.
        tokenizer: Of the model.
        max_length: Most tokens per input.

    Returns:
        Rows whose "inputs" are the parts of a sentence, whose "labels" are those of the tokens of each part, `IGNORED`
        but for the first of each word, and whose "answers" are the classes of the words. `over` are sentences in parts.

    Raises:
        UserError: A text cannot be tokenized, or the tokenizer does not say where words begin.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"tokens need a tokenizer that says where words begin, which {type(tokenizer).__name__} does not: choose a "
            "model with a fast one (tokenizer.json)"
        )
    limit = min(max_length, tokenizer.model_max_length)
    rows, over = [], []
    for words, labels in zip(examples.parts, examples.labels, strict=True):
        parts = _parts(tokenizer, words, limit)
        marked, place = [], 0
        for part in parts:
            marks = [IGNORED] * len(part.inputs["input_ids"])
            for first in part.firsts:
                marks[first] = labels[place]
                place += 1
            marked.append(marks)
        rows.append({"inputs": [part.inputs for part in parts], "labels": marked, "answers": list(labels)})
        over.append(len(parts) > 1)
    return Encoding(rows, np.array(over, dtype=bool))


def _parts(tokenizer: Any, words: Sequence[str], limit: int) -> list[_Part]:
    encoded = tokenized(tokenizer, " ".join(words), truncation=True, max_length=limit)
    cut = bool(encoded.encodings[0].overflowing)
    if cut and len(words) > 1:
        middle = len(words) // 2
        return [*_parts(tokenizer, words[:middle], limit), *_parts(tokenizer, words[middle:], limit)]
    spans = encoded.encodings[0].offsets
    firsts = _firsts(words, spans)
    if None in firsts:
        unknown = tokenizer.unk_token or tokenizer.eos_token
        known = [unknown if first is None else word for word, first in zip(words, firsts, strict=True)]
        if known == list(words):
            word = words[firsts.index(None)]
            raise UserError(
                f"the tokenizer gives the word {word!r:.60} of {' '.join(words)!r:.200} no token of its own"
            )
        return _parts(tokenizer, known, limit)
    return [_Part(dict(encoded), [first for first in firsts if first is not None])]


def _firsts(words: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """Return the first token of each word that is no word's before it; None for a word that has none."""
    ends = list(accumulate(len(word) + 1 for word in words))
    firsts: list[int | None] = []
    token = 0
    for word, end in zip(words, ends, strict=True):
        first, last = end - 1 - len(word), end - 1
        # Special tokens are empty; a token may begin with the space before the word.
        while token < len(spans) and (spans[token][0] == spans[token][1] or spans[token][1] <= first):
            token += 1
        found = token < len(spans) and spans[token][0] < last
        firsts.append(token if found else None)
        token += found
    return firsts
