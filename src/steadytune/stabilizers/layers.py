"""Torch layers that stabilizers put into a model.

They are separate from the stabilizers' own files, so that reading a study needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.stabilizers.mixout import mix


class MultiHeadLinear(nn.Module):
    """H linear heads whose output is the mean of their logits.

    Args:
        first: Becomes head 0; the other weights are drawn from the global random state with the standard deviation of
            its weights, and their biases are copies of its bias.
        heads: H.
    """

    def __init__(self, first: nn.Linear, heads: int) -> None:
        super().__init__()
        weight = first.weight.detach()
        scale = float(weight.std(correction=0))
        others = torch.randn(heads - 1, *weight.shape, dtype=weight.dtype).to(weight.device) * scale
        self.weight = nn.Parameter(torch.cat([weight[None], others]))
        self.bias = None if first.bias is None else nn.Parameter(first.bias.detach().repeat(heads, 1))
        self.in_features, self.out_features = first.in_features, first.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean of the heads' logits, (..., outputs)."""
        return nn.functional.linear(features, self.weight.mean(0), None if self.bias is None else self.bias.mean(0))

    def each(self, features: Tensor, gradient_scale: float) -> Tensor:
        """Return every head's logits, (b, H, outputs); the heads' own gradients are multiplied by `gradient_scale`."""
        heads, outputs, width = self.weight.shape
        weight = _scaled(self.weight, gradient_scale).view(heads * outputs, width)
        bias = None if self.bias is None else _scaled(self.bias, gradient_scale).view(-1)
        return nn.functional.linear(features, weight, bias).view(-1, heads, outputs)

    def fold(self) -> nn.Linear:
        """Return the plain layer with the mean weights and bias."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        layer = layer.to(self.weight.device, self.weight.dtype)
        with torch.no_grad():
            layer.weight.copy_(self.weight.mean(0))
            if self.bias is not None:
                layer.bias.copy_(self.bias.mean(0))
        return layer


class MixLinear(nn.Linear):
    """A linear layer that is mixed with its initial weights in each training pass; see `steadytune.stabilizers.mixout`.

    Args:
        layer: Its weight and bias are this layer's, too.
        start: Returns the (out, in) weight to revert to.
        p: Probability of reverting.
    """

    def __init__(self, layer: nn.Linear, start: Callable[[], Tensor], p: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.p = layer.in_features, layer.out_features, p
        self.weight, self.bias = layer.weight, layer.bias
        self.start = start
        self.train(layer.training)

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs, (..., out)."""
        weight = mix(self.weight, self.start(), self.p) if self.training else self.weight
        return nn.functional.linear(features, weight, self.bias)


class SpectralLinear(nn.Module):
    """A linear layer whose weight is divided by its largest singular value.

    Args:
        layer: Its weight and bias are this layer's, too.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def _divided(self) -> Tensor:
        largest: Tensor = torch.linalg.matrix_norm(self.weight, 2)
        return self.weight / largest

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs, (..., out)."""
        return nn.functional.linear(features, self._divided(), self.bias)

    def fold(self) -> nn.Linear:
        """Return the plain layer with the same outputs."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        layer.weight = nn.Parameter(self._divided().detach())
        layer.bias = self.bias
        return layer


def _scaled(tensor: Tensor, scale: float) -> Tensor:
    result: Tensor = _ScaleGradient.apply(tensor, scale)  # type: ignore[no-untyped-call]
    return result


class _ScaleGradient(torch.autograd.Function):
    """Identity in the forward pass; multiplies the gradient by a constant in the backward pass."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None
