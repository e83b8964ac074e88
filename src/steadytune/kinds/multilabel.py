"""Multi-label classification: each example has a set of labels, any number of a fixed list."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds.base import Criterion, Kind
from steadytune.kinds.classification import at_least_single

if TYPE_CHECKING:
    from torch import Tensor

_BITS = 62
"""Labels of which a set is a number of its own in int64."""


class Multilabel(Kind):
    """One output per label, its logit, which is in the answer if above 0; binary cross-entropy, averaged over labels.

    Labels are (N, L), 0 or 1. What two runs answer is compared as whole sets, and label by label.
    """

    name: ClassVar[str] = "multilabel"
    answers: ClassVar[Literal["classes", "numbers", "texts", "sets", ""]] = "sets"
    answer: ClassVar[str] = "set"
    several: ClassVar[bool] = True
    trained: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("f1_micro", "f1_macro", "subset_accuracy", "hamming_loss")
    task_metrics: ClassVar[tuple[str, ...]] = ("f1_micro", "f1_macro", "subset_accuracy")

    @property
    def noun(self) -> str:
        """What it is, in a sentence."""
        return "a task of sets of labels"

    def check_labels(
        self, labels: NDArray[Any] | None, names: Sequence[str] | None, name: str, outputs: NDArray[Any]
    ) -> None:
        """Reject labels that are not 0 or 1 (N, L), and other numbers of names than L."""
        if labels is not None:
            if labels.shape != outputs.shape:
                raise ValueError(
                    f"labels of a {self.name} task must have the shape of {name}, {outputs.shape}, not {labels.shape}"
                )
            if len(wrong := np.argwhere((labels != 0) & (labels != 1))):
                row, column = wrong[0]
                raise ValueError(f"labels must be 0 or 1, but row {row}, label {column} has {labels[row, column]:g}")
        if names is not None and len(names) != outputs.shape[1]:
            raise ValueError(f"{len(names)} label_names for {outputs.shape[1]} columns of {name}: give one per label")

    def sets(self, outputs: NDArray[Any], likely: bool = False) -> NDArray[np.bool_]:
        """Return which labels (..., L) are in the answer, by logits or, if `likely`, by probabilities above 1/2."""
        chosen: NDArray[np.bool_] = outputs > (0.5 if likely else 0)
        return chosen

    def coded(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return a number (...) for each set (..., L), the same for equal sets: its bits, or of many labels a hash."""
        bits = np.asarray(labels) != 0
        if bits.shape[-1] <= _BITS:
            numbers: NDArray[np.int64] = bits.astype(np.int64) @ (1 << np.arange(bits.shape[-1], dtype=np.int64))
            return numbers
        packed = np.packbits(bits, axis=-1)
        found, places = np.unique(packed.reshape(-1, packed.shape[-1]), axis=0, return_inverse=True)
        # Positive, like the numbers of classes.
        hashes = [int.from_bytes(hashlib.blake2b(one.tobytes(), digest_size=8).digest(), "big") >> 1 for one in found]
        return np.array(hashes, dtype=np.int64)[places.reshape(-1)].reshape(bits.shape[:-1])

    def predictions(self, outputs: NDArray[Any]) -> NDArray[np.int64]:
        """Return the coded sets (..., N) that logits (..., N, L) answer."""
        return self.coded(self.sets(outputs))

    def probabilities(self, logits: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of each label (..., N, L), which do not sum to 1."""
        from scipy.special import expit

        return np.asarray(expit(logits.astype(np.float64)))

    def shares(self, outputs: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which rows (N,) of outputs (N, L) can be probabilities: those within [0, 1]."""
        return np.asarray(((outputs >= 0) & (outputs <= 1)).all(axis=-1))

    def classes_in(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return every label of every example."""
        return np.nonzero(labels)[1].astype(np.int64)

    def batch(self, inputs: dict[str, Tensor], labels: Sequence[Any]) -> dict[str, Tensor]:
        """Return the inputs and float32 labels (b, L)."""
        import torch

        return {**inputs, "labels": torch.tensor(labels, dtype=torch.float32)}

    def criterion(self, label_smoothing: float = 0.0) -> Criterion:
        """Return the mean binary cross-entropy of all labels of all examples, as transformers has it."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        if label_smoothing:
            raise UserError("label smoothing needs one class per example, and this task has several labels")

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            logits = at_least_single(logits)
            return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))

        return loss

    def check_batch_labels(self, labels: Tensor, examples: str = "training set") -> int | None:
        """Check that labels are 0 or 1 for each example and label: (b, L)."""
        if labels.dim() != 2:
            raise UserError(
                f"the labels of a {self.name} task must be (examples, labels), 0 or 1, not of shape "
                f"{tuple(labels.shape)}"
            )
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise UserError(f"a label in the {examples} is neither 0 nor 1: give 1 to the labels that an example has")
        return None

    def fits_labels(self, logits: Tensor, labels: Tensor) -> bool:
        """Return whether there is an output for each label of each example."""
        return logits.shape == labels.shape


MULTILABEL = Multilabel()
