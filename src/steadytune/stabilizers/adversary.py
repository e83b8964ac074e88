"""A perturbation of embeddings that climbs the loss within a ball.

This module imports torch: stabilizers import it inside their hooks.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Perturbation:
    """delta of (rows, tokens, width), added to what it is called with; made at the first call.

    Args:
        radius: Largest norm for one row; the start is uniform in (-radius, radius) / sqrt(tokens * width).
        mask: (..., tokens) 1 at tokens that are perturbed; None for all.
        seed: Of the start.
    """

    def __init__(self, radius: float, mask: Tensor | None, seed: int) -> None:
        self.radius, self.mask, self.seed = radius, mask, seed
        self.delta: Tensor | None = None

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the perturbed embeddings."""
        if self.delta is None:
            self.delta = self._start(vectors.detach())
        return vectors + self.delta.to(vectors.dtype)

    def _start(self, vectors: Tensor) -> Tensor:
        generator = torch.Generator(vectors.device).manual_seed(self.seed)
        start = torch.empty_like(vectors, dtype=_wide(vectors.dtype)).uniform_(-1, 1, generator=generator)
        shown = torch.ones_like(start[..., :1])
        if self.mask is not None:
            shown = self.mask.flatten(0, -2).unsqueeze(-1).to(start.dtype)
        size = (shown.sum((1, 2), keepdim=True) * start.shape[-1]).clamp(min=1).sqrt()
        return (start * shown * (self.radius / size)).requires_grad_()

    @torch.no_grad()
    def climb(self, step_size: float) -> None:
        """Move by a step of a given norm along the gradient that a backward pass has left, and back into the ball."""
        assert self.delta is not None
        assert self.delta.grad is not None
        gradient = self.delta.grad
        if self.mask is not None:
            gradient = gradient * self.mask.flatten(0, -2).unsqueeze(-1)
        moved = self.delta + step_size * gradient / _norms(gradient).clamp(min=1e-12)
        moved *= (self.radius / _norms(moved).clamp(min=1e-12)).clamp(max=1)
        self.delta = moved.requires_grad_()


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=(1, 2), keepdim=True)
    return norms
