"""Adapters on a model's pre-trained part, through PEFT. Imports neither torch nor PEFT when it is read."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from steadytune.adapter import Adapter, Lora
from steadytune.errors import UserError
from steadytune.study import RunSpec
from steadytune.training.weights import weight_names

if TYPE_CHECKING:
    from torch import nn

# They start from a decomposition of each weight, which has no more than min(out, in) parts.
_DECOMPOSE = {"pissa", "olora"}
_SHOWN = 8


def check_adapter(spec: RunSpec) -> None:
    """Refuse an adapter that cannot be made, whatever the model.

    Raises:
        UserError: PEFT is not installed.
    """
    if spec.training.adapter is not None and find_spec("peft") is None:
        raise UserError("training.adapter needs PEFT: pip install 'steadytune[peft]'")


def put_adapter(model: nn.Module, spec: RunSpec) -> None:
    """Put the adapter of a run on the pre-trained part of its model, in place, and freeze all that was pre-trained.

    The new layers outside that part are trained in full. The adapter's own draws follow the init seed, in a stream of
    their own: a run has the same new head with and without it.

    Raises:
        UserError: A layer that it names is not there, or it does not suit the model.
    """
    from steadytune.models.modules import encoder_of
    from steadytune.models.random_state import preserved_random_state, spread

    adapter = spec.training.adapter
    if adapter is None:
        return
    check_adapter(spec)
    encoder: Any = encoder_of(model)
    _check_pooler(encoder, spec)
    with preserved_random_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _inject(encoder, adapter, spread("adapter", spec.seeds.init))
    outside: Any = getattr(model, "get_output_embeddings", lambda: None)()
    if outside is not None:
        # A language model's own head is pre-trained too.
        outside.requires_grad_(False)


def _check_pooler(encoder: nn.Module, spec: RunSpec) -> None:
    """Refuse a pooler that the checkpoint lacks: it would be frozen at random weights."""
    pooler = getattr(encoder, "pooler", None)
    used = spec.training.pooling == "native" and pooler is not None and any(True for _ in pooler.parameters())
    if used and not any("pooler" in name for name in weight_names(spec.model)):
        raise UserError(
            f"model '{spec.model}' has no weights for its pooler, which an adapter would leave at random ones: set "
            "training.pooling to cls, mean or last"
        )


def _inject(encoder: Any, adapter: Adapter, seed: int) -> None:
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    lora = adapter.lora
    layers = _linear_layers(encoder)
    chosen = _chosen(encoder, lora, layers)
    transposed = any(not isinstance(layers[name], torch.nn.Linear) for name in chosen)
    if lora.init in _DECOMPOSE:
        _check_rank(lora, {name: layers[name] for name in chosen})
        if lora.init == "olora" and transposed:
            raise UserError(
                f"init olora does not suit {type(encoder).__name__}, whose weights are stored transposed: use pissa"
            )
    torch.manual_seed(seed)
    inject_adapter_in_model(
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]  # it is only divided by r
            lora_dropout=lora.dropout,
            init_lora_weights=True if lora.init == "default" else lora.init,
            target_modules=chosen,
            fan_in_fan_out=transposed,
        ),
        encoder,
    )


def _linear_layers(encoder: nn.Module) -> dict[str, nn.Module]:
    import torch
    from transformers.pytorch_utils import Conv1D

    # The head of a language model is none of them, wherever it stands: its weights may be those of the embeddings.
    head = getattr(encoder, "get_output_embeddings", lambda: None)()
    return {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }


def _chosen(encoder: Any, lora: Lora, layers: dict[str, nn.Module]) -> list[str]:
    """Return the full names of the layers that get an adapter.

    Raises:
        UserError: There are none of a name, or PEFT has no default for the architecture.
    """
    called = type(encoder).__name__
    there = sorted({name.rpartition(".")[2] for name in layers})
    shown = ", ".join(there[:_SHOWN]) + (" and others" if len(there) > _SHOWN else "")
    if lora.target_modules == "all-linear":
        wanted = list(layers)
    elif lora.target_modules == "default":
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

        kind = str(getattr(getattr(encoder, "config", None), "model_type", None))
        known = DEFAULTS.get(kind)
        # Of some architectures PEFT has a pattern in the place of names.
        wanted = there if known is None or isinstance(known, str) else [name for name in known if _ends(layers, name)]
        if known is None or isinstance(known, str) or not wanted:
            raise UserError(
                f"PEFT has no list of default layers for {called}: set training.adapter.lora.target_modules to "
                f"all-linear, or to a list of {shown}"
            )
    else:
        wanted = list(lora.target_modules)
    for name in wanted:
        if not _ends(layers, name):
            raise UserError(
                f"training.adapter.lora.target_modules: {called} has no linear layer called '{name:.80}': there are "
                f"{shown}"
            )
    return sorted({layer for name in wanted for layer in _ends(layers, name)})


def _ends(layers: dict[str, nn.Module], name: str) -> list[str]:
    """Return the layers of a name, or whose last parts it is, as PEFT reads it."""
    return [layer for layer in layers if layer == name or layer.endswith(f".{name}")]


def _check_rank(lora: Lora, layers: dict[str, Any]) -> None:
    name, layer = min(layers.items(), key=lambda one: min(one[1].weight.shape))
    if lora.r > min(layer.weight.shape):
        size = " x ".join(map(str, layer.weight.shape))
        raise UserError(
            f"init {lora.init} takes r parts out of each weight: r is {lora.r}, but {name} is {size}: lower "
            "training.adapter.lora.r"
        )
