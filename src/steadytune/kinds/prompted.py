"""Prompts and the texts that follow them, as rows of token ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from steadytune.errors import UserError, one_line
from steadytune.kinds.encoding import IGNORED, Encoding, Row, tokenized

_BETWEEN = "\n"
"""What a causal model reads between a prompt and a text that no white space separates."""


def encode_prompts(examples: Any, tokenizer: Any, max_length: int, seq2seq: bool) -> Encoding:
    """Tokenize prompts and the first accepted text of each, which the tokenizer's end-of-text token ends.

    A causal model reads both in one sequence of `max_length` tokens at most; the labels are those of the text alone.
    An encoder-decoder reads the prompt, and its labels are the text, each of `max_length` tokens at most. A prompt that
    is too long loses its beginning, but for special tokens, and a text its end, and with it the end-of-text token. In
    one sequence neither is cut to less than half of the limit.

    Args:
        examples: A `tasks.Examples` whose labels are tuples of texts, and whose `parts`, if any, are chats.
        tokenizer: Of the model.
        max_length: Most tokens.
        seq2seq: Whether the model is an encoder-decoder.

    Returns:
        Rows with "inputs", "labels" and "prompt", the ids after which a model generates: `max_length` at most.

    Raises:
        UserError: A text cannot be tokenized, or the tokenizer has no end-of-text token, or no template for chats.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the model's tokenizer has no end-of-text token, so that no text could end: set its eos_token")
    limit = min(max_length, tokenizer.model_max_length)
    targets = [references[0] for references in examples.labels.tolist()]
    if examples.parts is None:
        texts = [first for ((first, _),) in examples.candidates]
        if not seq2seq:
            texts = [text + _separator(text, target) for text, target in zip(texts, targets, strict=True)]
    else:
        texts = [_templated(tokenizer, chat) for chat in examples.parts]
    # A template writes special tokens, and whatever precedes an answer, itself.
    prompts = tokenized(tokenizer, texts, add_special_tokens=examples.parts is None, return_special_tokens_mask=True)
    answers = tokenized(tokenizer, **{"text_target" if seq2seq else "text": targets}, add_special_tokens=False)
    rows, over = [], []
    for prompt, special, answer in zip(
        prompts["input_ids"], prompts["special_tokens_mask"], answers["input_ids"], strict=True
    ):
        first, last = _special_ends(special)
        labels = [*answer, tokenizer.eos_token_id]
        # What ends a prompt would end the text that a causal model is to go on with.
        whole = prompt if seq2seq else prompt[: len(prompt) - last]
        target = labels[: limit if seq2seq else max(limit - len(whole), limit - limit // 2)]
        kept = _cut(whole, limit if seq2seq else limit - len(target), first)
        if seq2seq:
            rows.append(_row(kept, target, kept))
        else:
            # What a model goes on from must not depend on how long the right text is.
            rows.append(_row([*kept, *target], [*[IGNORED] * len(kept), *target], _cut(whole, limit, first)))
        over.append(len(kept) < len(whole) or len(target) < len(labels))
    return Encoding(rows, np.array(over, dtype=bool))


def _row(inputs: list[int], labels: list[int], prompt: list[int]) -> Row:
    return {
        "inputs": [{"input_ids": inputs, "attention_mask": [1] * len(inputs)}],
        "labels": labels,
        "prompt": prompt,
    }


def _separator(prompt: str, target: str) -> str:
    return "" if prompt[-1:].isspace() or target[:1].isspace() else _BETWEEN


def _templated(tokenizer: Any, chat: tuple[tuple[str, str], ...]) -> str:
    """Return a chat as the tokenizer's template writes it, up to where the assistant's message begins.

    Raises:
        UserError: There is no template, or it refuses the chat.
    """
    if not tokenizer.chat_template:
        raise UserError(
            "the model's tokenizer has no chat template, so it cannot read messages: choose a model that was trained "
            "on chats, or write the messages as texts into a column of prompts"
        )
    messages = [{"role": role, "content": content} for role, content in chat]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # it is the template's own code
        raise UserError(f"the tokenizer's chat template refuses a chat: {one_line(error)}") from error
    return text


def _special_ends(special: list[int]) -> tuple[int, int]:
    """Return how many special tokens a prompt begins and ends with."""
    plain = [place for place, mark in enumerate(special) if not mark]
    return (plain[0], len(special) - 1 - plain[-1]) if plain else (len(special), 0)


def _cut(ids: list[int], limit: int, first: int) -> list[int]:
    """Return at most `limit` ids: the `first` ones, and the end of the rest."""
    if len(ids) <= limit:
        return ids
    kept = ids[:first][:limit]
    return kept + ids[len(ids) - limit + len(kept) :]
