"""Validation of the arguments of `fit_heads` and conversion to problems, with one row of everything per problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS
from steadytune.linear.problems import Loss, Problems, Reduction
from steadytune.models.random_state import spread

# Weights, gradients, two moments, and the best so far.
_COPIES = 5

Numbers = Sequence[float] | NDArray[Any] | Tensor


def pose_problems(
    features: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    *,
    kind: str,
    loss: Loss,
    reduction: Reduction,
    num_outputs: int | None,
    learning_rate: float | Numbers,
    l2: float | Numbers,
    init_seeds: Sequence[int] | None,
    init: Tensor | NDArray[Any] | None,
    scale: float,
    heads: int,
    bias: bool,
    sample_weights: Tensor | NDArray[Any] | None,
    left_out: Sequence[int] | NDArray[Any] | Tensor | None,
    order_seeds: Sequence[int] | None,
) -> Problems:
    """Check the arguments of `fit_heads`, and make one problem from each row.

    Raises:
        UserError: As for `fit_heads`.
    """
    of = KINDS[kind]
    for what, name, choices in (("loss", loss, Loss), ("reduction", reduction, Reduction)):
        if name not in get_args(choices):
            raise unknown_name(what, name, get_args(choices))
    features = check_features(features)
    if (features.dim() == 3) != of.candidates:
        raise UserError(
            f"features have shape {tuple(features.shape)}: for {kind} it must be (n, d), or (n, c, d) for a choice"
        )
    device, dtype = features.device, features.dtype
    labels = _tensor("labels", labels, device, dims=(1,))
    if labels.shape != features.shape[:1]:
        raise UserError(f"labels have shape {tuple(labels.shape)}: it must be ({len(features)},), one per example")
    n = len(labels)
    outputs = of.head_outputs(labels, features, loss, num_outputs)
    rates = _tensor("learning_rate", learning_rate, device, torch.float64)
    penalties = _tensor("l2", l2, device, torch.float64)
    given = None if init is None else _tensor("init", init, device, dtype, dims=(2, 3))
    weights = None if sample_weights is None else _tensor("sample_weights", sample_weights, device, dtype, dims=(1, 2))
    absent = None if left_out is None else _tensor("left_out", left_out, device, dims=(1,))
    if absent is not None:
        if absent.is_floating_point() or absent.dtype == torch.bool:
            raise UserError(f"left_out is {absent.dtype}: it must be (B,) indices of examples, -1 for none")
        absent = absent.long()
    count = _count(
        learning_rate=len(rates) if rates.dim() else None,
        l2=len(penalties) if penalties.dim() else None,
        init_seeds=None if init_seeds is None else len(init_seeds),
        init=len(given) if given is not None and given.dim() == 3 else None,
        sample_weights=len(weights) if weights is not None and weights.dim() == 2 else None,
        left_out=None if absent is None else len(absent),
        order_seeds=None if order_seeds is None else len(order_seeds),
    )
    shape = (heads, outputs, features.shape[-1])
    starts, begins = _starts(count, shape, given, init_seeds, scale, features)
    problems = Problems(
        features=features,
        labels=of.kept_labels(labels),
        kind=kind,
        loss=loss,
        reduction=reduction,
        starts=starts,
        begins=begins,
        bias=bias,
        rates=rates.expand(count),
        l2=penalties.expand(count),
        weights=None if weights is None else weights.view(-1, weights.shape[-1]),
        left_out=absent,
    )
    _check_numbers(problems, n)
    return problems


def _starts(
    count: int,
    shape: tuple[int, int, int],
    given: Tensor | None,
    seeds: Sequence[int] | None,
    scale: float,
    features: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the distinct initial weights (U, H, outputs, d), and (B,) the index of those of each problem."""
    heads, outputs, width = shape
    dtype, device = features.dtype, features.device
    if heads < 1 or (heads > 1 and seeds is None):
        raise UserError(
            f"heads is {heads}: it must be at least 1, and several need init_seeds, since they differ in their draw"
        )
    if not 0 <= scale < math.inf or (given is not None and not bool(given.isfinite().all())):
        raise UserError("init and scale, which define the initial heads, must be finite, and scale at least 0")
    if given is not None:
        if seeds is not None:
            raise UserError("init and init_seeds both define the initial heads: leave one out")
        if given.shape[-2:] != (outputs, width):
            raise UserError(
                f"init has shape {tuple(given.shape)}: it must be (problems, {outputs}, {width}) or one head"
            )
        starts = given.reshape(-1, 1, outputs, width)
        return starts, torch.arange(count, device=device).clamp(max=len(starts) - 1)
    if seeds is None:
        return torch.zeros(1, *shape, dtype=dtype, device=device), torch.zeros(count, dtype=torch.int64, device=device)
    needed = len(set(seeds)) * math.prod(shape) * features.element_size() * _COPIES
    if needed > psutil.virtual_memory().available:
        what = f"{len(set(seeds)):,} seeds of {heads:,} heads need {needed / 2**30:,.1f} GiB of memory"
        raise UserError(f"{what}, more than is available: train fewer at a time")
    distinct = {seed: place for place, seed in enumerate(dict.fromkeys(seeds))}
    draws = [torch.randn(*shape, dtype=dtype, generator=generator("init", seed)) for seed in distinct]
    return (torch.stack(draws) * scale).to(device), torch.tensor([distinct[seed] for seed in seeds], device=device)


