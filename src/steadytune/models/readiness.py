"""What is said of a model's weights before they are trained."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers import Parts


def check_precision(model: nn.Module) -> None:
    """Refuse to train weights of float16, and warn of those of bfloat16. Frozen ones are nobody's business.

    Raises:
        UserError: A weight that is trained is stored in float16.
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
    """Warn of a last layer that PEFT has frozen as it was drawn."""
    weights = [weight for module in parts.head for weight in module.parameters()]
    if hasattr(parts.model, "get_base_model") and weights and not any(weight.requires_grad for weight in weights):
        warnings.warn(
            "PEFT has frozen the last layer, which keeps its random initial weights: make the adapters with "
            "task_type='SEQ_CLS', or name the layer in modules_to_save",
            stacklevel=3,
        )
