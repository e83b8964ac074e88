"""What a run records along its training besides losses: the geometry of a batch, and gradients by depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def geometry(features: Tensor, classes: Tensor, head: Any) -> dict[str, float]:
    """Return the quantities that a margin regularizer changes, for one batch.

    Args:
        features: (b, d) encoded examples.
        classes: (b,) classes.
        head: The last layer.

    Returns:
        "centre_distance": mean distance between class centres, NaN for one class; "feature_norm": B, the largest norm;
        "margin": the smallest distance of an example to the boundary between its class and another, negative where it
        is on the wrong side, NaN for a head with one output.
    """
    features, classes = features.float().cpu(), classes.cpu()
    centres = torch.stack([features[classes == label].mean(0) for label in classes.unique()])
    distances = torch.pdist(centres)
    margin = torch.tensor(float("nan"))
    weight, bias = head.weight.float().cpu(), None if head.bias is None else head.bias.float().cpu()
    if weight.dim() == 3:
        weight, bias = weight.mean(0), None if bias is None else bias.mean(0)
    if len(weight) > 1:
        logits = features @ weight.T + (0 if bias is None else bias)
        own = logits.gather(1, classes[:, None])
        widths = (weight[classes][:, None] - weight[None]).norm(dim=-1)
        gaps = (own - logits) / widths.clamp(min=1e-12)
        margin = gaps.scatter(1, classes[:, None], float("inf")).min()
    return {
        "centre_distance": float(distances.mean()),
        "feature_norm": float(features.norm(dim=1).max()),
        "margin": float(margin),
    }


@torch.no_grad()
def gradient_norms(levels: Sequence[Sequence[nn.Parameter]]) -> dict[str, float]:
    """Return the Euclidean norm of the gradient at each depth, before clipping.

    Args:
        levels: Weights of the embeddings, of each block, and of what is above the last one, as in `Parts`.

    Returns:
        "gradient_embeddings", "gradient_block_1" and so on, "gradient_top"; NaN if no weight has a gradient.
    """
    names = ["embeddings", *(f"block_{number}" for number in range(1, len(levels) - 1)), "top"]
    norms = {}
    for name, level in zip(names, levels, strict=True):
        gradients = [weight.grad for weight in level if weight.grad is not None]
        norms[f"gradient_{name}"] = float(nn.utils.get_total_norm(gradients)) if gradients else math.nan
    return norms
