"""Predictions and losses of linear heads, and distances between heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadytune.linear.problems import Loss
from steadytune.theory.loo.stability import Differences, Float64Array

_LOGITS_AT_ONCE = 2**24


def canonical(weights: Tensor, loss: Loss) -> Tensor:
    """Return weights (..., outputs, d) without the part that does not affect the loss.

    A softmax does not change when the same vector is added to the weights of all classes, so their mean is subtracted.
    For two classes the direction is then that of the binary theory: w_1 - w_0, normalised, differs by the same amount.
    Distances of weights are 1 / sqrt(2) of those of w_1 - w_0, which the head bound uses.
    """
    return weights - weights.mean(-2, keepdim=True) if loss == "softmax" else weights


def head_losses(logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the loss (...) of examples with logits (..., outputs) and labels (...), in nats."""
    if loss == "softmax":
        return -logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    outputs = logits.shape[-1]
    answers = labels[..., None] if outputs == 1 else nn.functional.one_hot(labels, outputs)
    return nn.functional.softplus(torch.where(answers == 1, -logits, logits)).sum(-1)


def head_differences(weights: Tensor, others: Tensor, evaluation: Tensor, loss: Tensor) -> Differences:
    """Compare one head (outputs, d) with m others (m, outputs, d), each canonical.

    Args:
        weights: The one head.
        others: The m other heads.
        evaluation: (N, d) features on which predictions are compared.
        loss: (m,) values to report as the difference of the loss.

    Returns:
        (m,) each. A head that is exactly zero has no direction: NaN.
    """
    return Differences(
        weights=size(others - weights).cpu().numpy(),
        directions=size(direction(others) - direction(weights)).cpu().numpy(),
        predictions=_disagreement(weights, others, evaluation),
        loss=loss.cpu().numpy(),
    )


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the classes (...) that logits (..., outputs) predict."""
    return (logits > 0).long().squeeze(-1) if logits.shape[-1] == 1 else logits.argmax(-1)


def size(weights: Tensor) -> Tensor:
    """Return the norms (...) of heads (..., outputs, d)."""
    norms: Tensor = torch.linalg.vector_norm(weights, dim=(-2, -1))
    return norms


def direction(weights: Tensor) -> Tensor:
    """Return heads (..., outputs, d) scaled to norm 1."""
    return weights / size(weights)[..., None, None]


def _disagreement(weights: Tensor, others: Tensor, evaluation: Tensor) -> Float64Array:
    before = predicted_classes(evaluation @ weights.mT)
    at_once = max(1, _LOGITS_AT_ONCE // (len(evaluation) * len(weights)))
    shares = [(predicted_classes(evaluation @ some.mT) != before).double().mean(1) for some in others.split(at_once)]
    return torch.cat(shares).cpu().numpy()
