"""The last layer of a model: where it is, what enters it, and whether the logits are what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.models.modules import NoHead, find_head
from steadytune.models.padding import read_token

_ROUNDING, _HALF_ROUNDING = 5e-3, 3e-2
"""Tolerance between two computations of a logit, relative to the largest: TF32 has 10 bits, bfloat16 has 7."""


class LastLayer:
    """The linear layer that gives a model's logits, or why there is none that could be told.

    A model of somebody's own may register its layers in any order, and change what its last one gives. So what enters
    the layer is believed only once the layer has made the model's logits of it.

    Args:
        model: As `find_head` takes it.

    Attributes:
        module: The layer, or what stabilizers put in its place; None where there is none.
        why: Why there is none, or none that gives the logits.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.why = ""
        self.module: nn.Module | None = None
        self._features: Tensor | None = None
        self._checked = False
        try:
            self._parent, self._name, self.found = find_head(model)
        except NoHead as error:
            self.why = str(error)
        else:
            self.module = self.found

    def __deepcopy__(self, memo: dict[int, Any]) -> LastLayer:
        """Return itself: a copy of the model keeps the hook, which looks at the layer of this model alone."""
        return self

    def need(self, method: str) -> nn.Module:
        """Return the layer.

        Raises:
            UserError: There is none.
        """
        if self.module is None:
            raise UserError(f"{method} acts on the last layer: {self.why}")
        return self.module

    def put(self, module: nn.Module) -> None:
        """Have another module in its place."""
        self.module = module
        setattr(self._parent, self._name, module)

    def watch(self) -> None:
        """Look at what enters the layer from now on."""
        if self.module is not None:
            self._watch = self.module.register_forward_pre_hook(self._keep)

    def unwatch(self) -> None:
        """Stop looking."""
        self._features = None
        if self.module is not None:
            self._watch.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if module is self.module and inputs:
            self._features = inputs[0]

    def take(self, inputs: Mapping[str, Any], logits: Tensor) -> Tensor | None:
        """Return (rows, d), in the graph, of what entered the layer in the pass that gave these logits.

        Args:
            inputs: The batch.
            logits: Of the model.

        Returns:
            None if the logits are not the layer's; `why` says so from then on.

        Raises:
            UserError: A decoder reads the layer at a padding token.
        """
        features, self._features = self._features, None
        if features is not None and features.dim() == 3:
            features = read_token(self.model, features, inputs.get("input_ids"), inputs.get("attention_mask"))
        if not self._checked and self.module is not None:
            self._checked = True
            if features is None or not _gives(self.module, features, logits):
                self.why = f"the logits of {type(self.model).__name__} are not the output of its last linear layer"
        return None if self.why else features


@torch.no_grad()
def _gives(layer: nn.Module, features: Tensor, logits: Tensor) -> bool:
    if not logits.numel():
        return True
    # Without its hooks: they have changed these features already. Under autocast they may be narrower than its weights.
    weight = next(layer.parameters(), None)
    given = layer.forward(features if weight is None else features.to(weight.dtype))
    if given.numel() != logits.numel():
        return False
    difference = (given.view_as(logits).float() - logits.float()).abs().max()
    narrowest = min(features.element_size(), given.element_size(), logits.element_size())
    rounding = _HALF_ROUNDING if narrowest < 4 else _ROUNDING
    # Logits that are not finite say nothing; the loss will not be finite either.
    return bool(difference <= rounding * logits.float().abs().max()) or not bool(torch.isfinite(logits).all())
