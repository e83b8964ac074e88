"""What encoder-decoders are pre-trained on: a text with spans missing, and what restores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steadytune.errors import UserError
from steadytune.kinds.encoding import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

Tokens = list[int]
Damage = Callable[[Tokens, Tokens, Tokens, np.random.Generator], tuple[Tokens, Tokens]]
"""Special tokens at the start of a text, its own tokens, and those at its end -> what is read, what is written."""

_T5 = (0.15, 3)
_SENTINELS = 100
# As SentencePiece writes it.
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_BART = {"bart": (0.3, 3.0), "mbart": (0.35, 3.5)}
DENOISED = frozenset({"t5", "mt5", "umt5", "switch_transformers", *_BART})
"""Architectures whose pre-training is one of those here, by the type of their configuration."""
VERSION = "denoising 1"
"""Part of the key of weights that these objectives gave: those that BART had of an earlier one are not used."""


def damage_of(model_type: str, tokenizer: Any) -> Damage:
    """Return the objective of an architecture in `DENOISED`.

    Raises:
        UserError: The tokenizer lacks the tokens that mark missing spans.
    """
    if model_type in _BART:
        if tokenizer.mask_token_id is None:
            raise UserError(f"surt: {model_type} learned to fill in masks, but its tokenizer has no mask token")
        share, mean = _BART[model_type]
        return lambda start, own, end, generator: infilling(
            own, start, end, tokenizer.mask_token_id, generator, share, mean
        )
    sentinels = sentinels_of(tokenizer)
    if len(sentinels) < 2:
        raise UserError(
            f"surt: {model_type} learned to fill in spans between sentinels, but its tokenizer has no <extra_id_0> and "
            "<extra_id_1>"
        )
    return lambda start, own, end, generator: span_corruption(own, start, end, sentinels, generator)


def sentinels_of(tokenizer: Any) -> list[int]:
    """Return the numbers of the tokens that mark missing spans, in order; empty if there are none.

    The vocabulary of mT5 spells them with a space, and its tokenizer does not call them special (transformers issue
    22626). Where both spellings are known, the other one was added later.
    """
    known = tokenizer.get_vocab()
    found = (known.get(f"{_SPACE}<extra_id_{n}>", known.get(f"<extra_id_{n}>")) for n in range(_SENTINELS))
    return [number for number in found if number is not None]


def span_corruption(
    own: Tokens, start: Tokens, end: Tokens, sentinels: Sequence[int], generator: np.random.Generator
) -> tuple[Tokens, Tokens]:
    """Replace spans of a text by sentinels, a new one for each, and write what they stand for.

    15 % of the tokens are lost, in spans of 3 on average that do not touch. What is written has each sentinel before
    the tokens that it stands for, and one more at its end.

    Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 21,
    2020, section 3.3.4 (recalled). Their code always loses the end of a text of 512 tokens; here spans lie anywhere,
    because the texts are short.

    Args:
        own: The tokens of the text.
        start: Special tokens before it, which are never lost.
        end: Those after it, which also end what is written.
        sentinels: Their numbers, in order; with too few of them the spans are longer.
        generator: For lengths and places.

    Returns:
        The tokens that are read, and those that are written.
    """
    share, mean = _T5
    lost = min(max(1, round(share * len(own))), max(1, len(own) - 1)) if own else 0
    kept = len(own) - lost
    spans = min(max(1, round(lost / mean)), kept + 1, len(sentinels) - 1) if own else 0
    cuts = 1 + np.sort(generator.choice(max(lost - 1, 0), max(spans - 1, 0), replace=False))
    lengths: Any = np.diff([0, *cuts, lost]) if spans else []
    places = np.sort(generator.choice(kept + 1, spans, replace=False))
    pieces, missing = _parts(own, lengths, places)
    read, written = [*start, *pieces[0]], []
    for sentinel, span, piece in zip(sentinels, missing, pieces[1:], strict=False):
        read += [sentinel, *piece]
        written += [sentinel, *span]
    return [*read, *end], [*written, sentinels[spans], *end]


def infilling(
    own: Tokens, start: Tokens, end: Tokens, mask: int, generator: np.random.Generator, share: float, mean: float
) -> tuple[Tokens, Tokens]:
    """Replace spans of a text by one mask each, and write the whole text.

    The lengths of spans are drawn from a Poisson distribution until they make up the share of tokens to lose; a span of
    length 0 is a mask that stands for nothing. Of the tokens of BART's pre-training 30 % were lost, with a mean of 3,
    of mBART's words 35 %, with 3.5.

    Source: Lewis et al., "BART", ACL 2020; Liu et al., "Multilingual Denoising Pre-training", TACL 2020 (recalled). The
    order of the sentences, which both change as well, is kept here: task inputs have few.

    Args:
        own: The tokens of the text.
        start: Special tokens before it, which are never lost.
        end: Those after it.
        mask: The mask token.
        generator: For lengths and places.
        share: Share of the tokens to lose.
        mean: Mean length of a span.

    Returns:
        The tokens that are read, and those that are written.
    """
    rest = max(1, round(share * len(own))) if own else 0
    lengths = []
    while rest:
        lengths.append(min(rest, int(generator.poisson(mean))))
        rest -= lengths[-1]
    places = np.sort(generator.integers(len(own) - sum(lengths) + 1, size=len(lengths)))
    pieces, _ = _parts(own, lengths, places)
    read = [*start, *pieces[0]]
    for piece in pieces[1:]:
        read += [mask, *piece]
    return [*read, *end], [*start, *own, *end]


def _parts(own: Tokens, lengths: Any, places: Any) -> tuple[list[Tokens], list[Tokens]]:
    """Split a text into what is kept, around the spans, and the spans; `places` say how many kept tokens precede."""
    kept, lost, at, gone = [], [], 0, 0
    for length, place in zip(lengths, places, strict=True):
        first = int(place) + gone
        kept.append(own[at:first])
        at, gone = first + int(length), gone + int(length)
        lost.append(own[first:at])
    return [*kept, own[at:]], lost


class Denoising:
    """Makes batches of damaged texts, each time damaged anew.

    Args:
        damage: See `damage_of`.
        tokenizer: Of the model.
        seed: Seed of the damage.
    """

    def __init__(self, damage: Damage, tokenizer: Any, seed: int) -> None:
        self.damage, self.tokenizer = damage, tokenizer
        self.generator = np.random.default_rng(seed)
        self.special = {*tokenizer.all_special_ids, *sentinels_of(tokenizer)}

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask (b, T), padded, and labels (b, T'), with -100 where a text has ended."""
        import torch

        pairs = [self.damage(*self._ends(list(row["input_ids"])), self.generator) for row in rows]
        width = max(len(written) for _, written in pairs)
        labels = [written + [IGNORED] * (width - len(written)) for _, written in pairs]
        inputs = self.tokenizer.pad({"input_ids": [read for read, _ in pairs]}, return_tensors="pt")
        return {**inputs, "labels": torch.tensor(labels)}

    def _ends(self, tokens: Tokens) -> tuple[Tokens, Tokens, Tokens]:
        own = [place for place, token in enumerate(tokens) if token not in self.special]
        first, last = (own[0], own[-1] + 1) if own else (len(tokens), len(tokens))
        return tokens[:first], tokens[first:last], tokens[last:]
