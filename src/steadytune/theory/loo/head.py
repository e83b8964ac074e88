"""Exact leave-one-out stability of head tuning: every head is trained, all of them as one batched problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.linear.fit import fit_heads
from steadytune.linear.problems import Loss
from steadytune.linear.smoothness import smoothness
from steadytune.theory.inputs import chosen_examples, labelled_features, more_features
from steadytune.theory.loo.heads import canonical, head_differences, head_losses, predicted_classes
from steadytune.theory.loo.stability import Float64Array, Stability, stacked


@dataclass(frozen=True, repr=False)
class HeadStability(Stability):
    """Leave-one-out stability of head tuning.

    Attributes:
        learning_rate: Learning rate for the mean loss.
        steps: Steps of gradient descent.
        weights: (S, outputs, d) of A(S), in the form of `canonical`.
        left_out_weights: (S, m, outputs, d) of A(S^i), in the same form.
    """

    learning_rate: float
    steps: int
    weights: Float64Array
    left_out_weights: Float64Array


def leave_one_out(
    features: Any,
    labels: Any,
    *,
    learning_rate: float | None = None,
    steps: int = 500,
    loss: Loss = "softmax",
    l2: float = 0.0,
    seeds: Sequence[int] = (0,),
    scale: float = 0.02,
    heads: int = 1,
    examples: Sequence[int] | NDArray[np.int64] | None = None,
    evaluation: Any = None,
    progress: Callable[[float], None] = lambda share: None,
) -> HeadStability:
    """Train A(S) and every A(S^i) by full-batch gradient descent, for several seeds at once, and compare.

    A step is w <- w - learning_rate (1/n) (sum of the gradients of the counted examples + n l2 w), from the same start
    with and without example i. The heads have no bias, as in the theory: for a bias, append a feature that is 1.
    Features are used as given, without scaling. Everything is computed in float64, on the device of the features.

    Memory: the weights of all S (m + 1) heads, averaged over H.

    Args:
        features: (n, d), NumPy or torch.
        labels: (n,) classes 0..C-1.
        learning_rate: For the mean loss; 1 / beta unless given, half the stability limit, with the beta of
            `smoothness`.
        steps: Steps of gradient descent.
        loss: "softmax", C outputs; "logistic", one output for two classes, else one-vs-rest.
        l2: Adds l2/2 ||w||^2 to the mean loss.
        seeds: Seeds of the initial weights, one training each.
        scale: Standard deviation of the initial weights; 0 starts at zero.
        heads: H of MHLoss, averaged at the end.
        examples: Indices of the examples to leave out; all unless given.
        evaluation: (N, d) features on which predictions are compared; the training features unless given.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The data cannot be used (see `labelled_features`), the learning rate lies beyond the stability limit,
            l2 is below 0, or `seeds` or `examples` are empty, repeated or out of range.

    Example:
        >>> features = [[2.0, 1.0], [1.0, 2.0], [-2.0, -1.0], [-1.0, -2.0]]
        >>> stability = leave_one_out(features, [1, 1, 0, 0], steps=100, seeds=[0, 1])
        >>> stability.leave_one_out.weights.shape, stability.seed.weights.shape
        ((2, 4), (2, 2))
    """
    inputs, targets = labelled_features(features, labels)
    n = len(inputs)
    chosen = chosen_examples(examples, n)
    measured = inputs if evaluation is None else more_features(evaluation, inputs)
    if len(seeds) == 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must be different numbers, at least one, not {list(seeds)}")
    if not 0 <= l2 < math.inf:
        raise UserError(f"l2 must be finite and at least 0, not {l2}")
    if learning_rate is None:
        beta = smoothness(inputs, loss=loss, l2=l2, bias=False)
        if not 0 < 1 / max(beta, np.finfo(float).tiny) < math.inf or beta == 0:
            raise UserError("all features are 0, or too small or large to have a stability limit: scale them")
        learning_rate = 1 / beta
    left_out = np.tile([-1, *chosen], len(seeds))
    # The trained mean is over the n - 1 counted examples: the rate and the penalty turn it into their sum divided by n.
    share = np.where(left_out < 0, 1.0, (n - 1) / n)
    trained = fit_heads(
        inputs,
        targets,
        learning_rate=learning_rate * share,
        epochs=steps,
        loss=loss,
        l2=l2 / share,
        init_seeds=np.repeat(seeds, len(chosen) + 1).tolist(),
        scale=scale,
        heads=heads,
        bias=False,
        left_out=left_out,
        progress=progress,
    )
    every = canonical(trained.weight, loss).unflatten(0, (len(seeds), -1))
    weights, others = every[:, 0], every[:, 1:]
    index = torch.from_numpy(chosen).to(inputs.device)
    answers = targets[index].expand(len(seeds), -1)
    left_out_logits = (others @ inputs[index][:, :, None]).squeeze(-1)
    losses = head_losses(inputs[index] @ weights.mT, answers, loss)
    left_out_losses = head_losses(left_out_logits, answers, loss)
    changes = (left_out_losses - losses).abs()
    gaps = (losses[:, None] - losses).abs().mean(-1)
    return HeadStability(
        n=n,
        examples=chosen,
        seeds=tuple(map(str, seeds)),
        leave_one_out=stacked(
            [
                head_differences(one, without, measured, change)
                for one, without, change in zip(weights, others, changes, strict=True)
            ]
        ),
        seed=stacked([head_differences(one, weights, measured, gap) for one, gap in zip(weights, gaps, strict=True)]),
        losses=losses.cpu().numpy(),
        left_out_losses=left_out_losses.cpu().numpy(),
        left_out_predictions=predicted_classes(left_out_logits).cpu().numpy(),
        learning_rate=learning_rate,
        steps=steps,
        weights=weights.cpu().numpy(),
        left_out_weights=others.cpu().numpy(),
    )
