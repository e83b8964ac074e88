"""Texts and next-token distributions of any trained language model, as the fields of a recorded run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.external.batches import Position, kept_states, split, unlike, update
from steadytune.kinds import KINDS
from steadytune.kinds.encoding import IGNORED
from steadytune.models.candidates import Candidates
from steadytune.models.criterion import check_highest
from steadytune.models.modules import evaluating, output_layer, plain_model
from steadytune.models.random_state import preserved_random_state
from steadytune.models.reading import read_arrays, read_candidates
from steadytune.models.texts import Forced, forced, generate, is_seq2seq

_KIND = "generation"
# What the decoder reads is made of the labels, padded to a batch's width.
_OF_LABELS = ("decoder_input_ids", "decoder_attention_mask")


@dataclass(frozen=True)
class Words:
    """Words at which the distributions of runs are compared, see `Candidates`.

    Attributes:
        candidates: They.
        counts: (N,) number of target tokens of each example.
    """

    candidates: Candidates
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Writing:
    """How a language model is asked for texts.

    Attributes:
        tokenizer: That of its prompts; None if unknown, and there are then no texts.
        decoding: How texts are generated; None for `decoding_of`.
        seed: Of the draws of words.
        words: Words at which distributions are recorded; None for none.
    """

    tokenizer: Any = None
    decoding: Decoding | None = None
    seed: int = 0
    words: Words | None = None


def check_decoding(decoding: Any) -> None:
    """Reject what is no `Decoding`.

    Raises:
        UserError: It is something else.
    """
    if decoding is not None and not isinstance(decoding, Decoding):
        raise UserError(f"decoding must be a steadytune.Decoding, such as Decoding(beams=4), not {decoding!r:.60}")


def decoding_of(model: nn.Module, arguments: Any = None) -> Decoding:
    """Return how a script has its texts generated: their length and its beams, and no draws.

    Args:
        model: A language model, whose generation configuration may say so.
        arguments: The Trainer's; those of a Seq2SeqTrainer may say so.
    """
    config = getattr(plain_model(model), "generation_config", None)
    length = getattr(config, "max_new_tokens", None)
    longest = getattr(arguments, "generation_max_length", None)
    if length is None and longest is not None and is_seq2seq(model):
        length = max(1, longest - 1)  # it counts the token that the decoder starts with
    beams = getattr(arguments, "generation_num_beams", None) or getattr(config, "num_beams", None) or 1
    return Decoding(max_new_tokens=length or Decoding().max_new_tokens, beams=beams)


def text_fields(
    model: nn.Module, batches: Iterable[Any], position: Position | None, writing: Writing
) -> tuple[dict[str, Any], list[str]]:
    """Return a language model's arguments of `record_run`, and what must be said.

    The prompt of a causal model's example is what comes before the first label, that of an encoder-decoder its input. A
    reference is what the labels spell, up to the token that ends a text.

    Args:
        model: A causal model or an encoder-decoder of transformers.
        batches: Mappings of "input_ids" (b, T), "labels" (b, T'), -100 where they do not count, and what else it reads.
        position: As in `record_model`; "auto" is the last token of the prompt.
        writing: How texts are asked for.

    Returns:
        "kind", "examples", the arrays of `read_arrays`, and "generations" and "references" (N) if each example has a
        prompt and one text. Of a model whose outputs are not finite "status" and "reason" instead of arrays.

    Raises:
        UserError: Batches are not of texts, or others than those that words were drawn for.
    """
    asked = _Asked(model)
    device = _device(model)
    pending = iter(batches)
    first = next(pending, None)
    if first is None:
        raise UserError("there are no batches to record")
    notes, words = [], writing.words
    where = "last" if position == "auto" else position
    with torch.inference_mode(), preserved_random_state(), evaluating(model):
        if fault := unlike(*(_targets(model, first, device) for _ in range(2))):
            notes.append(fault)
        arrays = read_arrays(
            forced(model, asked.reading(chain([first], pending)), device, False, where),
            candidates=None if words is None else words.candidates,
            counts=None if words is None else words.counts,
        )
        fields: dict[str, Any] = {"kind": _KIND, "examples": asked.digest.hexdigest()}
        said = arrays["target_log_probabilities"]
        if not np.isfinite(said).all():
            token = int(np.flatnonzero(~np.isfinite(said))[0])
            reason = f"the model's outputs are not finite, first at target token {token}"
            return {**fields, "status": "diverged", "reason": reason}, notes
        if "representations" in arrays:
            states, fault = kept_states(arrays.pop("representations"))
            fields |= states
            notes += [fault] * bool(fault)
        fields |= arrays
        if missing := asked.no_texts(writing.tokenizer):
            return fields, [*notes, f"{missing}; the run is recorded without texts"]
        decoding = writing.decoding or decoding_of(model)
        fields["generations"] = generate(
            model,
            asked.prompts,
            writing.tokenizer,
            decoding,
            device,
            False,
            seed=writing.seed,
            batch_size=len(first["input_ids"]),
        )
    ends = _ends(model, writing.tokenizer)
    answers = [_until(answer, ends) for answer in asked.answers]
    fields["references"] = writing.tokenizer.batch_decode(answers, skip_special_tokens=True)
    if empty := [number for number, answer in enumerate(asked.answers) if not answer]:
        notes.append(f"{len(empty)} examples have no label that counts, first number {empty[0]}: their reference is ''")
    return fields, notes


def _targets(model: nn.Module, batch: Any, device: torch.device) -> Tensor:
    """Return the log-probabilities of a batch's target tokens."""
    found = forced(model, [_texts_in(model, batch)], device, False, None)
    return torch.cat([one.log_probabilities.gather(1, one.targets[:, None])[:, 0] for one in found])


def draw_words(model: nn.Module, batches: Iterable[Any]) -> Words:
    """Return the words at which runs are compared, drawn from a model before its training.

    Raises:
        UserError: Batches are not of texts.
    """
    counts: list[int] = []

    def counted(found: Iterable[Forced]) -> Iterator[Forced]:
        for one in found:
            counts.append(len(one.targets))
            yield one

    with torch.inference_mode(), preserved_random_state(), evaluating(model):
        found = forced(model, (_texts_in(model, batch) for batch in batches), _device(model), False, None)
        candidates = read_candidates(counted(found))
    return Words(candidates, np.array(counts, dtype=np.int64))


class _Asked:
    """What a language model is asked, read off batches as they pass.

    Attributes:
        digest: Digest of the examples.
        prompts: Token ids of the prompt of each example.
        answers: Token ids of the text of each example.
        apart: Numbers of examples with labels in several places.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._seq2seq = model, is_seq2seq(model)
        self.digest = hashlib.sha256()
        self.prompts: list[list[int]] = []
        self.answers: list[list[int]] = []
        self.apart: list[int] = []

    def reading(self, batches: Iterable[Any]) -> Iterator[dict[str, Tensor]]:
        """Yield the inputs and labels of batches, and take note of them."""
        for batch in batches:
            texts = _texts_in(self._model, batch)
            inputs = {name: value for name, value in texts.items() if name not in ("labels", *_OF_LABELS)}
            for row, labels in enumerate(texts["labels"]):
                # Row by row: labels of a text of their own have no mask, and their padding is another in every batch.
                one = {name: value[row : row + 1] for name, value in inputs.items()}
                held = labels[None, labels != IGNORED] if self._seq2seq else labels[None]
                update(self.digest, one, held, None if self._seq2seq else held != IGNORED)
                self._take(texts["input_ids"][row], texts["attention_mask"][row].bool(), labels)
            yield texts

    def _take(self, tokens: Tensor, shown: Tensor, labels: Tensor) -> None:
        if self._seq2seq:
            self.prompts.append(tokens[shown].tolist())
            self.answers.append(labels[labels != IGNORED].tolist())
            return
        tokens, counts = tokens[shown], labels[shown] != IGNORED
        begun = counts.cumsum(0)
        self.prompts.append(tokens[begun == 0].tolist())
        self.answers.append(labels[shown][counts].tolist())
        if bool((counts[1:] & ~counts[:-1]).sum() > int(not bool(counts[:1].any()))):
            self.apart.append(len(self.prompts) - 1)

    def no_texts(self, tokenizer: Any) -> str:
        """Return why no texts can be generated and compared, or ""."""
        if tokenizer is None:
            return "texts need the tokenizer: Trainer(processing_class=...), or record_model(tokenizer=...)"
        if tokenizer.pad_token_id is None:
            return "prompts cannot be padded: set tokenizer.pad_token, such as to tokenizer.eos_token"
        if (empty := next((n for n, prompt in enumerate(self.prompts) if not prompt), None)) is not None:
            return f"example {empty} has no prompt: tokens that the model is given, not asked for, need the label -100"
        if self.apart:
            return f"example {self.apart[0]} has several answers, in different places"
        return ""


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _texts_in(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """Return what a language model reads of a batch, with "labels" and "attention_mask".

    Raises:
        UserError: The batch is not of texts, or its labels do not fit.
    """
    positional, named, labels = split(batch)
    tokens = named.get("input_ids")
    if positional or tokens is None or tokens.dim() != 2:
        raise UserError(
            "a language model is recorded from batches of input_ids (examples, tokens) and labels by name; otherwise "
            "pass generated texts to steadytune.record_run(generations=...)"
        )
    if labels is None:
        raise UserError("the batches have no 'labels', of which a language model's references are made")
    if "attention_mask" not in named:
        if "position_ids" in named:
            raise UserError("batches have several examples in one row, which cannot be told apart: padding_free=False")
        named["attention_mask"] = torch.ones_like(tokens)
    highest = KINDS[_KIND].check_batch_labels(labels, "evaluation set")
    layer = output_layer(plain_model(model))
    if isinstance(layer, nn.Linear):
        check_highest(highest, layer.out_features, KINDS[_KIND].too_few_outputs)
    if len(labels) != len(tokens) or (not is_seq2seq(model) and labels.shape != tokens.shape):
        raise UserError(f"labels of shape {tuple(labels.shape)} do not fit input_ids of shape {tuple(tokens.shape)}")
    return {**named, "labels": labels}


def _ends(model: nn.Module, tokenizer: Any) -> set[int]:
    """Return the tokens that end a text that a model generates."""
    config = getattr(plain_model(model), "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    ends = tokenizer.eos_token_id if ends is None else ends
    return set(ends) if isinstance(ends, list) else {ends}


def _until(tokens: list[int], ends: set[int]) -> list[int]:
    """Return tokens up to the first that ends a text, after which a model generates nothing."""
    return tokens[: next((place for place, token in enumerate(tokens) if token in ends), len(tokens))]
