"""The padding token: a decoder classifier reads its head at the last token that is not one, by its id."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from steadytune.errors import UserError
from steadytune.training.models import align_padding, configs_of, pool

_HOLDERS = ("tokenizer", "processing_class", "processor")


def tokenizer_in(*holders: Any) -> Any:
    """Return the tokenizer among tokenizers, processors, collators and loaders, or None."""
    for holder in holders:
        if isinstance(holder, PreTrainedTokenizerBase):
            return holder
        inner = [getattr(holder, name, None) for name in (*_HOLDERS, "collate_fn")]
        inner = [one for one in inner if one is not None and one is not holder]
        if inner and (found := tokenizer_in(*inner)) is not None:
            return found
    return None


def say_padding(model: nn.Module, tokenizer: Any) -> None:
    """Have a model read by its tokenizer's padding token, and warn if its configuration said another.

    Args:
        model: Of transformers; another is left as it is.
        tokenizer: Pads the batches; None where it is not known.
    """
    if tokenizer is not None and (said := align_padding(model, tokenizer)):
        warnings.warn(said, stacklevel=3)


def padding_id(model: nn.Module) -> int | None:
    """Return the id that a transformers model takes for padding, or None."""
    configs = configs_of(model)
    found: int | None = getattr(configs[-1], "pad_token_id", None) if configs else None
    return found


def read_token(model: nn.Module, states: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
    """Return (rows, d), of states (rows, T, d) the one that a decoder classifier takes its logits from.

    Args:
        model: Gives the padding id.
        states: Of every token.
        tokens: (..., T) ids; None where the model was given something else, and reads the last one.
        mask: (..., T), 1 at real tokens, or None.

    Raises:
        UserError: That is a padding token.
    """
    padding = padding_id(model)
    if tokens is None or padding is None:
        return states[:, -1]
    tokens = tokens.flatten(0, -2)
    read = tokens != padding
    if mask is not None and mask.shape[-1] == tokens.shape[-1]:
        shown = mask.flatten(0, -2)
        # Of the text's own tokens the last one that counts, and what stands where the text is over.
        place = pool(tokens.unsqueeze(-1), read.long(), "last")
        wrong = pool(shown.unsqueeze(-1), read.long(), "last").flatten() == 0
        if bool((wrong & (shown.sum(-1) > 0)).any()):
            used = int(place[wrong][0])
            raise UserError(
                f"the batches are padded with id {used}, and the model takes {padding} for padding, so that it reads "
                f"its last layer at a padding token: set model.config.pad_token_id = {used}"
            )
    return pool(states, read.long(), "last")
