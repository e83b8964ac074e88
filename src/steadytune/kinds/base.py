"""Base class of kinds of task: facts, and how a kind handles batches, losses, outputs and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steadytune.kinds.encoding import Encoding, Row

Criterion = Callable[["Tensor", "Tensor"], "Tensor"]


class Kind:
    """One kind of task. A subclass sets `name` and the facts that differ, and overrides methods as needed.

    To measure runs, the facts and the array methods are enough. A kind that can be trained (`trained`) has the
    tensor methods as well. It has no state: a single instance is shared.

    Attributes:
        name: Name in data, studies and files.
        answers: What an answer is, which decides how two answers are compared: classes agree or not, numbers lie
            apart, texts are compared as texts, sets of labels as wholes and by label. "" if that is unknown.
        answer: What one answer is called, with its number: "class 3".
        item: What is answered once, and is a row of outputs.
        long_inputs: What happens to inputs of more tokens than the limit.
        shared_classes: A class means the same in every example, so it can be rare, or be renumbered.
        in_sentences: Rows are parts of sentences, which a cohort's `questions` number.
        several: An example of a task has several labels, so that a few examples may lack some of them.
        candidates: An example consists of several inputs, each with one score, and one of them is chosen.
        trained: Whether runs of this kind can be trained here.
        labelled: What has one label each: an example, or a token.
        too_few_outputs: What to do if a label has no output.
        full_batch: Whether linear heads can be trained on it by full-batch gradient descent.
        pooled: A model gives one row of outputs for each of its inputs, from one feature. False if it answers at
            several tokens of an input: pooling, and linear heads on frozen features, then mean nothing.
        new_head: The model's last layer is new and drawn by a seed. False if it is pre-trained.
        metrics: Default metrics of runs, in order of preference. They support the kind, whatever
            kinds they name themselves.
        task_metrics: Default metrics of a user's own task, the main one first.
        pair_measures: Names of the only prediction measures that make sense; None for all whose arrays the runs have.
    """

    name: ClassVar[str] = ""
    answers: ClassVar[Literal["classes", "numbers", "texts", "sets", ""]] = ""
    answer: ClassVar[str] = "class"
    item: ClassVar[str] = "example"
    long_inputs: ClassVar[str] = "truncated"
    shared_classes: ClassVar[bool] = False
    in_sentences: ClassVar[bool] = False
    several: ClassVar[bool] = False
    candidates: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    labelled: ClassVar[str] = "example"
    too_few_outputs: ClassVar[str] = "set num_labels, or number the classes from 0"
    full_batch: ClassVar[bool] = False
    pooled: ClassVar[bool] = True
    new_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ()
    task_metrics: ClassVar[tuple[str, ...]] = ()
    pair_measures: ClassVar[tuple[str, ...] | None] = None

    def __repr__(self) -> str:
        return f"<kind '{self.name}'>"

    @property
    def noun(self) -> str:
        """What a task of this kind is, in a sentence: "a regression"."""
        return f"a {self.name}"

    @property
    def has_classes(self) -> bool:
        """Whether answers are classes."""
        return self.answers == "classes"

    @property
    def has_numbers(self) -> bool:
        """Whether answers are numbers."""
        return self.answers == "numbers"

    @property
    def has_texts(self) -> bool:
        """Whether answers are texts."""
        return self.answers == "texts"

    @property
    def has_sets(self) -> bool:
        """Whether answers are sets of labels."""
        return self.answers == "sets"

    @property
    def one_class(self) -> bool:
        """Whether each example has one class, which means the same in every example."""
        return self.shared_classes and not self.several

    @property
    def gives(self) -> tuple[str, ...]:
        """Return the names of the arrays that its runs can have (fields of `measures.Outputs`)."""
        arrays = {
            "classes": ("predictions", "probabilities"),
            "numbers": ("numbers",),
            "texts": ("generations", "tokens", "choices"),
            "sets": ("sets", "label_probabilities"),
        }
        return arrays.get(self.answers, ())

    # Arrays: which outputs are valid, and what they predict.

    def check_outputs(self, name: str, outputs: NDArray[Any]) -> None:
        """Reject outputs of one run that do not have shape (examples, outputs).

        Args:
            name: "logits" or "probabilities", as an error names them.
            outputs: What the run said.

        Raises:
            ValueError: The shape is wrong; names the right one.
        """
        if outputs.ndim != 2 or not len(outputs) or outputs.shape[1] < 2:
            raise ValueError(
                f"{name} must have shape (examples, classes) with two or more classes, not {outputs.shape}"
            )

    def check_labels(
        self, labels: NDArray[Any] | None, names: Sequence[str] | None, name: str, outputs: NDArray[Any]
    ) -> None:
        """Reject labels (N,), or class names, that do not match outputs (N, C).

        Args:
            labels: Finite numbers, or None.
            names: Names of the classes, or None.
            name: "logits" or "probabilities", as an error names the outputs.
            outputs: What a run said.

        Raises:
            ValueError: They do not match; names the first row.
        """
        classes = outputs.shape[1]
        if labels is not None:
            wrong = np.flatnonzero((labels != np.floor(labels)) | (labels < 0) | (labels >= classes))
            if len(wrong):
                raise ValueError(
                    f"labels must be 0 to {classes - 1}, one for each column of {name}, "
                    f"but row {wrong[0]} has {labels[wrong[0]]:g}"
                )
        if names is not None and len(names) != classes:
            raise ValueError(f"{len(names)} label_names for {classes} columns of {name}: give one per class")

    def kept_labels(self, labels: Any) -> Any:
        """Return labels, an array or a tensor, in the type used for comparison: integers."""
        return labels.astype(np.int64) if isinstance(labels, np.ndarray) else labels.long()

    def predictions(self, outputs: NDArray[Any]) -> NDArray[np.int64] | None:
        """Return the classes (..., N) predicted by outputs (..., N, C); None for a kind without classes."""
        return np.asarray(outputs.argmax(axis=-1), dtype=np.int64) if self.has_classes else None

    def sets(self, outputs: NDArray[Any], likely: bool = False) -> NDArray[np.bool_] | None:
        """Return which labels are in the answers; None for a kind without sets.

        Args:
            outputs: (..., N, L).
            likely: Whether they are probabilities, not logits.
        """
        return None

    def coded(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return labels of N examples as one number (N,) each, as `predictions` has the answers."""
        return np.asarray(labels, dtype=np.int64)

    def shares(self, outputs: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which rows of outputs (N, C) can be probabilities; None if that is decided by their sum."""
        return None

    def probabilities(self, logits: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return the class probabilities (..., N, C); None for a kind without classes."""
        if not self.has_classes:
            return None
        from scipy.special import softmax

        return np.asarray(softmax(logits.astype(np.float64), axis=-1))

    def numbers(self, logits: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return the numbers (..., N) predicted by logits (..., N, 1); None for a kind without numbers."""
        return np.asarray(logits, dtype=np.float64)[..., 0] if self.has_numbers else None

    def classes_in(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return every class that occurs in the labels of a task's examples, as often as it does, in one dimension."""
        return np.asarray(labels, dtype=np.int64)

    def measured(self, examples: Any) -> dict[str, NDArray[Any]]:
        """Return what a run stores of a task's measured examples, besides what a model says about them.

        Args:
            examples: The examples, a `tasks.Examples`.

        Returns:
            "labels", and of "groups", "questions" and "credit" those that are known, one for each row of outputs.
        """
        held = {"groups": examples.groups, "questions": examples.questions, "credit": examples.credit}
        return {"labels": examples.labels, **{name: array for name, array in held.items() if array is not None}}

    def texts(self, examples: Any) -> list[str]:
        """Return a text for each row of outputs of a task's examples, by which a reader recognises it."""
        return [" | ".join(text for segment in one for text in segment if text) for one in examples.candidates]

    # Tensors: rows, batches, the model, the loss. These are used in training.

    def auto_model(self, seq2seq: bool) -> str:
        """Return the name of the transformers class whose last layer fits; an encoder-decoder may need another."""
        return "AutoModelForSequenceClassification"

    def encode(self, examples: Any, tokenizer: Any, max_length: int, seq2seq: bool) -> Encoding:
        """Tokenize a task's examples.

        Args:
            examples: The examples, a `tasks.Examples`.
            tokenizer: Of the model.
            max_length: Most tokens per input.
            seq2seq: Whether the model is an encoder-decoder.

        Raises:
            UserError: A text cannot be tokenized.
        """
        from steadytune.kinds.encoding import encode_texts

        return encode_texts(examples, tokenizer, max_length)

    def collate(self, rows: Sequence[Row], tokenizer: Any) -> dict[str, Tensor]:
        """Return the batch of some rows of `encode`: padded inputs, and "labels"."""
        from steadytune.kinds.encoding import padded

        return self.batch(padded(rows, tokenizer), [row["labels"] for row in rows])

    def outputs(self, classes: int) -> int:
        """Return the width of a model's last layer for a task with this many classes."""
        return classes

    def batch(self, inputs: dict[str, Tensor], labels: Sequence[Any]) -> dict[str, Tensor]:
        """Return the batch of some examples.

        Args:
            inputs: Padded rows (rows, T) by name, one for each input of each example.
            labels: One for each of b examples.

        Returns:
            Inputs by name, and "labels" (b,).
        """
        import torch

        return {**inputs, "labels": torch.tensor(labels, dtype=torch.int64)}

    def model(self, scorer: nn.Module) -> nn.Module:
        """Return the task's model, built from one that scores a single input."""
        return scorer

    def criterion(self, label_smoothing: float = 0.0) -> Criterion:
        """Return (logits (rows, outputs), labels (b,)) -> the mean loss of a batch.

        Raises:
            UserError: The kind cannot be trained, or does not support label smoothing.
        """
        raise UserError(f"a {self.name} task can be measured but not trained here")

    def check_batch_labels(self, labels: Tensor, examples: str = "training set") -> int | None:
        """Check that a batch has one label per example, before a model or a loss sees them.

        Args:
            labels: The labels of the batch.
            examples: Where they come from, for error messages.

        Returns:
            The largest class; None if labels are not classes, or there are none.

        Raises:
            UserError: It does not.
        """
        return None

    def counted(self, labels: Tensor) -> Tensor | None:
        """Return which labels (b, T) of tokens count, True or False; None if each example has one, which counts."""
        return None

    def fits_labels(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether the shape of a model's outputs fits the labels of a batch."""
        return True

    def row_classes(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """Return the class of each input row of the last layer, see `Step.classes`; None without classes."""
        return None

    def count_row_classes(self, logits: Tensor) -> int:
        """Return the number of classes that `row_classes` distinguishes."""
        return int(logits.shape[-1])

    # Linear heads on the same features.

    def head_outputs(self, labels: Tensor, features: Tensor, loss: str, asked: int | None) -> int:
        """Return the number of outputs of a linear head.

        Args:
            labels: (n,).
            features: (n, d), or (n, c, d) for candidates.
            loss: "softmax" or "logistic".
            asked: What the user said, or None.

        Raises:
            UserError: The labels do not belong to this kind.
        """
        raise UserError(f"a {self.name} task can be measured but not trained here")

    def head_losses(self, logits: Tensor, targets: Tensor, loss: str) -> Tensor:
        """Return the loss of each example and head, (B, b, H).

        Args:
            logits: (B, rows, H, outputs); rows are candidates if examples have any.
            targets: (B, b).
            loss: "softmax" or "logistic".
        """
        raise NotImplementedError
