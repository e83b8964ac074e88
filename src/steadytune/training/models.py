"""Models as the training code sees them: float32, with a fresh last layer, and logits as their output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging

from steadytune.errors import UserError
from steadytune.study import Training
from steadytune.tasks.base import Task
from steadytune.training.weights import model_folder

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's own bars and reports of new weights out of the sweep's display."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its parts back into the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer with a padding token, padding where the model does not read."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_folder(name), trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"model '{name}': its tokenizer cannot be loaded: {reason}") from error
    # XLNet reads its head at the last place, whatever stands there.
    tokenizer.padding_side = "left" if type(tokenizer).__name__.startswith("XLNet") else "right"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(f"model '{name}': its tokenizer has neither a padding token nor one that ends a text")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


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
        f"the model's configuration takes id {other} for padding and its tokenizer pads with {used}: "
        "the tokenizer's is used"
    )


@lru_cache
def padding_note(name: str) -> str | None:
    """Say what `align_padding` changes in a model, if anything."""
    config = AutoConfig.from_pretrained(model_folder(name), trust_remote_code=False)
    return contradicted_padding([config, config.get_text_config()], load_tokenizer(name).pad_token_id)


def load_encoder(name: str) -> nn.Module:
    """Load a model without a head, in float32; of an encoder-decoder model the encoder."""
    model = _load(AutoModel, model_folder(name))
    encoder: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model
    return encoder


def build_model(name: str, task: Task, training: Training, tokenizer: Any) -> nn.Module:
    """Load a model with a new last layer, drawn from the global random state.

    Args:
        name: As `model_folder` takes it.
        task: Gives the number of outputs.
        training: Gives the pooling, resolved.
        tokenizer: Gives the padding token that a decoder needs to find the last token.
    """
    model: Any
    if training.pooling == "native":
        model = _load(
            AutoModelForSequenceClassification,
            model_folder(name),
            num_labels=task.num_outputs,
        )
        _, _, head = find_head(model)
        nn.init.normal_(head.weight, std=initial_scale(model.config))
        if head.bias is not None:
            nn.init.zeros_(head.bias)
    else:
        model = PooledClassifier(load_encoder(name), task.num_outputs, training.pooling)
    align_padding(model, tokenizer)
    return ChoiceModel(model) if task.kind == "choice" else model


def _load(auto_class: Any, folder: Path, **options: Any) -> Any:
    try:
        model, loading = auto_class.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # A head of another width is drawn anew; anything else that does not fit is refused below.
            ignore_mismatched_sizes=True,
            **options,
        )
    except (ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"{folder} cannot be loaded as a {auto_class.__name__}: {reason}") from error
    names = [*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])]
    if beyond := _beyond_config(loading["unexpected_keys"], model):
        raise UserError(
            f"{folder}: config.json and the weights do not belong together: the weights hold blocks that config.json "
            f"does not have, such as {beyond[0]}"
        )
    prefix = "" if auto_class is AutoModel else f"{model.base_model_prefix}."
    wrong = sorted(name for name in names if name.startswith(prefix) and "pooler" not in name)
    if wrong:
        raise UserError(
            f"{folder}: config.json and the weights do not belong together: "
            f"{len(wrong)} pre-trained tensors are missing or of another shape, such as {wrong[0]}"
        )
    return model


def _beyond_config(unexpected: Iterable[str], model: nn.Module) -> list[str]:
    """Return the names of weights that would belong to one more of the blocks that the model has."""
    # The names in the file may lack the prefix of the pre-trained part, or have it where the model's do not.
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


def is_decoder(name: str) -> bool:
    """Whether the model reads left to right, so that only its last token has seen the whole text."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    config = AutoConfig.from_pretrained(model_folder(name), trust_remote_code=False)
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return bool(getattr(config, "is_decoder", False) or (causal and not config.is_encoder_decoder))


def pool(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """Reduce (B, T, D) states to one (B, D) feature.

    Args:
        hidden: States of B inputs of T tokens.
        mask: (B, T), 1 at real tokens.
        how: "cls" the first real token, "last" the last real token, "mean" the mean over real tokens.

    Raises:
        ValueError: `how` is another name.
    """
    if how not in ("cls", "last", "mean"):
        raise ValueError(f"unknown pooling {how!r}: it must be 'cls', 'last' or 'mean'")
    if how == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    places = torch.arange(mask.shape[1], device=mask.device)
    if how == "last":
        index = (mask * places).argmax(1)
    else:
        index = (mask * (mask.shape[1] - places)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), index]


