"""Adversarial perturbations of embeddings within a ball or a cube.

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
        shown = _shown(start, self.mask)
        size = (shown.sum((1, 2), keepdim=True) * start.shape[-1]).clamp(min=1).sqrt()
        return (start * shown * (self.radius / size)).requires_grad_()

    @torch.no_grad()
    def climb(self, step_size: float) -> None:
        """Take a step of a given norm along the gradient of the last backward pass, and project back into the ball."""
        assert self.delta is not None
        assert self.delta.grad is not None
        gradient = self.delta.grad * _shown(self.delta, self.mask)
        moved = self.delta + step_size * gradient / _norms(gradient).clamp(min=1e-12)
        moved *= (self.radius / _norms(moved).clamp(min=1e-12)).clamp(max=1)
        self.delta = moved.requires_grad_()


class Shift:
    """delta of (rows, tokens, width), added to what it is called with; made at the first call from N(0, deviation^2).

    Args:
        deviation: Standard deviation of the start.
        mask: (..., tokens) 1 at tokens that are shifted; None for all.
        seed: Of the start.

    Attributes:
        half: Whether the model computes in half precision.
    """

    def __init__(self, deviation: float, mask: Tensor | None, seed: int) -> None:
        self.deviation, self.mask, self.seed = deviation, mask, seed
        self.delta: Tensor | None = None
        self.half = False

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the shifted embeddings."""
        if self.delta is None:
            generator = torch.Generator(vectors.device).manual_seed(self.seed)
            start = torch.empty_like(vectors.detach(), dtype=_wide(vectors.dtype)).normal_(generator=generator)
            self.delta = (start * _shown(start, self.mask) * self.deviation).requires_grad_()
            # Accelerate's autocast ends with the pass.
            self.half = vectors.element_size() < 4 or torch.is_autocast_enabled(vectors.device.type)
        return vectors + self.delta.to(vectors.dtype)

    def origin(self, logits: Tensor) -> Tensor:
        """Return the logits to diverge from: those given, in half precision perturbed by N(0, 1).

        Half precision does not resolve the effect of the start on the logits: many stay unchanged, with zero gradient.
        """
        if not self.half:
            return logits
        generator = torch.Generator(logits.device).manual_seed(self.seed)
        return logits + torch.empty_like(logits, dtype=torch.float32).normal_(generator=generator)

    def climb(self, loss: Tensor, radius: float) -> None:
        """Move to the corner of a cube where a loss is largest according to its gradient.

        The weights get no gradient.

        Args:
            loss: Loss of the shifted embeddings.
            radius: Size of every entry at the corner; entries with zero gradient, or of padding, become 0.
        """
        assert self.delta is not None
        # The gradients of a mean over many rows may be too small for float16.
        (slope,) = torch.autograd.grad(loss * (len(self.delta) if self.half else 1), self.delta)
        self.delta = radius * slope.sign() * _shown(slope, self.mask)


def _shown(rows: Tensor, mask: Tensor | None) -> Tensor:
    """Return (rows, tokens, 1) ones, and zeros where the mask is zero."""
    return torch.ones_like(rows[..., :1]) if mask is None else mask.flatten(0, -2).unsqueeze(-1).to(rows.dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=(1, 2), keepdim=True)
    return norms
