"""A task as seen by one run: split, tokenized, and padded into batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.kinds.encoding import Row
from steadytune.study import RunSpec, TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.base import Examples, Task
from steadytune.tasks.data_facts import DataFacts, cut_sentence
from steadytune.tasks.splits import Splits, split
from steadytune.training.loading import check_writes, is_encoder_decoder, load_tokenizer


class Encoded(torch.utils.data.Dataset[Row]):
    """Tokenized examples.

    Args:
        examples: The examples.
        kind: Their kind, which tokenizes them.
        tokenizer: Tokenizer of the model.
        max_length: Most tokens per input.
        seq2seq: Whether the model is an encoder-decoder.

    Attributes:
        rows: For each example {"inputs": [{input_ids, ...} per candidate], "labels": label}.
        cut: Share of examples with an input longer than the limit; None if the tokenizer does not report it.
    """

    def __init__(self, examples: Examples, kind: str, tokenizer: Any, max_length: int, seq2seq: bool) -> None:
        self.rows, over = KINDS[kind].encode(examples, tokenizer, max_length, seq2seq)
        self.cut = None if over is None else float(over.mean())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    @property
    def token_ids(self) -> list[list[int]]:
        """Token ids of every candidate of every example."""
        return [inputs["input_ids"] for row in self.rows for inputs in row["inputs"]]

    @cached_property
    def words(self) -> frozenset[int]:
        """Token ids that occur."""
        return frozenset(itertools.chain.from_iterable(self.token_ids))

    @property
    def shortest_first(self) -> NDArray[np.intp]:
        """Indices of the examples sorted by the number of tokens of the longest candidate."""
        return np.argsort([max(len(one["input_ids"]) for one in row["inputs"]) for row in self.rows], kind="stable")


class Collator:
    """Pad rows into tensors (b, T), or (b, c, T) if examples have candidates, and labels.

    Args:
        tokenizer: Tokenizer used for padding.
        kind: Kind of the task, which makes a batch of rows.
    """

    def __init__(self, tokenizer: Any, kind: str) -> None:
        self.tokenizer = tokenizer
        self.kind = kind

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Return the padded inputs and "labels" of some rows."""
        return KINDS[self.kind].collate(rows, self.tokenizer)


def batches(dataset: Encoded, collate: Collator, size: int) -> Iterator[dict[str, Tensor]]:
    """Yield the examples, shortest first to reduce padding, `size` at a time. `in_order` restores the order."""
    order = dataset.shortest_first
    for start in range(0, len(order), size):
        yield collate([dataset.rows[index] for index in order[start : start + size]])


def in_order(results: NDArray[Any], dataset: Encoded) -> NDArray[Any]:
    """Return results (N, ...), which are in the order of `batches`, in the order of the dataset."""
    return results[np.argsort(dataset.shortest_first)]


_LOOKED_AT = 1000
"""Most examples of a split that are tokenized to count how many are truncated."""


def with_cut(facts: DataFacts, splits: Splits, model: str, max_length: int) -> DataFacts:
    """Return facts of a task's data with the share of inputs that a model's tokenizer truncates.

    For a large split the share is estimated from some examples.

    Raises:
        UserError: The model cannot be trained for the task, or a text cannot be tokenized.
    """
    check_writes(model, facts.kind)
    tokenizer, seq2seq = load_tokenizer(model), is_encoder_decoder(model)
    shares = []
    for examples in (splits.train, splits.measure):
        step = max(1, len(examples) // _LOOKED_AT)
        some = examples.select(np.arange(0, len(examples), step))
        shares.append(Encoded(some, facts.kind, tokenizer, max_length, seq2seq).cut)
    return facts.cut(min(max_length, tokenizer.model_max_length), *shares)


@dataclass(frozen=True)
class RunData:
    """Everything shared by a study's runs on one task and training subset."""

    task: Task
    splits: Splits
    tokenizer: Any
    train: Encoded
    select: Encoded | None
    measure: Encoded
    collate: Collator

    def notes(self, max_length: int) -> tuple[str, ...]:
        """Return what a reader of the run should know about its inputs."""
        limit = min(max_length, self.tokenizer.model_max_length)
        sentence = cut_sentence(self.task.kind, limit, self.train.cut, self.measure.cut)
        return (sentence,) if sentence else ()


def run_data(spec: RunSpec) -> RunData:
    """Load, split and tokenize the task of a run; runs that share all of this get the same object."""
    shared = spec.training.model_dump(include={"train_size", "split", "select_checkpoint", "split_seed", "max_length"})
    training = Training.model_validate(shared)
    return _run_data(spec.model, spec.weights, spec.task, spec.data, training, spec.seeds.data)


@lru_cache(maxsize=4)
def _run_data(model: str, weights: str, task_spec: TaskSpec, data: str, training: Training, data_seed: int) -> RunData:
    task = load_task(task_spec)
    if task.fingerprint != data:
        raise UserError(f"the data of task '{task.name}' changed while the study was running: run the command again")
    splits = split(task, training, data_seed)
    check_writes(model, task.kind)
    tokenizer, seq2seq = load_tokenizer(model), is_encoder_decoder(model)

    def encode(examples: Examples) -> Encoded:
        return Encoded(examples, task.kind, tokenizer, training.max_length, seq2seq)

    return RunData(
        task=task,
        splits=splits,
        tokenizer=tokenizer,
        train=encode(splits.train),
        select=encode(splits.select) if splits.select else None,
        measure=encode(splits.measure),
        collate=Collator(tokenizer, task.kind),
    )
