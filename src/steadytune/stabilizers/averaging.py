"""Averages over the weights of one training."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def move_towards(averages: MutableMapping[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    """Move averages by a share of their way to the weights, in place; what is not there yet starts at its weight.

    With a share of 1/n at the n-th call they are means.
    """
    for name, weight in weights.items():
        if name in averages:
            averages[name].lerp_(weight.detach(), share)
        else:
            averages[name] = weight.detach().clone()
