"""Loading of models for training: float32, with a new last layer, and logits as output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.models.modules import PooledClassifier, find_head, initial_scale, learned_positions
from steadytune.models.padding import align_padding, contradicted_padding
from steadytune.study import Training
from steadytune.tasks.base import Task
from steadytune.training.weights import model_folder

# transformers writes 1e30 where a tokenizer has no limit.
_UNKNOWN_LENGTH = 1e20
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the library's progress bars and reports of new weights."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer with a padding token, padding on the side that the model does not read."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_folder(name), trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"model '{name}': its tokenizer cannot be loaded: {reason}") from error
    if tokenizer.model_max_length > _UNKNOWN_LENGTH:
        config = AutoConfig.from_pretrained(model_folder(name), trust_remote_code=False)
        tokenizer.model_max_length = learned_positions(config) or tokenizer.model_max_length
    # XLNet reads its head at the last position, whatever is there.
    tokenizer.padding_side = "left" if type(tokenizer).__name__.startswith("XLNet") else "right"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(f"model '{name}': its tokenizer has neither a padding token nor an end-of-text token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@lru_cache
def padding_note(name: str) -> str | None:
    """Report what `align_padding` changes in a model, if anything."""
    config = AutoConfig.from_pretrained(model_folder(name), trust_remote_code=False)
    return contradicted_padding([config, config.get_text_config()], load_tokenizer(name).pad_token_id)


def load_encoder(name: str) -> nn.Module:
    """Load a model without a head, in float32; for an encoder-decoder model only the encoder."""
    model = _load(AutoModel, model_folder(name))
    encoder: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model
    return encoder


def build_model(name: str, task: Task, training: Training, tokenizer: Any) -> nn.Module:
    """Load a model with a new last layer, drawn from the global random state.

    Args:
        name: As `model_folder` takes it.
        task: Defines the number of outputs.
        training: Defines the pooling, resolved.
        tokenizer: Defines the padding token that a decoder needs to find the last token.

    Raises:
        UserError: The files are no such model.
    """
    kind = KINDS[task.kind]
    model: Any
    if training.pooling == "native" or not kind.pooled:
        auto_class = getattr(transformers, kind.auto_model(is_encoder_decoder(name)))
        options = {"num_labels": task.num_outputs} if kind.new_head else {}
        model = _load(auto_class, model_folder(name), whole=not kind.new_head, **options)
        if kind.new_head:
            _, _, head = find_head(model)
            nn.init.normal_(head.weight, std=initial_scale(model.config))
            if head.bias is not None:
                nn.init.zeros_(head.bias)
    else:
        model = PooledClassifier(load_encoder(name), task.num_outputs, training.pooling)
    align_padding(model, tokenizer)
    return kind.model(model)


def check_writes(name: str, kind: str) -> None:
    """Reject a model that reads texts from both sides, where texts are to be written.

    Raises:
        UserError: It is one: in training it would read the text that it is to learn.
    """
    if KINDS[kind].has_texts and not is_encoder_decoder(name) and not is_decoder(name):
        raise UserError(
            f"model '{name}' reads a text from both sides, so it cannot write one: for the kind {kind} choose a "
            "decoder, such as GPT or Llama, or an encoder-decoder, such as T5 or BART"
        )


def _load(auto_class: Any, folder: Path, whole: bool = False, **options: Any) -> Any:
    """Load a model from a folder; `whole` if the last layer must be pre-trained too."""
    try:
        model, loading = auto_class.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # A head of different width is re-initialised; anything else that does not fit is rejected below.
            ignore_mismatched_sizes=True,
            **options,
        )
    except (ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"{folder} cannot be loaded as a {auto_class.__name__}: {reason}") from error
    names = [*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])]
    if beyond := _beyond_config(loading["unexpected_keys"], model):
        raise UserError(
            f"{folder}: config.json and the weights do not belong together: the weights contain blocks that "
            f"config.json does not have, such as {beyond[0]}"
        )
    prefix = "" if whole or auto_class is AutoModel else f"{model.base_model_prefix}."
    wrong = sorted(name for name in names if name.startswith(prefix) and "pooler" not in name)
    if wrong:
        raise UserError(
            f"{folder}: config.json and the weights do not belong together: "
            f"{len(wrong)} pre-trained tensors are missing or of another shape, such as {wrong[0]}"
        )
    return model


def _beyond_config(unexpected: Iterable[str], model: nn.Module) -> list[str]:
    """Return the names of weights that would belong to a block beyond those of the model."""
    # The names in the file may lack the prefix of the pre-trained part, or have it although the model's do not.
    held = {_unnumbered(name) for name in model.state_dict() if _NUMBER.search(name)}
    held |= {name.partition(".")[2] for name in held}
    found = []
    for name in unexpected:
        general = _unnumbered(name)
        if general != name and (general in held or general.partition(".")[2] in held):
            found.append(name)
    return sorted(found)


def _unnumbered(name: str) -> str:
    return _NUMBER.sub("#", name)


def is_encoder_decoder(name: str) -> bool:
    """Whether the model is an encoder-decoder."""
    config = AutoConfig.from_pretrained(model_folder(name), trust_remote_code=False)
    return bool(config.is_encoder_decoder)


def is_decoder(name: str) -> bool:
    """Whether the model reads left to right, so that only its last token has seen the whole text."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    config = AutoConfig.from_pretrained(model_folder(name), trust_remote_code=False)
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return bool(getattr(config, "is_decoder", False) or (causal and not config.is_encoder_decoder))
