"""A model's modules: encoder, head, adapters and wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from steadytune.errors import UserError
from steadytune.kinds.choice_model import ChoiceModel


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and restore the mode of each of its parts afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


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


def plain_model(model: nn.Module) -> nn.Module:
    """Return the model inside PEFT's wrapper, including adapters; any other model unchanged."""
    wrapper: Any = model
    inner: nn.Module = wrapper.get_base_model() if hasattr(model, "get_base_model") else model
    return inner


def configs_of(model: nn.Module) -> list[Any]:
    """Return a model's configuration and its text configuration, which may be the same; empty if it has none."""
    plain = plain_model(model)
    config: Any = getattr(plain, "config", None) or getattr(encoder_of(plain), "config", None)
    return [config, config.get_text_config()] if isinstance(config, PreTrainedConfig) else []


def writes(model: nn.Module) -> bool:
    """Return whether a model is a language model of transformers, causal or encoder-decoder."""
    return isinstance(model, PreTrainedModel) and bool(model.can_generate())


def output_layer(encoder: nn.Module) -> nn.Module | None:
    """Return the layer of a language model that gives its logits, or None."""
    language: Any = encoder
    layer: nn.Module | None = language.get_output_embeddings() if writes(encoder) else None
    return layer


def learned_positions(config: Any) -> int | None:
    """Return how many positions a model has learned, beyond which it fails.

    None for rotary and relative positions, which go on beyond those that were trained, and for a model without any.
    """
    text = config.get_text_config()
    if getattr(text, "relative_attention", False) or any(
        "rope" in key and held for key, held in text.to_dict().items()
    ):
        return None
    places: int | None = getattr(text, "max_position_embeddings", None)
    if places is not None and "roberta" in text.model_type and text.pad_token_id is not None:
        # Its positions begin behind that of the padding token.
        return places - int(text.pad_token_id) - 1
    return places


def encoder_of(model: nn.Module) -> nn.Module:
    """Return the pre-trained part of a model made by `build_model`, transformers or PEFT.

    A language model is pre-trained as a whole: its last layer is often its embeddings'. For a custom model this is the
    single transformers model within it, or the whole model if there is none.
    """
    model = plain_model(model)
    if isinstance(model, ChoiceModel):
        return encoder_of(model.scorer)
    if writes(model):
        return model
    encoder: nn.Module | None = getattr(model, "encoder" if isinstance(model, PooledClassifier) else "base_model", None)
    if encoder is not None:
        return encoder
    inside = list(_pretrained_in(model))
    return encoder_of(inside[0]) if len(inside) == 1 else model


def _pretrained_in(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost transformers or PEFT models within a custom model."""
    for child in model.children():
        if isinstance(child, PreTrainedModel) or hasattr(child, "get_base_model"):
            yield child
        else:
            yield from _pretrained_in(child)


def _resting(model: nn.Module) -> Iterator[nn.Module]:
    """Yield modules that PEFT keeps but does not use: replaced original layers, copies of inactive adapters."""
    wrapper: Any
    for wrapper in model.modules():
        if hasattr(wrapper, "modules_to_save") and hasattr(wrapper, "original_module"):
            yield from wrapper.original_module.modules()
            for name, copy in wrapper.modules_to_save.items():
                if name not in wrapper.active_adapters:
                    yield from copy.modules()


def adapters_in(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield layers of a model and PEFT's additions to them, whose attributes such layers name."""
    for layer in model.modules():
        for attribute in getattr(layer, "adapter_layer_names", ()):
            if isinstance(added := getattr(layer, attribute, None), nn.Module):
                yield layer, added


class NoHead(UserError):
    """A model has no identifiable last layer."""


def find_head(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """Return (parent, attribute name, layer) of the last linear layer outside the pre-trained part.

    Raises:
        NoHead: There is none.
        UserError: PEFT has put an adapter beside it.
    """
    encoder = encoder_of(model)
    inside = set(encoder.modules())
    inside.update(_resting(model))
    beside = [(layer, added) for layer, added in adapters_in(model) if hasattr(layer, "base_layer")]
    inside.update(module for _, added in beside for module in added.modules())
    # In registration order, so that inner layers of a pooler or head precede the one that outputs the logits.
    heads = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module not in inside
    ]
    if not heads and writes(encoder):
        raise NoHead(f"that of {type(encoder).__name__} is pre-trained, and may be its embeddings' as well")
    if not heads:
        raise NoHead(f"{type(model).__name__} has no linear layer outside its transformers encoder")
    name, head = heads[-1]
    path, _, attribute = name.rpartition(".")
    parent = model.get_submodule(path)
    if any(parent is layer for layer, _ in beside):
        raise UserError(
            f"{path} is the last layer and has an adapter: remove it from target_modules and name it in modules_to_save"
        )
    return parent, attribute, head


class PooledClassifier(nn.Module):
    """A plain linear head on a pooled feature of an encoder: the model of the theory.

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
        """Return logits (B, outputs), with hidden states if requested."""
        outputs = self.encoder(attention_mask=attention_mask, **inputs)
        feature = pool(outputs.last_hidden_state, attention_mask, self.pooling)
        logits = self.classifier(self.dropout(feature))
        return SequenceClassifierOutput(logits=logits, hidden_states=outputs.hidden_states)


def _dropout_rate(config: Any) -> float:
    for name in ("classifier_dropout", "hidden_dropout_prob", "dropout", "resid_pdrop", "dropout_rate"):
        rate = getattr(config, name, None)
        if isinstance(rate, float):
            return rate
    return 0.0


def initial_scale(config: Any) -> float:
    """Return the standard deviation with which the architecture draws new weights."""
    return float(getattr(config, "initializer_range", None) or 0.02)
