"""Model soups: one model whose weights are the mean of several trained ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadytune.errors import UserError

State = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Soup:
    """A mean of weights.

    Attributes:
        weights: State dict of the mean; for `model.load_state_dict`.
        members: Indices of the models in it, in the order in which they were added.
        score: Its score according to the callback.
    """

    weights: dict[str, Tensor]
    members: tuple[int, ...]
    score: float


def uniform_soup(states: Sequence[State]) -> dict[str, Tensor]:
    """Return the mean of the weights of all models.

    The models must lie in one basin: fine-tuned from the same checkpoint, and from the SAME head. Heads drawn
    with different seeds have no meaningful mean, and this cannot be detected from the weights. So train
    them with the same `init` seed and several `order` and `dropout` seeds, or with `lp_ft` from one tuned head.

    Source: Wortsman et al., arXiv 2203.05482 (uniform soup).

    Args:
        states: State dicts of the same names and shapes. Floating tensors are averaged in float64 and keep their dtype;
            others, such as position ids, must be equal.

    Returns:
        The state dict of the mean, on the device of the first.

    Raises:
        UserError: There are none, or they do not fit together.
    """
    _check(states)
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def greedy_soup(states: Sequence[State], score: Callable[[State], float]) -> Soup:
    """Return the mean of the models that improve it, added from the best one downwards.

    A model is kept if the mean with it scores higher than the mean without it. Score on data other than those that the
    result is reported on, because it is selected on them.

    Source: Wortsman et al., arXiv 2203.05482, recipe 1 (number recalled). The paper also keeps a model that leaves the
    score as it is (recalled); the authors' public code keeps one that improves it, and so does this.

    Cost: one evaluation per model, and one more for each but the best.

    Args:
        states: As for `uniform_soup`, also from one head.
        score: Returns the score of a state dict on validation data; higher is better. NaN counts as the lowest.

    Returns:
        The soup; in case of ties the first model is added first.

    Raises:
        UserError: There are none, or they do not fit together.
    """
    _check(states)
    singles = [_comparable(score(state)) for state in states]
    order = sorted(range(len(states)), key=lambda number: -singles[number])
    members, best = order[:1], singles[order[0]]
    weights = uniform_soup([states[order[0]]])
    for number in order[1:]:
        tried = uniform_soup([states[member] for member in [*members, number]])
        value = _comparable(score(tried))
        if value > best:
            members, best, weights = [*members, number], value, tried
    return Soup(weights, tuple(members), best)


def _comparable(value: float) -> float:
    return -math.inf if math.isnan(value) else float(value)


def _check(states: Sequence[State]) -> None:
    if not states:
        raise UserError("a soup needs the weights of at least one model")
    for number, state in enumerate(states[1:], start=1):
        _check_alike(states[0], state, number)


def _check_alike(first: State, other: State, number: int) -> None:
    if different := sorted(first.keys() ^ other.keys()):
        raise UserError(f"model {number} of the soup has different weights from model 0, such as {different[0]}")
    for name, tensor in first.items():
        if tensor.shape != other[name].shape:
            shapes = f"{tuple(other[name].shape)}, not {tuple(tensor.shape)}"
            raise UserError(f"{name} has a different shape in model {number} of the soup than in model 0: {shapes}")
        if not tensor.is_floating_point() and not torch.equal(tensor, other[name].to(tensor.device)):
            raise UserError(f"{name} differs between model {number} of the soup and model 0 and cannot be averaged")


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    total = torch.zeros_like(first, dtype=torch.float64)
    for tensor in tensors:
        total += tensor.detach().to(first.device, torch.float64)
    return (total / len(tensors)).to(first.dtype)
