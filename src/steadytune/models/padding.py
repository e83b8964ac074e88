"""The padding token: a decoder classifier reads its head at the last token whose id is not the padding id."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from steadytune.errors import UserError
from steadytune.models.modules import configs_of, encoder_of, pool

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
    """Make a model use its tokenizer's padding token, and warn if its configuration had another.

    Args:
        model: A transformers model; any other is left unchanged.
        tokenizer: Tokenizer that pads the batches; None if unknown.
    """
    if tokenizer is not None and (said := align_padding(model, tokenizer)):
        warnings.warn(said, stacklevel=3)


def padding_id(model: nn.Module) -> int | None:
    """Return a transformers model's padding id, or None."""
    configs = configs_of(model)
    found: int | None = getattr(configs[-1], "pad_token_id", None) if configs else None
    return found


def read_token(model: nn.Module, states: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
    """Return the states (rows, d), of (rows, T, d), from which a decoder classifier computes its logits.

    Args:
        model: Defines the padding id.
        states: States of every token.
        tokens: (..., T) ids; None if the model was given something else, and reads the last one.
        mask: (..., T), 1 at real tokens, or None.

    Raises:
        UserError: The token is a padding token.
    """
    padding = padding_id(model)
    if tokens is None or padding is None:
        return states[:, -1]
    tokens = tokens.flatten(0, -2)
    read = tokens != padding
    if mask is not None and mask.shape[-1] == tokens.shape[-1]:
        shown = mask.flatten(0, -2)
        # The last real token of each text, and the tokens after its end.
        place = pool(tokens.unsqueeze(-1), read.long(), "last")
        wrong = pool(shown.unsqueeze(-1), read.long(), "last").flatten() == 0
        if bool((wrong & (shown.sum(-1) > 0)).any()):
            used = int(place[wrong][0])
            raise UserError(
                f"the batches are padded with id {used}, but the model uses {padding} for padding, so that it reads "
                f"its last layer at a padding token: set model.config.pad_token_id = {used}"
            )
    return pool(states, read.long(), "last")


def align_padding(model: nn.Module, tokenizer: Any) -> str | None:
    """Set the padding id of a model's configuration to the tokenizer's, which is used in the batches.

    The row of that id in the token embeddings is then not trained, instead of that of another id. A decoder
    classifier computes its logits from the last token other than the configuration's padding token.

    Returns:
        A sentence naming the previous id if it was different; otherwise None.
    """
    places, used = configs_of(model), tokenizer.pad_token_id
    said = contradicted_padding(places, used)
    if used is not None:
        for place in places:
            if place is places[-1] or hasattr(place, "pad_token_id"):
                place.pad_token_id = used
        for embedding in _token_embeddings(model) if places else ():
            if embedding.padding_idx is not None:
                embedding.padding_idx = used if used < embedding.num_embeddings else None
    return said


def _token_embeddings(model: nn.Module) -> Iterator[nn.Embedding]:
    encoder: Any = encoder_of(model)
    found = encoder.get_input_embeddings() if isinstance(encoder, PreTrainedModel) else None
    if isinstance(found, nn.Module):
        # PEFT may have wrapped them.
        yield from (module for module in found.modules() if isinstance(module, nn.Embedding))


def contradicted_padding(configs: Sequence[Any], used: int | None) -> str | None:
    """Return a sentence if configurations have a padding id different from the tokenizer's."""
    said = (getattr(config, "pad_token_id", None) for config in configs)
    other = next((one for one in said if one not in (None, used)), None)
    if used is None or other is None:
        return None
    return (
        f"the model's configuration uses id {other} for padding, but its tokenizer pads with {used}: "
        "the tokenizer's is used"
    )
