"""The kind of task of a model, and checks that labels, outputs and custom losses fit it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS, Kind
from steadytune.models.language import criterion_of, inputs_of
from steadytune.models.modules import evaluating, plain_model, writes
from steadytune.models.random_state import preserved_random_state


def kind_of(model: nn.Module) -> str:
    """Return the kind of task of a transformers model's configuration.

    Raises:
        UserError: It is for several numbers per example.
    """
    plain = plain_model(model)
    if writes(plain):
        return "generation"
    if any(cls.__name__.endswith("ForTokenClassification") for cls in type(plain).__mro__):
        return "tokens"
    config: Any = getattr(model, "config", None)
    problem, outputs = getattr(config, "problem_type", None), getattr(config, "num_labels", 2)
    if problem == "multi_label_classification":
        return "multilabel"
    if problem == "regression" and outputs > 1:
        raise UserError(
            f"stabilizers need one number per example: this model is configured for a regression of {outputs} numbers"
        )
    if type(plain).__name__.endswith("ForMultipleChoice"):
        return "choice"
    return "regression" if outputs == 1 else "classification"


def check_outputs(kind: str, logits: Tensor, labels: Tensor, highest: int | None) -> None:
    """Check that a model's outputs fit the labels of a batch.

    Args:
        kind: Kind of the task.
        logits: Logits of the model.
        labels: Labels accepted by `Kind.check_batch_labels`.
        highest: Its return value.

    Raises:
        UserError: There are too few outputs, or their shape is wrong.
    """
    if not len(labels):
        return
    if not KINDS[kind].fits_labels(logits, labels):
        raise UserError(
            f"stabilizers need one label per {KINDS[kind].labelled}: for {kind} the labels have shape "
            f"{tuple(labels.shape)} and the model's output {tuple(logits.shape)}"
        )
    outputs = logits.shape[-1] if labels.dim() > 1 else logits.numel() // len(labels)
    check_highest(highest, outputs, KINDS[kind].too_few_outputs)


def check_highest(highest: int | None, outputs: int, way_out: str = Kind.too_few_outputs) -> None:
    """Check that a model has an output for each class, or that each choice is one.

    Raises:
        UserError: It has too few.
    """
    if highest is not None and highest >= outputs:
        raise UserError(
            f"a label is {highest}, but the model has {outputs} outputs, for the labels 0 to {outputs - 1}: {way_out}"
        )


def explain_labels(kind: str, logits: Tensor, labels: Tensor) -> None:
    """Raise a clear error if a custom loss failed because of the classes of a batch.

    This is not checked beforehand: such a loss may give a meaning to class -1, or have one output fewer than classes.

    Raises:
        UserError: As `Kind.check_batch_labels` and `check_outputs`. -100 is what torch ignores.
    """
    if not KINDS[kind].has_classes or labels.dim() != 1 or labels.is_floating_point():
        return
    with suppress(RuntimeError):  # of a device that has failed at the labels, too
        check_outputs(kind, logits, labels, KINDS[kind].check_batch_labels(labels[labels != -100]))


def logits_in(outputs: Any) -> Tensor:
    """Return the logits in a model's output: a tensor, its `logits`, or the first of a tuple.

    In training scripts the loss comes first in a tuple, and is None without labels.

    Raises:
        UserError: There are none.
    """
    found = getattr(outputs, "logits", outputs)
    if isinstance(found, Mapping):
        found = found.get("logits")
    if isinstance(found, (tuple, list)):
        found = next((one for one in found if isinstance(one, Tensor)), None)
    if not isinstance(found, Tensor) or not found.dim():
        raise UserError(f"the model returns {type(outputs).__name__} without logits when called without labels")
    return found


def check_own_loss(model: nn.Module, inputs: Mapping[str, Any], kind: str) -> None:
    """Check that the loss computed by a transformers model equals the one used instead.

    It is called in evaluation mode on one batch. Half precision may round by a hundredth, and hide as much.

    Raises:
        UserError: It computes a different loss, such as one with class weights.
    """
    if "labels" not in signature(plain_model(model).forward).parameters:
        return
    labels = inputs["labels"]
    with torch.no_grad(), preserved_random_state(), evaluating(model):
        # First without labels: with labels that do not fit, a model's own error says little.
        logits = logits_in(model(**inputs_of(model, inputs)))
        check_outputs(kind, logits, labels, KINDS[kind].check_batch_labels(labels))
        outputs = model(**inputs)
    own = outputs.get("loss") if isinstance(outputs, Mapping) else outputs[0] if isinstance(outputs, tuple) else None
    ours = float(criterion_of(model, kind)(logits, labels))
    rounding = 0.02 if logits.element_size() < 4 else 1e-4
    if isinstance(own, Tensor) and own.numel() == 1 and abs(float(own) - ours) > rounding * (abs(ours) + 0.1):
        raise UserError(
            f"the model's own loss of a batch is {float(own):.4g}, but a {kind}'s is {ours:.4g}: pass the loss "
            "you want to StableTrainer as compute_loss_func, or to Stabilization as criterion"
        )
