"""The last layer of a model: its location, its input, and whether its output is the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.models.modules import NoHead, encoder_of, find_head, output_layer
from steadytune.models.padding import read_token

_ROUNDING, _HALF_ROUNDING = 5e-3, 3e-2
"""Tolerance between two computations of a logit, relative to the largest: TF32 has 10 bits, bfloat16 has 7."""


class LastLayer:
    """The linear layer that outputs a model's logits, or the reason why it cannot be identified.

    A custom model may register its layers in any order, and change the output of its last one. So the input of
    the layer is trusted only if the layer maps it to the model's logits.

    Args:
        model: As for `find_head`.

    Attributes:
        module: The layer, or its replacement by stabilizers; None if there is none to replace, as in a language model.
        why: Why no layer is known to output the logits.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.why = self._missing = ""
        self.module: nn.Module | None = None
        self._features: Tensor | None = None
        self._checked = False
        try:
            self._parent, self._name, self.found = find_head(model)
        except NoHead as error:
            self._missing = str(error)
            self.why = "" if output_layer(encoder_of(model)) is not None else self._missing
        else:
            self.module = self.found

    def __deepcopy__(self, memo: dict[int, Any]) -> LastLayer:
        """Return itself: a copy of the model keeps the hook, which observes only the layer of this model."""
        return self

    def need(self, method: str) -> nn.Module:
        """Return the layer.

        Raises:
            UserError: There is none.
        """
        if self.module is None:
            raise UserError(f"{method} acts on the last layer: {self._missing}")
        return self.module

    def put(self, module: nn.Module) -> None:
        """Replace it by another module."""
        self.module = module
        setattr(self._parent, self._name, module)

    def watch(self) -> None:
        """Start observing the layer's input; that of a language model's own last layer, if it has no other."""
        self._watched = self.module if self.module is not None else output_layer(encoder_of(self.model))
        if self._watched is not None:
            self._watch = self._watched.register_forward_pre_hook(self._keep)

    def unwatch(self) -> None:
        """Stop observing."""
        self._features = None
        if self._watched is not None:
            self._watch.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if module is self._watched and inputs:
            self._features = inputs[0]

    def take(self, inputs: Mapping[str, Any], logits: Tensor) -> Tensor | None:
        """Return the layer's input, (rows, d) or (b, T, d) of tokens, in the graph, in the pass that computed logits.

        Args:
            inputs: The batch.
            logits: Logits of the model, (b, T, outputs) if every token has some.

        Returns:
            None if the logits are not the layer's; `why` says so from then on.

        Raises:
            UserError: A decoder reads the layer at a padding token.
        """
        features, self._features = self._features, None
        if features is not None and features.dim() == 3 and logits.dim() < 3:
            features = read_token(self.model, features, inputs.get("input_ids"), inputs.get("attention_mask"))
        if not self._checked and self._watched is not None:
            self._checked = True
            if features is None or not _gives(self._watched, features, logits):
                self.why = f"the logits of {type(self.model).__name__} are not the output of its last linear layer"
        return None if self.why else features


@torch.no_grad()
def _gives(layer: nn.Module, features: Tensor, logits: Tensor) -> bool:
    if not logits.numel():
        return True
    # Without its hooks: they have already changed these features, whose dtype may be narrower under autocast.
    weight = next(layer.parameters(), None)
    given = layer.forward(features if weight is None else features.to(weight.dtype))
    if given.numel() != logits.numel():
        return False
    difference = (given.view_as(logits).float() - logits.float()).abs().max()
    narrowest = min(features.element_size(), given.element_size(), logits.element_size())
    rounding = _HALF_ROUNDING if narrowest < 4 else _ROUNDING
    # Logits that are not finite cannot be compared; the loss will not be finite either.
    return bool(difference <= rounding * logits.float().abs().max()) or not bool(torch.isfinite(logits).all())
