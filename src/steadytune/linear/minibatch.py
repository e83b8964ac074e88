"""Mini-batch training of many linear heads at once: each uses the batches of its own order, in one batched product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS
from steadytune.linear.posing import generator
from steadytune.linear.problems import Heads, Problems, in_blocks

Optimizer = Literal["adamw", "sgd"]
_OPTIMIZERS: dict[Optimizer, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
_BLOCK = 64
_CELLS = 2**27
"""Most numbers in the batches and heads of the problems that are trained at once."""


class MiniBatches(TypedDict, total=False):
    """Options of `fit_heads` for mini-batches, documented in `train_in_batches`."""

    order_seeds: Sequence[int]
    optimizer: Optimizer
    warmup: float
    weight_decay: float
    clip: float
    each_epoch: Callable[[int, Heads], None] | None


def train_in_batches(
    problems: Problems,
    *,
    epochs: int,
    batch_size: int,
    order_seeds: Sequence[int],
    optimizer: Optimizer = "adamw",
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    each_epoch: Callable[[int, Heads], None] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Heads:
    """Train every problem on batches of its own order.

    The learning rate rises and falls linearly; the gradient of each head is clipped separately. Heads of a problem
    share their batches. Problems are processed in blocks that bound the memory, except with `each_epoch`, which
    receives all.

    Args:
        problems: Problems to train.
        epochs: Number of passes.
        batch_size: Examples per step. The loss of a step is that of its batch, with the weights in it.
        order_seeds: One per problem.
        optimizer: "adamw" with bias correction (Adam without `weight_decay`), or "sgd" without momentum.
        warmup: Share of the steps.
        weight_decay: Decoupled decay of the weights, but not of the bias.
        clip: Norm limit, 0 for none.
        each_epoch: Called with the number of epochs done and the current heads, averaged.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The optimizer is unknown, warmup is not a share, or weight_decay or clip is below 0.
    """
    if optimizer not in _OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, _OPTIMIZERS)
    if not (0 <= warmup <= 1 and 0 <= weight_decay < math.inf and clip >= 0):
        raise UserError(
            f"warmup is {warmup}, weight_decay {weight_decay} and clip {clip}: warmup must be a share of the steps, "
            "and the other two at least 0"
        )
    # For each head there are weights, gradients and two moments.
    each = batch_size * problems.features[0].numel() + 4 * problems.starts[0].numel()

    def train(block: Problems, place: slice, report: Callable[[float], None]) -> Heads:
        seeds = order_seeds[place]
        return _train(block, epochs, batch_size, seeds, optimizer, warmup, weight_decay, clip, each_epoch, report)

    return in_blocks(problems, _CELLS // each if each_epoch is None else len(problems), train, progress)


def _train(
    problems: Problems,
    epochs: int,
    batch_size: int,
    order_seeds: Sequence[int],
    optimizer: Optimizer,
    warmup: float,
    weight_decay: float,
    clip: float,
    each_epoch: Callable[[int, Heads], None] | None,
    progress: Callable[[float], None],
) -> Heads:
    """Train a block of problems."""
    asked, n, width = len(problems), len(problems.labels), problems.features.shape[-1]
    # Heads with the same rate are adjacent, because an optimizer has one rate for a slice of them. And kernels round
    # differently in a batch of one and at the end of an array: so that a head has the same bits whatever is trained
    # with it, none is trained alone, and each fills whole blocks of every array with its own numbers.
    places = problems.rates.argsort(stable=True).repeat(2 if asked == 1 else 1)
    back = places.argsort(stable=True)[:asked]
    problems = problems.select(places)
    device, dtype = problems.features.device, problems.features.dtype
    features, labels = nn.functional.pad(problems.features, (0, -width % _BLOCK)), problems.labels
    start = problems.start
    count, heads, outputs, _ = start.shape
    weight = nn.functional.pad(start, (0, -width % _BLOCK)).requires_grad_(True)
    padded = -(-heads * outputs // _BLOCK) * _BLOCK
    biases = torch.zeros(count, padded, device=device, dtype=dtype, requires_grad=True)
    penalties = (problems.l2 / 2).to(dtype)[:, None] if bool(problems.l2.any()) else None
    slices, kind = _slices(problems.rates), KINDS[problems.kind]
    groups: list[dict[str, Any]] = [
        {"params": [values.detach()[where]], "lr": float(problems.rates[where.start]), "weight_decay": decay}
        for values, decay in ((weight, weight_decay), (biases, 0.0))
        for where in slices
    ]
    stepper = _OPTIMIZERS[optimizer](groups)
    steps = epochs * math.ceil(n / batch_size)
    rising = math.ceil(warmup * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        stepper, lambda step: step / max(1, rising) if step < rising else (steps - step) / max(1, steps - rising)
    )
    orders = [generator("order", order_seeds[place]) for place in places.tolist()]
    losses: list[Tensor] = []

    def folded() -> Heads:
        bias = biases.detach()[:, : heads * outputs].view(count, heads, outputs)
        means = weight.detach()[..., :width].mean(1), bias.mean(1)
        return Heads(means[0][back], means[1][back], torch.stack(losses)[:, back].cpu())

    for epoch in range(epochs):
        order = torch.stack([torch.randperm(n, generator=generator) for generator in orders]).to(device)
        for index in order.split(batch_size, dim=1):
            inputs, targets = features[index], labels[index]
            rows = inputs.flatten(1, -2)
            logits = torch.bmm(rows, weight.flatten(1, 2).mT) + biases[:, None, : heads * outputs]
            example_losses = kind.head_losses(logits.view(*rows.shape[:2], heads, outputs), targets, problems.loss)
            loss = _reduced(example_losses, problems.weights_at(index), problems.reduction)
            if penalties is not None:
                loss = loss + penalties * weight.square().sum((2, 3))
            weight_gradient, bias_gradient = torch.autograd.grad(loss.sum(), (weight, biases))
            if not problems.bias:
                bias_gradient = torch.zeros_like(bias_gradient)
            if clip:
                weight_gradient, bias_gradient = _clipped(weight_gradient, bias_gradient, clip)
            gradients = [gradient[where] for gradient in (weight_gradient, bias_gradient) for where in slices]
            for group, gradient in zip(groups, gradients, strict=True):
                group["params"][0].grad = gradient
            stepper.step()
            schedule.step()
            losses.append(loss.detach().mean(1))
        progress((epoch + 1) / epochs)
        if each_epoch is not None:
            each_epoch(epoch + 1, folded())
    return folded()


def _clipped(weights: Tensor, biases: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return gradients (B, H, outputs, d) and (B, H x outputs, padded) with the norm of each head clipped."""
    count, heads, outputs, _ = weights.shape
    own = biases[:, : heads * outputs].view(count, heads, outputs)
    norm = (weights.square().sum((2, 3)) + own.square().sum(2)).sqrt()
    shrink = (limit / (norm + 1e-6)).clamp(max=1)
    by_output = shrink.repeat_interleave(outputs, dim=1)
    filling = biases.shape[1] - heads * outputs
    return weights * shrink[..., None, None], biases * nn.functional.pad(by_output, (0, filling))


def _slices(rates: Tensor) -> list[slice]:
    """Return the slice of each run of equal rates."""
    ends = rates.unique_consecutive(return_counts=True)[1].cumsum(0).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _reduced(each: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Return (B, H) from the losses (B, b, H) and weights (B, b) of the examples; 0 if all weights are 0."""
    if weights is None:
        return each.mean(1) if reduction == "mean" else each.sum(1)
    total = (each * weights[..., None]).sum(1)
    if reduction == "sum":
        return total
    return total / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