class PooledClassifier(nn.Module):
    """A plain linear head on one pooled feature of an encoder: the model that the theory speaks of.

    Args:
        encoder: A transformers model that returns `last_hidden_state`.
        num_outputs: Width of the head.
        pooling: "cls", "mean" or "last".
    """

    def __init__(self, encoder: Any, num_outputs: int, pooling: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.config: Any = encoder.config
        self.pooling = pooling
        self.dropout = nn.Dropout(_dropout_rate(self.config))
        self.classifier = nn.Linear(self.config.hidden_size, num_outputs)
        nn.init.normal_(self.classifier.weight, std=initial_scale(self.config))
        nn.init.zeros_(self.classifier.bias)

    def forward(self, attention_mask: Tensor, **inputs: Any) -> SequenceClassifierOutput:
        """Return logits (B, outputs), with hidden states if asked for."""
        outputs = self.encoder(attention_mask=attention_mask, **inputs)
        feature = pool(outputs.last_hidden_state, attention_mask, self.pooling)
        logits = self.classifier(self.dropout(feature))
        return SequenceClassifierOutput(logits=logits, hidden_states=outputs.hidden_states)


class ChoiceModel(nn.Module):
    """Scores each candidate of a multiple-choice example by itself: inputs (B, c, T), logits (B, c)."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer
        self.config = scorer.config

    def forward(self, output_hidden_states: bool = False, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return logits (B, c); hidden states, if asked for, are those of the B * c candidates."""
        examples, choices = inputs["input_ids"].shape[:2]
        rows = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
        outputs = self.scorer(output_hidden_states=output_hidden_states, **rows)
        outputs.logits = outputs.logits.view(examples, choices)
        return outputs


def initial_scale(config: Any) -> float:
    """Return the standard deviation with which the architecture draws new weights."""
    return float(getattr(config, "initializer_range", None) or 0.02)


def _dropout_rate(config: Any) -> float:
    for name in ("classifier_dropout", "hidden_dropout_prob", "dropout", "resid_pdrop", "dropout_rate"):
        rate = getattr(config, name, None)
        if isinstance(rate, float):
            return rate
    return 0.0


def plain_model(model: nn.Module) -> nn.Module:
    """Return the model inside PEFT's wrapper, adapters and all; another model as it is."""
    wrapper: Any = model
    inner: nn.Module = wrapper.get_base_model() if hasattr(model, "get_base_model") else model
    return inner


def configs_of(model: nn.Module) -> list[Any]:
    """Return a model's configuration, and that of its texts, which may be the same; none of one that has none."""
    plain = plain_model(model)
    config: Any = getattr(plain, "config", None) or getattr(encoder_of(plain), "config", None)
    return [config, config.get_text_config()] if isinstance(config, PreTrainedConfig) else []


def encoder_of(model: nn.Module) -> nn.Module:
    """Return the pre-trained part of a model that `build_model`, transformers or PEFT made.

    Of a model of somebody's own that is the one model of transformers within it, and without one the whole.
    """
    model = plain_model(model)
    if isinstance(model, ChoiceModel):
        return encoder_of(model.scorer)
    encoder: nn.Module | None = getattr(model, "encoder" if isinstance(model, PooledClassifier) else "base_model", None)
    if encoder is not None:
        return encoder
    inside = list(_pretrained_in(model))
    return encoder_of(inside[0]) if len(inside) == 1 else model


def _pretrained_in(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost models of transformers or PEFT within a model of somebody's own."""
    for child in model.children():
        if isinstance(child, PreTrainedModel) or hasattr(child, "get_base_model"):
            yield child
        else:
            yield from _pretrained_in(child)


def _resting(model: nn.Module) -> Iterator[nn.Module]:
    """Yield what PEFT keeps without using it: layers that a trained copy replaces, copies of adapters that rest."""
    wrapper: Any
    for wrapper in model.modules():
        if hasattr(wrapper, "modules_to_save") and hasattr(wrapper, "original_module"):
            yield from wrapper.original_module.modules()
            for name, copy in wrapper.modules_to_save.items():
                if name not in wrapper.active_adapters:
                    yield from copy.modules()


def adapters_in(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield layers of a model and what PEFT added to them; such layers name the attributes that hold it."""
    for layer in model.modules():
        for attribute in getattr(layer, "adapter_layer_names", ()):
            if isinstance(added := getattr(layer, attribute, None), nn.Module):
                yield layer, added


class NoHead(UserError):
    """A model has no last layer that could be told from the rest."""


def find_head(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """Return (parent, attribute name, layer) of the last linear layer outside the pre-trained part.

    Raises:
        NoHead: There is none.
        UserError: PEFT has put an adapter beside it.
    """
    inside = set(encoder_of(model).modules())
    inside.update(_resting(model))
    beside = [(layer, added) for layer, added in adapters_in(model) if hasattr(layer, "base_layer")]
    inside.update(module for _, added in beside for module in added.modules())
    # In the order of registration, so that a pooler's or head's inner layers come before the one that gives the logits.
    heads = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module not in inside
    ]
    if not heads:
        raise NoHead(f"{type(model).__name__} has no linear layer outside an encoder of transformers")
    name, head = heads[-1]
    path, _, attribute = name.rpartition(".")
    parent = model.get_submodule(path)
    if any(parent is layer for layer, _ in beside):
        raise UserError(
            f"{path} is the last layer and has an adapter: take it out of target_modules, name it in modules_to_save"
        )
    return parent, attribute, head
