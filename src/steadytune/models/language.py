"""Language models: what their decoder reads, and which label belongs to which of their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.kinds.base import Criterion
from steadytune.kinds.encoding import IGNORED
from steadytune.models.modules import encoder_of, writes


def targets_of(model: nn.Module, labels: Tensor) -> Tensor:
    """Return the label of each output of a model: that of the next token for a causal language model.

    Args:
        model: Any model.
        labels: (b, T) of a language model, or of any other model, whose labels are returned unchanged.
    """
    if labels.dim() != 2 or not _is_causal(encoder_of(model)):
        return labels
    return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _is_causal(encoder: Any) -> bool:
    return writes(encoder) and not encoder.config.is_encoder_decoder


def criterion_of(model: nn.Module, kind: str, label_smoothing: float = 0.0) -> Criterion:
    """Return (logits of the model, labels of the batch) -> the mean loss of its kind of task."""
    loss = KINDS[kind].criterion(label_smoothing)
    return lambda logits, labels: loss(logits, targets_of(model, labels))


def inputs_of(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to call a model with for its logits: the batch without labels.

    The decoder of an encoder-decoder reads the right text, one token late. It is made of the labels as the model would,
    unless the batch has it.

    Raises:
        UserError: The model does not say how.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if not {"decoder_input_ids", "decoder_inputs_embeds"}.isdisjoint(inputs):
        return inputs
    encoder: Any = encoder_of(model)
    if writes(encoder) and encoder.config.is_encoder_decoder:
        try:
            inputs["decoder_input_ids"] = encoder.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{type(encoder).__name__} cannot make the decoder's input of the labels: set "
                "model.config.decoder_start_token_id and pad_token_id, or put decoder_input_ids into the batches"
            ) from error
    return inputs


def unanswered(model: nn.Module, row: Mapping[str, Any]) -> Sequence[int]:
    """Return the tokens of a training example that are no labels: of a causal language model's those of the prompt.

    Args:
        model: Any model.
        row: "input_ids" and, of a causal language model, "labels" of the same length: all tokens count without them.
    """
    tokens: Sequence[int] = row["input_ids"]
    if not _is_causal(encoder_of(model)):
        return tokens
    labels, shown = row.get("labels", tokens), row.get("attention_mask", [1] * len(tokens))
    return [one for one, label, seen in zip(tokens, labels, shown, strict=True) if label == IGNORED and seen]
