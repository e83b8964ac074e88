"""Stabilizers at work on one model: in a Trainer, under Accelerate, or in a training loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from steadytune.kinds.base import Criterion
from steadytune.stabilizers import Pretraining, Stabilizer
from steadytune.training.checkpoint import load_state, save_state
from steadytune.training.stabilization.steps import Steps


class Stabilization(Steps):
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
        kind: "classification", "regression" or "choice"; taken from the model's configuration unless given.
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
        super().__init__(
            model,
            stabilizers,
            kind=kind,
            seed=seed,
            noise_seed=noise_seed,
            criterion=criterion,
            label_smoothing=label_smoothing,
            pretraining=pretraining,
            average=average,
            arguments_are_set=arguments_are_set,
            float32_masters=float32_masters,
        )

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


__all__ = ["Stabilization"]
