"""The loss of a batch: the task loss as changed by stabilizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds.base import Criterion
from steadytune.models.criterion import check_outputs, check_own_loss, explain_labels, logits_in
from steadytune.models.language import criterion_of, inputs_of, targets_of
from steadytune.models.random_state import RandomState
from steadytune.stabilizers import Changes, Forward, Stabilizer, Step
from steadytune.stabilizers.surgery import changed_outputs
from steadytune.training.stabilization.equipped import Equipped


class Losses(Equipped):
    """Computation of losses with stabilizers. The second layer of `Stabilization`."""

    def __init__(
        self,
        model: nn.Module,
        stabilizers: Sequence[Stabilizer],
        *,
        criterion: Criterion | None = None,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(model, stabilizers, **options)
        self.criterion = criterion or criterion_of(model, self.kind, label_smoothing)
        self._unchecked, self._own_criterion = True, criterion is not None
        self._seen: tuple[Tensor | None, Tensor | None] | None = None
        self.task_loss: Tensor | None = None
        # State that `Passes` changes for an extra pass.
        self._changes: Changes | None = None
        self._share = 1.0

    def _plain_loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        highest = self._check(inputs, "training set")
        return self._task_loss(logits_in(self.model(**inputs_of(self.model, inputs))), inputs["labels"], highest)

    def _task_loss(self, logits: Tensor, labels: Tensor, highest: int | None) -> Tensor:
        if not self._own_criterion:
            check_outputs(self.kind, logits, labels, highest)
        try:
            return self.criterion(logits, labels)
        except Exception:
            explain_labels(self.kind, logits, labels)
            raise

    def loss(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return a batch's loss and the model's outputs: the task loss, changed by the stabilizers in training.

        Args:
            model: This model, or its wrapper by a Trainer or Accelerate.
            inputs: The batch, with labels.
        """
        highest = self._check(inputs, "training set" if model.training else "evaluation set")
        labels, rest = inputs["labels"], inputs_of(self.model, inputs)
        if not (model.training and self.equipped):
            outputs = model(**rest)
            return self._task_loss(logits_in(outputs), labels, highest), outputs
        state = RandomState.now(labels.device)
        with changed_outputs(self._changes):
            with self._main_pass():
                outputs = model(**rest)
            logits = logits_in(outputs)
            plain = self._task_loss(logits, labels, highest)
            counted = self._of.counted(targets_of(self.model, labels))
            self._seen = _only(counted, self._last.take(rest, logits)), self._of.row_classes(logits, labels)
            if self._last.why and (owner := self._owner("wrap_head")):
                raise UserError(f"{owner[0].name} acts on the last layer: {self._last.why}")
            loss = self._stabilized(plain, labels, counted, rest, logits, partial(self._again, model, rest, state))
        return loss if self._share == 1 else loss * self._share, outputs

    def _check(self, inputs: Mapping[str, Any], examples: str) -> int | None:
        """Check the labels of a batch, and for the first one the model's own loss; return the largest class."""
        if "labels" not in inputs:
            raise UserError("a batch has no 'labels': stabilizers need the labels that the model is trained on")
        if self._own_criterion:
            return None
        highest = self._of.check_batch_labels(inputs["labels"], examples)
        if self._unchecked:
            self._unchecked = False
            check_own_loss(self.model, inputs, self.kind)
        return highest

    @contextmanager
    def _main_pass(self) -> Iterator[None]:
        for run in self.runs.values():
            run.main_pass = True
        try:
            yield
        finally:
            for run in self.runs.values():
                run.main_pass = False

    def _stabilized(
        self,
        plain: Tensor,
        labels: Tensor,
        counted: Tensor | None,
        inputs: Mapping[str, Any],
        logits: Tensor,
        forward: Forward,
    ) -> Tensor:
        (features, classes), last = self.encoded_batch(), self._last
        self.task_loss, loss = plain.detach(), plain
        seen = (features, labels, classes, last.module, self.criterion, logits, forward, inputs)
        steps = {name: Step(*seen, run, last.why, counted) for name, run in self.runs.items()}
        if owner := self._owner("task_loss"):
            replaced = owner[0].task_loss(steps[owner[0].name])
            loss = plain if replaced is None else replaced
        for method, _ in self._with("penalty"):
            if (penalty := method.penalty(steps[method.name])) is not None:
                loss = loss + penalty
        return loss

    def _again(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        state: RandomState,
        changes: Changes | None = None,
        same_dropout: bool = False,
    ) -> Tensor:
        here = RandomState.now(state.device)
        if same_dropout:
            state.restore()
        with changed_outputs(changes):
            logits = logits_in(model(**inputs))
        if same_dropout:
            here.restore()
        return logits

    def encoded_batch(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the last layer's input (rows, d) for the last training batch, and each row's class.

        The former is None for a model whose last layer is unknown or, in a language model, pre-trained. Classes are
        None for a regression and for tokens; for a choice task they say whether the row is the right choice.
        """
        assert self._seen is not None
        return self._seen

    def terms(self, labels: Tensor) -> int:
        """Return the number of terms of a batch's mean loss: of its examples, or of its tokens that count."""
        counted = self._of.counted(targets_of(self.model, labels))
        return len(labels) if counted is None else int(counted.sum())

    def unequip(self) -> None:
        """Restore the plain model, and release the last batch."""
        super().unequip()
        self._seen = None


def _only(counted: Tensor | None, features: Tensor | None) -> Tensor | None:
    if counted is None or features is None:
        return features
    return features[counted] if features.shape[:-1] == counted.shape else None
