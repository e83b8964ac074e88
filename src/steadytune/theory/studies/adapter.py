"""MMR with features that move: a linear adapter on frozen features, tuned with the head by gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.stabilizers.mmr import closeness


@dataclass(frozen=True)
class Adapted:
    """B adapters with their heads.

    Attributes:
        adapter: (B, d, d); the features become x A^T.
        weight: (B, outputs, d), the heads on the adapted features.
    """

    adapter: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def composed(self) -> NDArray[np.float64]:
        """(B, outputs, d), head and adapter as one linear map of the given features."""
        return self.weight @ self.adapter


def tune_adapters(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    alphas: Sequence[float] | NDArray[np.float64],
    init: NDArray[np.float64],
    left_out: Sequence[int] | NDArray[np.int64],
    learning_rate: float,
    steps: int,
) -> Adapted:
    """Minimise task loss + alpha R over adapter A and head W by full-batch gradient descent, B problems at once.

    The adapter starts as the identity, so that the first step of the head is that of head tuning. The task loss is the
    sum over the examples that count, divided by n: logistic for one output (class 1 is the positive one), otherwise
    softmax. There is no bias. R is MMR's regularizer (`stabilizers.mmr.closeness`) on the adapted examples that count.
    It depends on them only through the class centres, which the adapter maps as it maps the examples.

    Args:
        features: (n, d).
        labels: (n,) classes 0..C-1, at least two of each.
        alphas: (B,) weights of R.
        init: (B, outputs, d) initial heads.
        left_out: (B,) index of the left-out example, -1 for none.
        learning_rate: Learning rate of both adapter and head.
        steps: Number of gradient steps.
    """
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    absent = torch.as_tensor(left_out)
    counted = (torch.arange(len(y)) != absent[:, None]).to(x.dtype)
    members = counted[:, None] * nn.functional.one_hot(y).T
    centres = (members @ x) / members.sum(2, keepdim=True)
    strength = torch.as_tensor(alphas, dtype=x.dtype)
    weight = torch.from_numpy(init).clone().requires_grad_(True)
    adapter = torch.eye(x.shape[1], dtype=x.dtype).repeat(len(init), 1, 1).requires_grad_(True)
    for _ in range(steps):
        losses = _losses((weight @ adapter) @ x.T, y)
        loss = (losses * counted).mean(1) + strength * closeness(centres @ adapter.mT)
        gradients = torch.autograd.grad(loss.sum(), (adapter, weight))
        with torch.no_grad():
            for parameter, gradient in zip((adapter, weight), gradients, strict=True):
                parameter.sub_(gradient, alpha=learning_rate)
    return Adapted(adapter.detach().numpy(), weight.detach().numpy())


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss (B, n) of every example, for logits (B, outputs, n)."""
    if logits.shape[1] == 1:
        return nn.functional.softplus((1 - 2 * labels) * logits[:, 0])
    return nn.functional.cross_entropy(logits, labels.expand(len(logits), -1), reduction="none")
