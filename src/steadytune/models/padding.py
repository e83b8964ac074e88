"""The padding token: a decoder classifier reads its head at the last token that is not one, by its id."""

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
                f"the batches are padded with id {used}, but the model uses {padding} for padding, so that it reads "
                f"its last layer at a padding token: set model.config.pad_token_id = {used}"
            )
    return pool(states, read.long(), "last")


def align_padding(model: nn.Module, tokenizer: Any) -> str | None:
    """Set the padding id of a model's configuration to the tokenizer's, which is what stands in the batches.

    The row of that id in the token embeddings then learns nothing, where one of another id did not. A decoder
    classifier takes its logits from the last token that is not the configuration's.

    Returns:
        What was said before, in a sentence, if it was another id; None if there was none to contradict.
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
    """Say that configurations name another padding id than the tokenizer's, if they do."""
    said = (getattr(config, "pad_token_id", None) for config in configs)
    other = next((one for one in said if one not in (None, used)), None)
    if used is None or other is None:
        return None
    return (
        f"the model's configuration uses id {other} for padding, but its tokenizer pads with {used}: "
        "the tokenizer's is used"
    )
