"""Checks of a model's weights before training."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers import Parts


def check_precision(model: nn.Module) -> None:
    """Reject trained weights in float16, and warn about those in bfloat16. Frozen ones may have any dtype.

    Raises:
        UserError: A trained weight is stored in float16.
    """
    trained = {weight.dtype for weight in model.parameters() if weight.requires_grad}
    way_out = (
        "load the model with dtype=torch.float32; for speed set fp16=True or bf16=True in TrainingArguments, or "
        "use torch.autocast"
    )
    if torch.float16 in trained:
        raise UserError(
            "the weights are trained in float16, where Adam's 1e-8 is 0 and its steps become many times too large: "
            + way_out
        )
    if torch.bfloat16 in trained:
        warnings.warn(
            f"the weights are trained in bfloat16, where an update below 1/256 of a weight is lost: {way_out}",
            stacklevel=3,
        )


def say_frozen_head(parts: Parts) -> None:
    """Warn about a last layer that PEFT has frozen at its random initial weights."""
    weights = [weight for module in parts.head for weight in module.parameters()]
    if hasattr(parts.model, "get_base_model") and weights and not any(weight.requires_grad for weight in weights):
        warnings.warn(
            "PEFT has frozen the last layer, which keeps its random initial weights: make the adapters with "
            "task_type='SEQ_CLS', or name the layer in modules_to_save",
            stacklevel=3,
        )
