"""Divergence between two predictions for the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return KL(p || q) + KL(q || p) in nats, summed over classes and averaged over predictions; 0 if there are none.

    Args:
        first: (n, c) logits of p, one row for each example, or for each token that counts.
        second: (n, c) logits of q.
    """
    import torch

    p, q = torch.log_softmax(at_least_float(first), -1), torch.log_softmax(at_least_float(second), -1)
    # KL(p || q) + KL(q || p) = sum (p - q) (log p - log q)
    each = ((p.exp() - q.exp()) * (p - q)).sum(-1)
    return each.mean() if each.numel() else each.sum()


def at_least_float(tensor: Tensor) -> Tensor:
    """Convert a half-precision tensor to float32; return any other unchanged."""
    return tensor.float() if tensor.element_size() < 4 else tensor