def generator(stream: str, seed: int) -> torch.Generator:
    """Return the random numbers of one seed of a stream of `seeds.spread`."""
    return torch.Generator().manual_seed(spread(stream, seed))


def _tensor(
    name: str,
    values: Any,
    device: torch.device,
    dtype: torch.dtype | None = None,
    dims: tuple[int, ...] = (0, 1),
) -> Tensor:
    """Return values as a tensor with one of the given numbers of dimensions, or raise an error that names it."""
    try:
        # A copy of an array, because torch warns about read-only ones.
        made = torch.as_tensor(np.array(values) if isinstance(values, np.ndarray) else values, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{name} contains a value that is not a number, or rows of different lengths") from None
    if made.dim() not in dims:
        raise UserError(f"{name} has {made.dim()} dimensions: it must have {' or '.join(map(str, dims))}")
    return made.to(device)


def check_features(features: Tensor | NDArray[Any]) -> Tensor:
    """Return features as a tensor.

    Args:
        features: (n, d), or (n, c, d) for c candidates each.

    Raises:
        UserError: They are not finite numbers of single or double precision in that shape.
    """
    features = torch.as_tensor(features)
    if features.dtype not in (torch.float32, torch.float64):
        raise UserError(f"features are {features.dtype}: they must be float32 or float64")
    if features.dim() not in (2, 3) or not features.numel():
        raise UserError(f"features have shape {tuple(features.shape)}: it must be (n, d) with at least one example")
    bad = ~features.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        raise UserError(f"{int(bad.sum())} of {len(bad)} examples have features that are not finite: {_first(bad)}")
    return features


def _count(**lengths: int | None) -> int:
    found = {name: length for name, length in lengths.items() if length is not None}
    if len(set(found.values())) > 1:
        each = ", ".join(f"{name} {length}" for name, length in found.items())
        raise UserError(f"the number of problems differs ({each}): give one value per problem, or one for all")
    count = next(iter(found.values()), 1)
    if not count:
        raise UserError(f"{next(iter(found))} is empty: at least one problem is needed")
    return count


def _check_numbers(problems: Problems, n: int) -> None:
    for name, values, valid in (
        ("learning rate", problems.rates, problems.rates > 0),
        ("l2", problems.l2, problems.l2 >= 0),
    ):
        bad = ~(valid & values.isfinite())
        if bool(bad.any()):
            raise UserError(
                f"the {name} of {_first(bad, 'problem')} is {values[bad][0].item():g}: it must be "
                f"{'above' if name == 'learning rate' else 'at least'} 0 and finite"
            )
    weights, left_out = problems.weights, problems.left_out
    if weights is not None and (weights.shape[1] != n or not bool((weights.isfinite() & (weights >= 0)).all())):
        raise UserError(
            f"sample_weights have shape {tuple(weights.shape)}: they must be (B, {n}) or ({n},) finite numbers of at "
            "least 0"
        )
    if left_out is not None and not bool(((left_out >= -1) & (left_out < n)).all()):
        raise UserError(
            f"left_out ranges from {int(left_out.min())} to {int(left_out.max())}: it must be an example's "
            f"index, 0 to {n - 1}, or -1 for none"
        )
    empty = problems.totals() <= 0
    if bool(empty.any()):
        raise UserError(f"{_first(empty, 'problem')} has no example to learn from: some weight must be above 0")


def _first(bad: Tensor, what: str = "example") -> str:
    return f"{what} {int(bad.nonzero()[0])}"
