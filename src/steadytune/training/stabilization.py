"""Stabilizers at work on one model: in a Trainer, under Accelerate, or in a training loop of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.kinds.base import Criterion
from steadytune.models.criterion import (
    check_outputs,
    check_own_loss,
    explain_labels,
    kind_of,
    logits_in,
)
from steadytune.models.last_layer import LastLayer
from steadytune.models.modules import encoder_of
from steadytune.models.parts import find_parts
from steadytune.models.random_state import RandomState, preserved_random_state
from steadytune.models.readiness import check_precision, say_frozen_head
from steadytune.stabilizers import Changes, Forward, Pretraining, Run, Stabilizer, Step, as_stabilizers
from steadytune.stabilizers.base import Batches
from steadytune.stabilizers.surgery import changed_outputs
from steadytune.training.checkpoint import load_state, save_state


class Stabilization:
    """A model, and the stabilizers that work on its training.

    Makes the model ready at once; make the optimizer after it. A loop then calls, in this order: `prepare_optimizer`,
    `begin`, for each batch `backward` in the place of `loss.backward()`, before each step of the optimizer
    `before_step` in the place of clipping, after it `after_step`, and `finish` in the end, which leaves a plain model.
    `StableTrainer` does so.

    Args:
        model: Returns logits, as `logits`, as a tensor or as the first of a tuple, from inputs without labels; as it is
            before anything is wrapped around it. A model of one's own gets every method that does not need what the
            model lacks.
        stabilizers: Methods to apply together.
        kind: Kind of task, one that can be trained; taken from the model's configuration unless given.
        seed: Of new weights.
        noise_seed: Of what the methods draw while training; `seed` unless given.
        criterion: (logits, labels (b,)) -> mean loss of a batch; by default cross-entropy, or the squared error.
        label_smoothing: Of the default.
        pretraining: (model) -> what a method that retrains the encoder sees.
        average: Mean of a tensor over the processes of a distributed training.
        arguments_are_set: Whether a Trainer has taken over the `TrainingArguments` that methods set.
        float32_masters: Whether the optimizer steps on copies of half-precision weights in float32.

    Attributes:
        measurements: What the methods recorded before training.
        shared_seconds: Time that they took for it.
        equipped: Whether the methods are at work; from `finish` on the model is plain.
        task_loss: What the criterion says of the last batch in training, whatever the methods made of its loss.

    Raises:
        UserError: A method means nothing here, lacks a part of the model, or goes with no other.
    """

    def __init__(
        self,
        model: nn.Module,
        stabilizers: Sequence[Stabilizer],
        *,
        kind: str | None = None,
        seed: int = 0,
        noise_seed: int | None = None,
        criterion: Criterion | None = None,
        label_smoothing: float = 0.0,
        pretraining: Callable[[nn.Module], Pretraining] | None = None,
        average: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        arguments_are_set: bool = False,
        float32_masters: bool = False,
    ) -> None:
        self.model = model
        self.kind = kind or kind_of(model)
        self._of = KINDS[self.kind]
        if not self._of.trained:
            raise UserError(f"a {self.kind} cannot be trained here: it can be measured")
        self.criterion = criterion or self._of.criterion(label_smoothing)
        self._unchecked, self._own_criterion = True, criterion is not None
        self.measurements: dict[str, Any] = {}
        self.shared_seconds = 0.0
        self.equipped, self.resumed = True, False
        self._seen: tuple[Tensor | None, Tensor | None] | None = None
        self.task_loss: Tensor | None = None
        self._changes: Changes | None = None
        self._share = 1.0
        try:
            self.stabilizers = as_stabilizers(stabilizers)
            for method in self.stabilizers:
                method.check_kind(self.kind)
                if method.arguments() and not arguments_are_set:
                    raise ValueError(
                        f"{method.name} sets {dict(method.arguments())} of a Trainer: set that in your loop"
                    )
        except ValueError as error:
            raise UserError(str(error)) from error
        if not float32_masters:
            check_precision(model)
        self._retrain(pretraining)
        self._last = LastLayer(model)
        parts = find_parts(model)
        say_frozen_head(parts)
        seed_of_noise = seed if noise_seed is None else noise_seed
        self.runs = {
            method.name: Run(method.name, parts, self.kind, seed_of_noise, average=average)
            for method in self.stabilizers
        }
        try:
            self._equip(seed)
        except BaseException:
            self._take_back()
            if self._last.module is not None:
                self._last.put(self._last.found)
            raise
        self._last.watch()

    def __deepcopy__(self, memo: dict[int, Any]) -> Stabilization:
        """Return itself: of a model a copy is wanted, not of its training."""
        return self

    @property
    def head(self) -> nn.Module:
        """The last layer, as the methods left it.

        Raises:
            UserError: The model has none that could be told from the rest.
        """
        return self._last.need("this")

    def _equip(self, seed: int) -> None:
        # New weights come from a stream of their own: the global one may stand where it stood before the first head.
        with preserved_random_state():
            torch.manual_seed(seed)
            for method, run in self._with("initialise"):
                method.initialise(run)
            for method, _ in self._with("wrap_head"):
                self._last.need(method.name)
                head = self._last.found
                wrapped = method.wrap_head(head)
                if wrapped is not head and not head.weight.requires_grad:
                    raise UserError(f"{method.name} trains the last layer, and this model's is frozen: unfreeze it")
                self._last.put(wrapped)
            parts = find_parts(self.model)
            for run in self.runs.values():
                run.parts = parts
            for method, run in self._with("equip"):
                method.equip(run)

    def _take_back(self) -> None:
        for run in reversed(self.runs.values()):
            run.undo.close()

    def _with(self, hook: str) -> Iterator[tuple[Stabilizer, Run]]:
        return ((method, self.runs[method.name]) for method in self.stabilizers if method.has(hook))

    def _owner(self, hook: str) -> tuple[Stabilizer, Run] | None:
        return next(self._with(hook), None)

    def _retrain(self, pretraining: Callable[[nn.Module], Pretraining] | None) -> None:
        for method in self.stabilizers:
            if method.has("before_training"):
                if pretraining is None:
                    raise UserError(f"{method.name} retrains the encoder: say from which texts, by `pretraining`")
                started = time.perf_counter()
                with preserved_random_state():
                    self.measurements |= method.before_training(encoder_of(self.model), pretraining(self.model))
                self.shared_seconds += time.perf_counter() - started

    def prepare_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Return the optimizer to use, made from one that has taken no step. Make schedules from what is returned.

        Raises:
            UserError: The optimizer was made before a method put another last layer into the model.
        """
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        if (owner := self._owner("wrap_head")) and any(
            weight.requires_grad and id(weight) not in held for weight in self.head.parameters()
        ):
            raise UserError(
                f"the optimizer does not hold the last layer that {owner[0].name} made: make it after the Stabilization"
            )
        groups: list[dict[str, Any]] = [dict(group) for group in optimizer.param_groups]
        for method, run in self._with("parameter_groups"):
            groups = method.parameter_groups(run, groups)
        optimizer.param_groups = groups
        if owner := self._owner("optimizer"):
            method, run = owner
            optimizer = method.optimizer(run, optimizer)
        return optimizer

    def begin(self, batches: Batches, total_steps: int, step: int = 0) -> None:
        """Let methods look at the training set before the first step, unless the training was resumed.

        Args:
            batches: Called for a pass over the training set, batch by batch, on the model's device.
            total_steps: Steps that the optimizer will have taken in the end.
            step: Steps that it has taken, in a training that is resumed.
        """
        device = next(self.model.parameters()).device
        for run in self.runs.values():
            run.step, run.total_steps = step, total_steps
            # The model may have moved since it was equipped.
            run.state.update({name: tensor.to(device) for name, tensor in run.state.items()})
        if self.resumed:
            return
        training = self.model.training
        with preserved_random_state():
            for method, run in self._with("begin"):
                method.begin(run, batches, self._plain_loss)
        self.model.zero_grad()
        self.model.train(training)

    def _plain_loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        highest = self._check(inputs, "training set")
        return self._task_loss(logits_in(self.model(**_without_labels(inputs))), inputs["labels"], highest)

    def _task_loss(self, logits: Tensor, labels: Tensor, highest: int | None) -> Tensor:
        if not self._own_criterion:
            check_outputs(self.kind, logits, labels, highest)
        try:
            return self.criterion(logits, labels)
        except Exception:
            explain_labels(self.kind, logits, labels)
            raise

    def loss(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return a batch's loss and the model's outputs: the task loss, with what the methods make of it in training.

        Args:
            model: This model, or what a Trainer or Accelerate has wrapped around it.
            inputs: The batch, with labels.
        """
        highest = self._check(inputs, "training set" if model.training else "evaluation set")
        labels, rest = inputs["labels"], _without_labels(inputs)
        if not (model.training and self.equipped):
            outputs = model(**rest)
            return self._task_loss(logits_in(outputs), labels, highest), outputs
        state = RandomState.now(labels.device)
        with changed_outputs(self._changes):
            with self._main_pass():
                outputs = model(**rest)
            logits = logits_in(outputs)
            plain = self._task_loss(logits, labels, highest)
            self._seen = self._last.take(rest, logits), self._of.row_classes(logits, labels)
            if self._last.why and (owner := self._owner("wrap_head")):
                raise UserError(f"{owner[0].name} acts on the last layer: {self._last.why}")
            loss = self._stabilized(plain, labels, rest, logits, partial(self._again, model, rest, state))
        return loss if self._share == 1 else loss * self._share, outputs

    def _check(self, inputs: Mapping[str, Any], examples: str) -> int | None:
        """Check the labels of a batch, and in the first one the model's own loss; return the largest class."""
        if "labels" not in inputs:
            raise UserError("a batch has no 'labels': stabilizers need those that the model is trained on")
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
        self, plain: Tensor, labels: Tensor, inputs: Mapping[str, Any], logits: Tensor, forward: Forward
    ) -> Tensor:
        (features, classes), last = self.encoded_batch(), self._last
        self.task_loss, loss = plain.detach(), plain
        steps = {
            name: Step(features, labels, classes, last.module, self.criterion, logits, forward, inputs, run, last.why)
            for name, run in self.runs.items()
        }
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
        """Return (rows, d) what entered the last layer for the batch seen last in training, and each row's class.

        The former is None for a model whose last layer is not known. Classes are None for a regression; for a choice
        task they say whether the row is the right choice.
        """
        assert self._seen is not None
        return self._seen

    def backward(self, model: nn.Module, inputs: Mapping[str, Any], share: float = 1.0) -> Tensor:
        """Add the gradient of a batch's loss to what the weights have; return the loss.

        Args:
            model: This model, or what Accelerate has wrapped around it.
            inputs: The batch, with labels.
            share: Share of the step's examples, where the gradients of several batches add up to one step.
        """

        def once() -> Tensor:
            loss = self.loss(model, inputs)[0]
            (loss * share).backward()
            return loss.detach()

        return self.passes(once, inputs)

    def passes(self, once: Callable[[], Tensor], inputs: Mapping[str, Any]) -> Tensor:
        """Make the gradient of a batch, by one pass or as a method makes it; return the loss.

        Args:
            once: Calls `loss` for the batch, adds its gradient to what the weights have, and returns it, detached.
            inputs: The batch, on the model's device.
        """
        owner = self._owner("train_step")
        if owner is None:
            loss = once()
        else:
            # Looked at in the first pass: what the method draws before it must not be drawn again in the next batch.
            state = cache(partial(RandomState.now, inputs["labels"].device))
            loss = owner[0].train_step(owner[1], inputs, partial(self._pass, once, state))
        self._seen = None
        return loss

    def _pass(
        self,
        once: Callable[[], Tensor],
        state: Callable[[], RandomState],
        changes: Changes | None = None,
        share: float = 1.0,
    ) -> Tensor:
        state().restore()
        self._changes, self._share = changes, share
        try:
            return once()
        finally:
            self._changes, self._share = None, 1.0

    def before_step(self, max_norm: float = 0.0) -> Tensor | None:
        """Change and clip the finished gradients.

        Args:
            max_norm: Limit of the global norm where no method clips in another way; 0 for none.

        Returns:
            Their norm before clipping, or None if nothing was clipped.
        """
        self.after_backward()
        weights = list(self.model.parameters())
        if self.clips:
            return self.clip(weights)
        return nn.utils.clip_grad_norm_(weights, max_norm) if max_norm else None

    def after_backward(self) -> None:
        """Let methods change the finished gradients."""
        for method, run in self._with("after_backward"):
            method.after_backward(run)

    @property
    def clips(self) -> bool:
        """Whether a method clips in the place of the global clip."""
        return self._owner("clip") is not None

    def clip(self, weights: Iterable[nn.Parameter]) -> Tensor:
        """Clip gradients as the method does that `clips`; return their norm before."""
        owner = self._owner("clip")
        assert owner is not None
        return owner[0].clip(owner[1], [weight for weight in weights if weight.grad is not None])

    def after_step(self, optimizer: Optimizer, steps: int | None = None) -> None:
        """Let methods look at the new weights, or change them. Call it before the schedule moves on.

        Args:
            optimizer: Has just taken a step.
            steps: Steps taken so far; counted unless given.
        """
        rates = {weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        for run in self.runs.values():
            run.step = run.step + 1 if steps is None else steps
        with torch.no_grad():
            for method, run in self._with("after_step"):
                method.after_step(run, rates)

    @property
    def averages(self) -> bool:
        """Whether a method will keep other weights than the trained ones."""
        return self.equipped and self._owner("final_weights") is not None

    @contextmanager
    def final_weights(self) -> Iterator[None]:
        """Have the weights in place that a method would keep, and in the end the trained ones again."""
        weights = self._final()
        kept = {name: weight.detach().clone() for name, weight in self._named(weights)}
        self._place_weights(weights)
        try:
            yield
        finally:
            self._place_weights(kept)

    def _final(self) -> Mapping[str, Tensor]:
        owner = self._owner("final_weights")
        return (owner[0].final_weights(owner[1]) if owner else None) or {}

    def _named(self, names: Mapping[str, Tensor]) -> list[tuple[str, nn.Parameter]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if name in names]

    @torch.no_grad()
    def _place_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in self._named(weights):
            weight.copy_(weights[name])

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Have the model for a while as `finish` would leave it, but for hooks that act in training alone."""
        owner = self._owner("wrap_head")
        with self.final_weights():
            if owner is None:
                yield
                return
            head = self.head
            self._last.put(owner[0].unwrap_head(head))
            try:
                yield
            finally:
                self._last.put(head)

    def finish(self) -> None:
        """Keep the weights that a method averaged, if one did, and make the model plain."""
        self.keep_final_weights()
        self.unequip()

    def keep_final_weights(self) -> None:
        """Put the weights that a method averaged, if one did, in the place of the trained ones."""
        self._place_weights(self._final())

    def unequip(self) -> None:
        """Take everything out of the model again; the last layer becomes the plain one that it amounts to."""
        if not self.equipped:
            return
        self.equipped = False
        self._last.unwatch()
        self._seen = None
        self._take_back()
        for method, _ in self._with("unwrap_head"):
            self._last.put(method.unwrap_head(self.head))

    def save(self, folder: Path) -> None:
        """Write what the methods need to go on into the folder of a checkpoint."""
        save_state(folder, self.stabilizers, self.runs)

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote, on a model that is equipped as it was then.

        Raises:
            UserError: The file is missing, or other methods wrote it.
        """
        load_state(folder, self.stabilizers, self.runs)
        self.resumed = True


def _without_labels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "labels"}
