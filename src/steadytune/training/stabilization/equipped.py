"""Equipping a model with stabilizers, and restoring the plain model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS, Kind
from steadytune.models.criterion import kind_of
from steadytune.models.last_layer import LastLayer
from steadytune.models.modules import encoder_of
from steadytune.models.parts import find_parts
from steadytune.models.random_state import preserved_random_state
from steadytune.models.readiness import check_precision, say_frozen_head
from steadytune.stabilizers import Pretraining, Run, Stabilizer, as_stabilizers


class Equipped:
    """A model equipped with stabilizers: modules, hooks and new weights. The lowest layer of `Stabilization`."""

    def __init__(
        self,
        model: nn.Module,
        stabilizers: Sequence[Stabilizer],
        *,
        kind: str | None = None,
        seed: int = 0,
        noise_seed: int | None = None,
        pretraining: Callable[[nn.Module], Pretraining] | None = None,
        adapt: Callable[[nn.Module], None] | None = None,
        average: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        arguments_are_set: bool = False,
        float32_masters: bool = False,
    ) -> None:
        self.model = model
        self._of = self._kind(kind)
        self.kind = self._of.name
        self.measurements: dict[str, Any] = {}
        self.shared_seconds = 0.0
        self.equipped = True
        try:
            self.stabilizers = as_stabilizers(stabilizers)
            for method in self.stabilizers:
                if self.kind:
                    method.check_kind(self.kind)
                if method.arguments() and not arguments_are_set:
                    raise ValueError(
                        f"{method.name} sets {dict(method.arguments())} for a Trainer: set the equivalent in your loop"
                    )
        except ValueError as error:
            raise UserError(str(error)) from error
        if not float32_masters:
            check_precision(model)
        self._retrain(pretraining)
        if adapt is not None:
            adapt(model)
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Equipped:
        """Return itself: a copy of a model must not copy its training."""
        return self

    @property
    def head(self) -> nn.Module:
        """The last layer as changed by the stabilizers.

        Raises:
            UserError: The model has none that can be identified.
        """
        return self._last.need("this")

    def _kind(self, name: str | None) -> Kind:
        """Return the kind of task, whose name is given or follows from the model."""
        found = KINDS[name or kind_of(self.model)]
        if not found.trained:
            raise UserError(f"a {found.name} task can be measured but not trained here")
        return found

    def _equip(self, seed: int) -> None:
        # New weights use a separate stream: the global one may be in the same state as before the first head.
        with preserved_random_state():
            torch.manual_seed(seed)
            for method, run in self._with("initialise"):
                method.initialise(run)
            for method, _ in self._with("wrap_head"):
                self._last.need(method.name)
                head = self._last.found
                wrapped = method.wrap_head(head)
                if wrapped is not head and not head.weight.requires_grad:
                    raise UserError(f"{method.name} trains the last layer, but this model's is frozen: unfreeze it")
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
                    raise UserError(f"{method.name} retrains the encoder: pass the texts as `pretraining`")
                started = time.perf_counter()
                with preserved_random_state():
                    self.measurements |= method.before_training(encoder_of(self.model), pretraining(self.model))
                self.shared_seconds += time.perf_counter() - started

    def unequip(self) -> None:
        """Remove everything from the model; the last layer becomes the equivalent plain one."""
        if not self.equipped:
            return
        self.equipped = False
        self._last.unwatch()
        self._take_back()
        for method, _ in self._with("unwrap_head"):
            self._last.put(method.unwrap_head(self.head))
