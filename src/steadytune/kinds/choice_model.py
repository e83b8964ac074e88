"""The model of a choice."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class ChoiceModel(nn.Module):
    """Score each candidate of a multiple-choice example separately: inputs (B, c, T), logits (B, c)."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer
        self.config: Any = scorer.config

    def forward(self, output_hidden_states: bool = False, **inputs: Tensor) -> Any:
        """Return logits (B, c); hidden states, if asked for, are those of the B * c candidates."""
        examples, choices = inputs["input_ids"].shape[:2]
        rows = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
        outputs = self.scorer(output_hidden_states=output_hidden_states, **rows)
        outputs.logits = outputs.logits.view(examples, choices)
        return outputs
