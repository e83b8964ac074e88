"""Predictions of any trained model on batches of any form, as the fields of a recorded run."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.external.batches import (
    NoStates,
    Position,
    check_position,
    kept_states,
    labels_in,
    split,
    unlike,
    update,
)
from steadytune.external.generating import Writing, text_fields
from steadytune.kinds import KINDS
from steadytune.kinds.encoding import IGNORED
from steadytune.models.criterion import check_highest, kind_of, logits_in
from steadytune.models.modules import evaluating, find_head, plain_model, pool, writes
from steadytune.models.padding import read_token
from steadytune.models.random_state import preserved_random_state
from steadytune.models.states import hidden_states
from steadytune.records.checks import check_kind


def fields_of(
    model: nn.Module,
    batches: Iterable[Any],
    position: Position | None,
    kind: str | None = None,
    *,
    writing: Writing | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return a model's arguments of `record_run`: logits, labels, representations, kind and digest of the examples.

    Args:
        model: As in `record_model`.
        batches: As in `record_model`.
        position: As in `record_model`.
        kind: As in `record_model`.
        writing: How a language model is asked for texts.
        say: Told what is left out, for a run of which nothing may be lost: invalid labels, and hidden states that there
            are not. By default they raise.

    Returns:
        "logits" (rows, C), "examples", "kind" and, where there are any, "labels", "representations" (L, rows, D),
        "status" and "reason". Of tokens the rows are those that count, and "questions" (rows,) the number of the
        sentence of each. Of a language model see `text_fields`.

    Raises:
        UserError: As `record_model`.
    """
    check_position(position)
    if kind is not None:
        check_kind("kind", kind)
    if _is_of_texts(model, kind):
        found, notes = text_fields(model, batches, position, writing or Writing())
        for note in notes:
            (say or _warn)(note)
        return found
    position = "cls" if position == "auto" else position
    seen = _Predicted(position, kind, say)
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    with (
        torch.inference_mode(),
        preserved_random_state(),
        evaluating(model),
        _padding_checked(model) as padding_fault,
    ):
        for batch in batches:
            seen.add(model, batch, device)
            # The training may be over, so its outputs are recorded anyway. Only what pools reads a single token.
            if (fault := padding_fault(batch)) and (not seen.kind or KINDS[seen.kind].pooled):
                (say or _warn)(fault)
            if len(seen.logits) == 1 and (fault := seen.restless(model, batch, device)):
                (say or _warn)(fault)
    if not seen.logits:
        raise UserError("there are no batches to record")
    fields: dict[str, Any] = {"logits": torch.cat(seen.logits).numpy(), "examples": seen.digest.hexdigest()}
    if seen.labels:
        fields["labels"] = torch.cat(seen.labels).numpy()
    if not np.isfinite(fields["logits"]).all():
        row = int(np.argwhere(~np.isfinite(fields["logits"]))[0][0])
        fields |= {"status": "diverged", "reason": f"the model's outputs are not finite, first in row {row}"}
    if seen.states:
        states, fault = kept_states(torch.cat(seen.states, dim=1).numpy())
        fields |= states
        if fault and "status" not in fields:
            (say or _warn)(fault)
    if seen.sentences:
        counts = torch.cat(seen.sentences).numpy()
        fields["questions"] = np.repeat(np.arange(len(counts)), counts)
    fields["kind"] = seen.kind or ("choice" if seen.choice else _kind(fields["logits"], fields.get("labels")))
    return fields


def grouped(fields: Mapping[str, Any], groups: NDArray[np.int64] | None) -> dict[str, Any]:
    """Return the "groups" of the rows of `fields_of`, if there are any: by default the sentences of tokens.

    Args:
        fields: What `fields_of` returned.
        groups: One for each example, or None. Others than examples are returned as they are, to be refused as such.
    """
    sentences = fields.get("questions")
    if groups is None:
        return {} if sentences is None else {"groups": sentences}
    if sentences is None or sentences.max(initial=-1) >= len(groups):
        return {"groups": groups}
    return {"groups": groups[sentences]}


