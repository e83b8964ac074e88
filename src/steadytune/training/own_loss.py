"""The loss of a subclass that overrides `compute_loss`, as a criterion for stabilizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from steadytune.errors import UserError
from steadytune.models.criterion import explain_labels, logits_in
from steadytune.models.language import inputs_of
from steadytune.models.modules import evaluating
from steadytune.models.random_state import preserved_random_state

_WAY_OUT = (
    "pass the loss as compute_loss_func, (outputs, labels, num_items_in_batch) -> mean, or use only stabilizers that "
    "need no logits, such as l2_sp, mixout or ema"
)


def overriding(trainer: object, base: type) -> Callable[..., Any] | None:
    """Return the `compute_loss` of a trainer's class if it replaces `base`'s; None if it calls that."""
    function: Any = getattr(type(trainer), "compute_loss", None)
    if function is base.__dict__["compute_loss"] or not isinstance(function, FunctionType):
        return None
    if _calls_on(function, type(trainer), base):
        return None
    bound: Callable[..., Any] = function.__get__(trainer)
    return bound


def _calls_on(function: FunctionType, cls: type, base: type) -> bool:
    """Return whether a method refers to `compute_loss`: itself, in what it wraps, or in a method that it calls."""
    seen: set[CodeType] = set()
    ahead: list[Any] = [function]
    while ahead:
        one = ahead.pop()
        if isinstance(one, FunctionType):
            ahead += [cell.cell_contents for cell in one.__closure__ or () if cell != CellType()]
            one = one.__code__
        if not isinstance(one, CodeType) or one in seen:
            continue
        if "compute_loss" in one.co_names:
            return True
        seen.add(one)
        ahead += [*one.co_consts, *(getattr(cls, name) for name in one.co_names if _is_own(name, cls, base))]
    return False


def _is_own(name: str, cls: type, base: type) -> bool:
    above = cls.__mro__[: cls.__mro__.index(base)]
    return any(callable(vars(one).get(name)) for one in above)


class OwnLoss:
    """The loss of an override for given logits: it is called with a stand-in model that returns these logits.

    Args:
        compute_loss: (model, inputs) -> loss; calls the model once and uses only its logits.
        task_loss: Loss of logits and labels, for an override that asks the model for its own loss.
        kind: Returns the kind of task.

    Attributes:
        batch: The inputs of the current batch, with labels and whatever else the override reads.
    """

    def __init__(
        self,
        compute_loss: Callable[..., Any],
        task_loss: Callable[[Tensor, Tensor], Tensor],
        kind: Callable[[], str],
    ) -> None:
        self.compute_loss, self.task_loss, self.kind = compute_loss, task_loss, kind
        self.batch: Mapping[str, Any] = {}
        self._model: nn.Module | None = None
        self._checked = False

    def inputs(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the override passes to the model, with the labels of the batch, which becomes the current one.

        Raises:
            UserError: It does not call the model, or its loss depends on more than the logits.
        """
        self.batch, self._model = batch, model
        asked: dict[str, Any] = {}

        def capture(*args: Any, **named: Any) -> Any:
            if args:
                raise UserError(
                    f"compute_loss calls the model with positional arguments: use keyword arguments, or {_WAY_OUT}"
                )
            asked.update(named)
            raise _Captured

        try:
            self.compute_loss(_StandIn(model, capture), dict(batch))
        except _Captured:
            pass
        else:
            raise UserError(f"compute_loss does not call the model passed to it: {_WAY_OUT}")
        inputs = {**asked, "labels": batch["labels"]} if "labels" in batch else asked
        if not self._checked and "labels" in batch:
            self._checked = True
            self._check(model, inputs)
        return inputs

    def _check(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        rest = inputs_of(model, inputs)
        with torch.no_grad(), preserved_random_state(), evaluating(model):
            # The logits first: with labels that do not fit, an override's own error says little.
            try:
                logits = logits_in(model(**rest))
            except UserError:
                raise
            except Exception as error:
                raise UserError(
                    f"compute_loss needs more than logits: without labels the model raises {type(error).__name__}: "
                    f"{_WAY_OUT}"
                ) from error
            ours = float(self(logits, inputs["labels"]))
            real = _scalar(self.compute_loss(model, dict(self.batch)))
        if abs(real - ours) > 0.02 * (abs(real) + 0.1):
            raise UserError(
                f"compute_loss is {real:.4g} for a batch but {ours:.4g} for the batch's logits alone, so "
                f"it needs more than logits: {_WAY_OUT}"
            )

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the override's loss for these logits."""
        calls = 0

        def answer(*args: Any, **named: Any) -> SequenceClassifierOutput:
            nonlocal calls
            calls += 1
            loss = self.task_loss(logits, labels) if named.get("labels") is not None else None
            return SequenceClassifierOutput(loss=loss, logits=logits)

        try:
            loss = self.compute_loss(_StandIn(self._model, answer), {**self.batch, "labels": labels})
        except UserError:
            raise
        except Exception as error:
            explain_labels(self.kind(), logits, labels)
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"compute_loss cannot be computed from logits and labels alone ({type(error).__name__}: {reason}): "
                f"{_WAY_OUT}"
            ) from error
        if calls != 1 or not isinstance(loss, Tensor) or loss.dim():
            raise UserError(f"compute_loss must call the model once and return one loss: {_WAY_OUT}")
        return loss


class _Captured(BaseException):
    """Raised when the model is called, with its inputs."""


class _StandIn:
    """Callable like a model, with its attributes."""

    def __init__(self, model: nn.Module | None, answer: Callable[..., Any]) -> None:
        self.__dict__["_model"], self.__dict__["_answer"] = model, answer

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._answer(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _scalar(loss: Any) -> float:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise UserError(f"compute_loss must return one loss, not {type(loss).__name__}: {_WAY_OUT}")
    return float(loss.detach())
