"""Stabilizers and the optimizer: parameter groups, steps and clipping."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steadytune.errors import UserError
from steadytune.models.random_state import preserved_random_state
from steadytune.stabilizers.base import Batches
from steadytune.training.stabilization.passes import Passes


class Steps(Passes):
    """Hooks around the optimizer. The fourth layer of `Stabilization`."""

    resumed = False
    """Whether training resumes from a checkpoint, so that stabilizers have already read the training set."""

    def prepare_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Return the optimizer to use, made from one that has taken no step. Create schedules for the returned one.

        Raises:
            UserError: The optimizer was created before a stabilizer replaced the last layer.
        """
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        if (owner := self._owner("wrap_head")) and any(
            weight.requires_grad and id(weight) not in held for weight in self.head.parameters()
        ):
            raise UserError(
                f"the optimizer does not contain the last layer made by {owner[0].name}: create it after the "
                "Stabilization"
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
        """Let stabilizers read the training set before the first step, unless the training was resumed.

        Args:
            batches: Called for a pass over the training set, batch by batch, on the model's device.
            total_steps: Total number of optimizer steps.
            step: Steps already taken, if the training is resumed.
        """
        device = next(self.model.parameters()).device
        for run in self.runs.values():
            run.step, run.total_steps = step, total_steps
            # The model may have been moved to another device since it was equipped.
            run.state.update({name: tensor.to(device) for name, tensor in run.state.items()})
        if self.resumed:
            return
        training = self.model.training
        with preserved_random_state():
            for method, run in self._with("begin"):
                method.begin(run, batches, self._plain_loss)
        self.model.zero_grad()
        self.model.train(training)

    def before_step(self, max_norm: float = 0.0) -> Tensor | None:
        """Change and clip the finished gradients.

        Args:
            max_norm: Limit of the global norm unless a stabilizer clips differently; 0 for none.

        Returns:
            Their norm before clipping, or None if nothing was clipped.
        """
        self.after_backward()
        weights = list(self.model.parameters())
        if self.clips:
            return self.clip(weights)
        return nn.utils.clip_grad_norm_(weights, max_norm) if max_norm else None

    def after_backward(self) -> None:
        """Let stabilizers change the finished gradients."""
        for method, run in self._with("after_backward"):
            method.after_backward(run)

    @property
    def clips(self) -> bool:
        """Whether a stabilizer replaces the global clip."""
        return self._owner("clip") is not None

    def clip(self, weights: Iterable[nn.Parameter]) -> Tensor:
        """Clip gradients with the stabilizer that `clips`; return their norm before clipping."""
        owner = self._owner("clip")
        assert owner is not None
        return owner[0].clip(owner[1], [weight for weight in weights if weight.grad is not None])

    def after_step(self, optimizer: Optimizer, steps: int | None = None) -> None:
        """Let stabilizers observe or change the new weights. Call it before the schedule advances.

        Args:
            optimizer: Has just taken a step.
            steps: Steps taken so far; counted by default.
        """
        rates = {weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        for run in self.runs.values():
            run.step = run.step + 1 if steps is None else steps
        with torch.no_grad():
            for method, run in self._with("after_step"):
                method.after_step(run, rates)
