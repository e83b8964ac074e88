"""What the theory takes, checked once, in one place: features and labels, as arrays or tensors, and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.study import RunSpec


def labelled_features(features: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Return features (n, d) float64 and labels (n,) int64, on the device that the features lie on.

    Args:
        features: (n, d) numbers, an array or a tensor.
        labels: (n,) classes 0, 1, ...

    Raises:
        UserError: The shapes do not fit, a feature is NaN or infinite, a label is no class, there are fewer than three
            examples, or all are of one class.
    """
    try:
        inputs = torch.as_tensor(features).detach().to(torch.float64)
        raw = torch.as_tensor(labels).detach()
    except (TypeError, ValueError, RuntimeError):
        raise UserError("features and labels must be numbers, as many in every row") from None
    if inputs.dim() != 2 or raw.shape != inputs.shape[:1]:
        raise UserError(
            f"features must have the shape (n, d) and labels (n,), not {tuple(inputs.shape)} and {tuple(raw.shape)}"
        )
    if len(inputs) < 3:
        raise UserError(
            f"at least 3 examples are needed, not {len(inputs)}: with fewer, leaving one out is meaningless"
        )
    if not bool(inputs.isfinite().all()):
        row = int((~inputs.isfinite()).any(1).nonzero()[0])
        raise UserError(f"features must be finite: example {row} holds NaN or an infinite number")
    targets = raw.to(inputs.device, torch.int64)
    if not bool((targets == raw.to(inputs.device)).all()) or int(targets.min()) < 0:
        raise UserError("labels must be classes 0, 1, ...: non-negative integers")
    if len(targets.unique()) < 2:
        raise UserError(f"all {len(targets)} examples are of class {int(targets[0])}: at least two classes are needed")
    return inputs, targets


def chosen_examples(examples: Sequence[int] | NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Return the indices (m,) of the examples to leave out, one by one: all n unless given.

    Raises:
        UserError: There are none, one stands twice, or one is no index.
    """
    if examples is None:
        return np.arange(n)
    chosen = np.asarray(examples)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
        raise UserError("examples must be a list of indices, at least one")
    wrong = chosen[(chosen < 0) | (chosen >= n)]
    if len(wrong) or len(np.unique(chosen)) < len(chosen):
        what = f"{wrong[0]} is none of 0..{n - 1}" if len(wrong) else "one stands twice"
        raise UserError(f"examples must be different indices of the {n} examples: {what}")
    return chosen.astype(np.int64)


def more_features(evaluation: Any, features: Tensor) -> Tensor:
    """Return evaluation features (N, d) in the type and on the device of the training features (n, d).

    Raises:
        UserError: The shape does not fit, or a feature is NaN or infinite.
    """
    measured = torch.as_tensor(evaluation).detach().to(features)
    if measured.dim() != 2 or measured.shape[1] != features.shape[1] or not len(measured):
        raise UserError(f"evaluation must have the shape (N, {features.shape[1]}), not {tuple(measured.shape)}")
    if not bool(measured.isfinite().all()):
        raise UserError("evaluation must be finite: found NaN or infinity")
    return measured


def need_all_weights(spec: RunSpec) -> None:
    """Refuse a run with an adapter: the theory is about a loss of all weights, and how far they move.

    Raises:
        UserError: It has one.
    """
    if spec.training.adapter is not None:
        raise UserError(
            f"recipe '{spec.recipe}' trains an adapter: the theory of full fine-tuning is of all weights; set "
            "training.adapter: null"
        )
