"""What a generator says: the texts that it writes, and its next-token distributions where it reads the references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from steadytune.errors import UserError
from steadytune.kinds.encoding import IGNORED
from steadytune.models.language import inputs_of, targets_of
from steadytune.models.modules import learned_positions, plain_model, pool
from steadytune.models.random_state import preserved_random_state, spread
from steadytune.models.states import hidden_states


class Decoding(Protocol):
    """How texts are generated, see `study.Decoding`."""

    @property
    def max_new_tokens(self) -> int: ...  # noqa: D102
    @property
    def beams(self) -> int: ...  # noqa: D102
    @property
    def sample(self) -> bool: ...  # noqa: D102
    @property
    def temperature(self) -> float: ...  # noqa: D102
    @property
    def top_p(self) -> float: ...  # noqa: D102


class Forced(NamedTuple):
    """One example under teacher forcing, for which the model reads the reference's t tokens.

    Attributes:
        log_probabilities: (t, V) over the word at each token.
        targets: (t,) the reference's words.
        states: (L, D) after each block, or None if not asked for.
    """

    log_probabilities: Tensor
    targets: Tensor
    states: Tensor | None


def is_seq2seq(model: nn.Module) -> bool:
    """Return whether a transformers model is an encoder-decoder."""
    return bool(getattr(getattr(plain_model(model), "config", None), "is_encoder_decoder", False))


@torch.inference_mode()
def forced(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], device: torch.device, bf16: bool, position: str | None
) -> Iterator[Forced]:
    """Yield what a model says of each example, in the order of the batches, without dropout.

    Args:
        model: A causal model or an encoder-decoder; left in evaluation mode.
        batches: Padded inputs, and labels (b, T) that are `IGNORED` where there is no target.
        device: Device of the model.
        bf16: Whether to compute under bfloat16 autocast.
        position: Hidden states to return: "last" those of the last token of the prompt, "cls" those of its first,
            "mean" the mean over the target tokens; None for none.
    """
    model.eval()
    seq2seq = is_seq2seq(model)
    for batch in batches:
        whole = {name: tensor.to(device) for name, tensor in batch.items()}
        inputs, labels = inputs_of(model, whole), whole["labels"]
        with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
            outputs = model(**inputs, output_hidden_states=position is not None)
        states = None if position is None else _states(outputs, inputs, labels, position, seq2seq)
        for row, (said, target) in enumerate(zip(outputs.logits, targets_of(model, labels), strict=True)):
            at = target != IGNORED
            yield Forced(
                said[at].float().log_softmax(-1).cpu(), target[at].cpu(), None if states is None else states[:, row]
            )


def _states(outputs: Any, inputs: dict[str, Tensor], labels: Tensor, position: str, seq2seq: bool) -> Tensor:
    """Return the states (L, b, D) of a batch."""
    target = (labels != IGNORED).long()
    if position == "mean":
        layers = outputs.decoder_hidden_states if seq2seq else hidden_states(outputs)
        mask = target
    else:
        layers = outputs.encoder_hidden_states if seq2seq else hidden_states(outputs)
        mask = inputs["attention_mask"] if seq2seq else inputs["attention_mask"] * (target.cumsum(1) == 0)
    return torch.stack([pool(layer, mask, position).float().cpu() for layer in layers[1:]])


@torch.inference_mode()
def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    tokenizer: Any,
    decoding: Decoding,
    device: torch.device,
    bf16: bool,
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> list[str]:
    """Return the text that a model writes for each prompt, in their order, without special tokens.

    Prompts of like length are batched, so that all runs on the same prompts compute the same products.

    Args:
        model: A causal model or an encoder-decoder; left in evaluation mode.
        prompts: Token ids of N prompts.
        tokenizer: Decodes, and pads: on the left for a causal model, which goes on where a prompt ends.
        decoding: How; what it does not say is as in the model's own generation configuration.
        device: Device of the model.
        bf16: Whether to compute under bfloat16 autocast.
        seed: Of the draws, if words are drawn. The global random state is left as it was.
        batch_size: Prompts at once.

    Raises:
        UserError: As `check_room`.
    """
    if (config := getattr(plain_model(model), "config", None)) is not None:
        check_room(config, prompts, decoding)
    model.eval()
    wanted: Any = model
    seq2seq = is_seq2seq(model)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    texts = [""] * len(prompts)
    with preserved_random_state():
        torch.manual_seed(spread("decoding", seed))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            inputs = tokenizer.pad(
                {"input_ids": [list(prompts[index]) for index in chosen]},
                padding_side="right" if seq2seq else "left",
                return_tensors="pt",
            ).to(device)
            with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
                written = wanted.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    generation_config=_configuration(model, tokenizer, decoding),
                )
            new = written if seq2seq else written[:, inputs["input_ids"].shape[1] :]
            for index, text in zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                texts[index] = text
    return texts


def _configuration(model: nn.Module, tokenizer: Any, decoding: Decoding) -> GenerationConfig:
    """Return the model's own generation configuration with what is asked for."""
    plain: Any = plain_model(model)
    config = GenerationConfig.from_dict(plain.generation_config.to_dict())
    config.update(
        max_new_tokens=decoding.max_new_tokens,
        max_length=None,
        num_beams=decoding.beams,
        do_sample=decoding.sample,
        temperature=decoding.temperature if decoding.sample else None,
        top_p=decoding.top_p if decoding.sample else None,
        top_k=0 if decoding.sample else None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id,
        num_return_sequences=1,
    )
    return config


def check_room(config: Any, prompts: Iterable[Sequence[int]], decoding: Decoding) -> None:
    """Check that a model has positions for every prompt and the text after it.

    Args:
        config: Of the model; an encoder-decoder writes apart from its prompt.
        prompts: Token ids.
        decoding: How texts are generated.

    Raises:
        UserError: It has not; says what to lower.
    """
    places = learned_positions(config)
    longest = 1 if config.is_encoder_decoder else max(map(len, prompts), default=0)
    if places is not None and longest + decoding.max_new_tokens > places:
        raise UserError(
            f"a prompt of {longest} tokens and {decoding.max_new_tokens} generated ones exceed the {places} positions "
            "of the model: lower training.max_length, which cuts prompts, or decoding.max_new_tokens"
        )
