"""The weights of a model with adapters: what counts is what they add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from steadytune.models.modules import adapters_in

_PIECE = 2**16

Terms = Mapping[str, tuple[Tensor, ...]]


def weight_terms(model: nn.Module) -> Terms:
    """Return the tensors that each weight of a model is the sum of: its own, and what adapters add to it.

    The matrices of an adapter are no weights of their own: B A is the same for (2 B) (A / 2).

    Returns:
        Name -> copies in the memory of the processor.
    """
    inside = {id(weight) for _, added in adapters_in(model) for weight in added.parameters()}
    terms: dict[str, tuple[Tensor, ...]] = {
        name: (_kept(weight),) for name, weight in model.named_parameters() if id(weight) not in inside
    }
    layer: Any
    for name, layer in model.named_modules():
        if hasattr(layer, "base_layer") and hasattr(layer, "get_delta_weight"):
            place = f"{name}.base_layer.weight"
            terms[place] += tuple(_kept(layer.get_delta_weight(adapter)) for adapter in layer.active_adapters)
    return terms


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def distance_between(first: Terms, second: Terms) -> float:
    """Return the Euclidean distance of two states of one model.

    The terms are subtracted one by one: a small change of an adapter would be lost in the rounding of a sum.
    """
    squares = 0.0
    for name, terms in first.items():
        own, *added = (after - before for before, after in zip(terms, second[name], strict=True))
        # In pieces that stay in the cache: copies of a large matrix in float64 take as long as a step of training.
        pieces = sum(added, own).flatten().split(_PIECE)
        squares += sum(float(piece.double().square().sum()) for piece in pieces)
    return math.sqrt(squares)