def sentence_rows(fields: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return logits (n, T, C) and labels (n, T) of n sentences, of the tokens that count, padded with -100.

    This is what a Trainer gives its metrics, without the tokens whose label is -100.
    """
    sentences, logits, labels = fields["questions"], fields["logits"], fields["labels"]
    counts = np.bincount(sentences)
    places = np.arange(len(sentences)) - np.repeat(counts.cumsum() - counts, counts)
    shape = (len(counts), counts.max(initial=0))
    padded, answers = np.full((*shape, logits.shape[1]), IGNORED, logits.dtype), np.full(shape, IGNORED, np.int64)
    padded[sentences, places], answers[sentences, places] = logits, labels
    return padded, answers


def _warn(message: str) -> None:
    # Said at the line that calls `record_model`.
    warnings.warn(message, stacklevel=4)


class _Predicted:
    """What a model predicts, batch by batch.

    Args:
        position: As in `fields_of`.
        kind: As in `fields_of`.
        say: As in `fields_of`.

    Attributes:
        kind: As said, or as the model and labels of a batch show it; None if all outputs together do.
        logits: (rows, C) of each batch; a row is an example, or a token that counts.
        labels: (rows,) or (rows, L) of each batch; empty if there are none, or one is invalid.
        states: (L, rows, D) of each batch; empty if there are none.
        sentences: (b,) number of rows of the examples of each batch; empty if each is one.
        digest: Digest of the examples.
        choice: Whether an example consists of several inputs.
    """

    def __init__(self, position: Position | None, kind: str | None, say: Callable[[str], None] | None) -> None:
        self.position, self.kind, self.say = position, kind, say
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.states: list[Tensor] = []
        self.sentences: list[Tensor] = []
        self.digest = hashlib.sha256()
        self.choice = self._unlabelled = False

    def add(self, model: nn.Module, batch: Any, device: torch.device) -> None:
        """Predict a batch."""
        positional, named, labels = split(batch)
        self.kind = self.kind or _shown_kind(model, labels)
        at = _rows_in(self.kind, labels)
        update(self.digest, {**{str(place): value for place, value in enumerate(positional)}, **named}, labels, at)
        try:
            outputs = self._outputs(model, batch, device, at)
        except NoStates as error:
            if self.say is None:
                raise
            self.say(f"{error}; the run is recorded without hidden states")
            self.position = None
            self.states.clear()
            outputs = self._outputs(model, batch, device, at)
        self.logits.append(_rows(outputs, labels, at))
        if at is not None:
            self.sentences.append(at.sum(1).cpu())
        if labels is not None and not self._unlabelled:
            try:
                self.labels.append(checked(labels, self.logits[-1].shape[1], self.kind))
            except UserError as error:
                if self.say is None:
                    raise
                self.say(f"{error}; the run is recorded without labels")
                self._unlabelled = True
                self.labels.clear()
        self.choice |= "input_ids" in named and named["input_ids"].ndim == 3

    def _outputs(self, model: nn.Module, batch: Any, device: torch.device, at: Tensor | None) -> Any:
        positional, named, _ = split(batch)
        arguments = [value.to(device) for value in positional]
        moved = {name: value.to(device) for name, value in named.items()}
        if self.position is None:
            return model(*arguments, **moved)
        try:
            outputs = model(*arguments, **moved, output_hidden_states=True)
        except TypeError as error:
            if "output_hidden_states" not in str(error):
                raise
            raise NoStates(
                f"{type(model).__name__} does not accept output_hidden_states, as models of transformers do: use "
                "position=None"
            ) from error
        self.states.append(_states(outputs, moved.get("attention_mask"), self.position, at))
        return outputs

    def restless(self, model: nn.Module, batch: Any, device: torch.device) -> str:
        """Return a sentence if the model gives different outputs for the first batch when called again, or ""."""
        self.position, position = None, self.position
        labels = labels_in(batch)
        at = _rows_in(self.kind, labels)
        first, again = self.logits[0], _rows(self._outputs(model, batch, device, at), labels, at)
        self.position = position
        return unlike(first, again)


@contextmanager
def _padding_checked(model: nn.Module) -> Iterator[Callable[[Any], str]]:
    """Observe the last layer's input, and yield what says that a decoder reads it at a padding token, or ""."""
    entered: list[Tensor] = []
    try:
        handle = find_head(model)[2].register_forward_pre_hook(lambda _, inputs: entered.extend(inputs[:1]))
    except UserError:
        handle = None

    def fault(batch: Any) -> str:
        seen, named = entered[-1:], split(batch)[1]
        entered.clear()
        if seen and seen[0].dim() == 3:
            tokens = {name: named[name].to(seen[0].device) for name in ("input_ids", "attention_mask") if name in named}
            try:
                read_token(model, seen[0], tokens.get("input_ids"), tokens.get("attention_mask"))
            except UserError as error:
                return str(error)
        return ""

    try:
        yield fault
    finally:
        if handle is not None:
            handle.remove()


def _is_of_texts(model: nn.Module, kind: str | None) -> bool:
    """Return whether texts are recorded.

    Raises:
        UserError: The kind is that of language models and the model is none, or the other way round.
    """
    language = writes(plain_model(model))
    if kind is None or (language and KINDS[kind].has_texts):
        return language
    if KINDS[kind].has_texts:
        raise UserError(
            f"kind='{kind}' is for language models of transformers: pass the texts of any other to "
            "steadytune.record_run(generations=...)"
        )
    if language and not KINDS[kind].pooled:
        raise UserError(f"the model is a language model, whose labels are the next tokens: kind='{kind}' is not for it")
    return False


def _shown_kind(model: nn.Module, labels: Tensor | None) -> str | None:
    """Return the kind of task if the model or the labels of a batch show it; None if all outputs together do.

    Raises:
        UserError: There are several labels per example, and nothing says what they are.
    """
    try:
        found = kind_of(model)
    except UserError:  # a regression of several numbers, whose labels are refused below
        found = ""
    if found in ("tokens", "multilabel"):
        return found
    if labels is None or labels.numel() == len(labels):
        return None
    # Then transformers' classifiers train on sets as well, and write it into their configuration at the first step.
    config: Any = getattr(model, "config", None)
    if (
        found == "classification"
        and labels.is_floating_point()
        and labels.dim() == 2
        and labels.shape[1] == getattr(config, "num_labels", None)
        and getattr(config, "problem_type", "") is None
    ):
        return "multilabel"
    raise UserError(
        f"labels of shape {tuple(labels.shape)}: it is not known what several per example are; say kind='tokens' for "
        "tags of tokens, kind='multilabel' for sets of labels, or pass generated texts to "
        "steadytune.record_run(generations=...)"
    )


def _rows_in(kind: str | None, labels: Tensor | None) -> Tensor | None:
    """Return which tokens (b, T) of a batch are rows of outputs; None if each example is one.

    Raises:
        UserError: Labels do not fit the kind.
    """
    if kind is not None and not KINDS[kind].pooled:
        if labels is None or labels.dim() != 2:
            shape = "the batches have none" if labels is None else f"these have shape {tuple(labels.shape)}"
            raise UserError(f"for {kind} labels (examples, tokens) say which tokens count, but {shape}")
        return KINDS[kind].counted(labels)
    several = labels is not None and labels.numel() != len(labels)
    if labels is not None and several and (kind is None or not KINDS[kind].has_sets):
        raise UserError(
            f"labels of shape {tuple(labels.shape)}: kind='{kind or 'classification'}' has one for each example"
        )
    return None


def _rows(outputs: Any, labels: Tensor | None, at: Tensor | None) -> Tensor:
    """Return the logits of a batch, (rows, C)."""
    found = logits_in(outputs).float().cpu()
    if at is not None:
        if found.ndim != 3 or found.shape[:2] != at.shape:
            raise UserError(
                f"the model returns logits of shape {tuple(found.shape)} for labels of shape {tuple(at.shape)}: there "
                "must be one row for each token"
            )
        return found[at.cpu()]
    if found.ndim not in (1, 2):
        raise UserError(
            f"the model returns logits of shape {tuple(found.shape)}: there must be one row per example, or say "
            "kind='tokens' for tags of tokens. For text, pass the generated texts to "
            "steadytune.record_run(generations=...)"
        )
    if labels is not None and len(labels) != len(found):
        raise UserError(f"labels of shape {tuple(labels.shape)} for {len(found)} examples: there must be one for each")
    return found[:, None] if found.ndim == 1 else found


def checked(labels: Tensor, outputs: int, kind: str | None = None) -> Tensor:
    """Return the labels of the rows of a batch, classes as integers.

    Args:
        labels: The labels of the batch: one per example, of tokens (b, T), of sets (b, L).
        outputs: Number of model outputs per row; by default one is a number, more are classes or choices.
        kind: Kind of the task, if it is not one of these.

    Raises:
        UserError: A class has no output in the model, a target is not finite, or labels do not fit the kind.
    """
    of = KINDS[kind or ("regression" if outputs == 1 else "classification")]
    held = labels.cpu()
    if of.has_sets:
        of.check_batch_labels(held, "evaluation set")
        if held.shape[1] != outputs:
            raise UserError(f"there are {held.shape[1]} labels per example, but the model has {outputs} outputs")
        return held.long()
    if of.pooled:
        held = held.flatten()
        if outputs > 1 and bool((held == held.long()).all()):
            held = held.long()
    check_highest(of.check_batch_labels(held, "evaluation set"), outputs, of.too_few_outputs)
    if (at := of.counted(held)) is not None:
        held = held[at]
    return held.float() if held.is_floating_point() else held.long()


def _states(outputs: Any, mask: Tensor | None, position: Position, at: Tensor | None) -> Tensor:
    try:
        layers = hidden_states(outputs)[1:]
    except UserError as error:
        raise NoStates(str(error)) from error
    shapes = {tuple(layer.shape) for layer in layers}
    if len(shapes) != 1 or layers[0].ndim != 3:
        raise NoStates(
            f"hidden states must be (examples, tokens, width) in every layer, not {sorted(shapes)}: use position=None"
        )
    if at is not None:
        if layers[0].shape[:2] != at.shape:
            raise NoStates(
                f"hidden states of shape {tuple(layers[0].shape)} do not fit labels of shape {tuple(at.shape)}: use "
                "position=None"
            )
        return torch.stack([layer[at.to(layer.device)].float().cpu() for layer in layers])
    mask = layers[0].new_ones(layers[0].shape[:2]) if mask is None else mask.flatten(0, -2)
    if mask.shape != layers[0].shape[:2]:
        raise NoStates(
            f"hidden states of {layers[0].shape[1]} tokens do not fit an attention_mask of {mask.shape[-1]}: use "
            "position=None"
        )
    return torch.stack([pool(layer, mask, position).float().cpu() for layer in layers])


def _kind(logits: NDArray[Any], labels: NDArray[Any] | None) -> str:
    if logits.shape[1] > 1:
        return "classification"
    # One output may be a target, or the logit of class 1: num_labels=1 does not decide.
    if labels is None or not np.isin(labels, (0, 1)).all():
        return "regression"
    raise UserError(
        "the model returns one number per example and all labels are 0 or 1: for two classes return the two logits 0 "
        "and that number; for a regression use kind='regression'"
    )
