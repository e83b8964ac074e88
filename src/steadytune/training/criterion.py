"""The task loss, and the kind of task that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.training.models import plain_model
from steadytune.training.seeds import preserved_random_state

Criterion = Callable[[Tensor, Tensor], Tensor]
KINDS = ("classification", "regression", "choice")


def task_criterion(kind: str, label_smoothing: float = 0.0) -> Criterion:
    """Return (logits (rows, outputs), labels (b,)) -> mean cross-entropy over classes or choices, or squared error.

    Raises:
        UserError: Label smoothing is asked for where labels are no classes.
    """
    if label_smoothing and kind == "regression":
        raise UserError("label smoothing needs classes, and this task is a regression")

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if logits.element_size() < 4:
            logits = logits.float()
        if kind == "regression":
            return nn.functional.mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))
        if kind == "choice":
            logits = logits.view(len(labels), -1)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


def kind_of(model: nn.Module) -> str:
    """Return the kind of task that a transformers model's configuration is made for.

    Raises:
        UserError: It is made for several labels per example.
    """
    config: Any = getattr(model, "config", None)
    problem, outputs = getattr(config, "problem_type", None), getattr(config, "num_labels", 2)
    if problem == "multi_label_classification" or (problem == "regression" and outputs > 1):
        raise UserError("stabilizers speak of one class or one number per example: this model is made for many labels")
    if type(plain_model(model)).__name__.endswith("ForMultipleChoice"):
        return "choice"
    return "regression" if outputs == 1 else "classification"


def check_labels(kind: str, logits: Tensor, labels: Tensor) -> None:
    """Check that a batch has one class, choice or number per example.

    Args:
        kind: One of `KINDS`.
        logits: As the model gives them.
        labels: As the batch holds them.

    Raises:
        UserError: It has something else.
    """
    outputs = {
        "classification": logits.dim() == 2,
        "choice": logits.dim() <= 2 and logits.numel() % len(labels) == 0,
        "regression": logits.numel() == labels.numel(),
    }
    if (labels.dim() != 1 and kind != "regression") or not outputs[kind]:
        raise UserError(
            f"stabilizers speak of one label per example: for a {kind} the labels are {tuple(labels.shape)} "
            f"and the model's output is {tuple(logits.shape)}"
        )
    if kind != "regression" and labels.is_floating_point():
        raise UserError(f"the labels of a {kind} are integers, and these are {labels.dtype}: several per example?")
    if kind != "regression" and bool((labels < 0).any()):
        raise UserError(f"a label is {int(labels.min())}: take examples without a class out of the training set")


def check_own_loss(model: nn.Module, inputs: Mapping[str, Any], kind: str) -> None:
    """Check that a transformers model which computes a loss computes the one that is used in its place.

    It is asked in evaluation mode, for one batch. Half precision may round by a hundredth, and may hide as much.

    Raises:
        UserError: It computes another, such as one with class weights.
    """
    if "labels" not in signature(plain_model(model).forward).parameters:
        return
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), preserved_random_state():
            outputs = model(**inputs)
    finally:
        model.train(training)
    own, logits = (outputs.get("loss"), outputs["logits"]) if isinstance(outputs, dict) else outputs[:2]
    check_labels(kind, logits, inputs["labels"])
    ours = float(task_criterion(kind)(logits, inputs["labels"]))
    rounding = 0.02 if logits.element_size() < 4 else 1e-4
    if own is not None and abs(float(own) - ours) > rounding * (abs(ours) + 0.1):
        raise UserError(
            f"the model's own loss of a batch is {float(own):.4g}, and that of a {kind} is {ours:.4g}: give the loss "
            "that you mean, to StableTrainer as compute_loss_func, to Stabilization as criterion"
        )
