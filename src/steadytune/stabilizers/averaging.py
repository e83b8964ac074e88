"""Averages of the weights over one training."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from steadytune.stabilizers.divergence import at_least_float

if TYPE_CHECKING:
    from torch import Tensor


def move_towards(averages: MutableMapping[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    """Move averages by a share of the way to the weights, in place; a missing one starts at its weight.

    With a share of 1/n at the n-th call they are means. Averages of half-precision weights are kept in float32, because
    a small share of a small difference would be lost to rounding.
    """
    for name, weight in weights.items():
        wide = at_least_float(weight.detach())
        if name in averages:
            averages[name].lerp_(wide, share)
        else:
            averages[name] = wide.clone()
