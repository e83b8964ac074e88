"""Stabilizers applied to one model: in a Trainer, with Accelerate, or in a custom training loop."""

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
    """A model, and the stabilizers of its training.

    Equips the model at once; create the optimizer afterwards. A loop then calls, in this order: `prepare_optimizer`,
    `begin`, for each batch `backward` instead of `loss.backward()`, before each step of the optimizer
    `before_step` instead of clipping, after it `after_step`, and at the end `finish`, which restores a plain model.
    `StableTrainer` does so.

    Args:
        model: Returns logits, as `logits`, as a tensor or first in a tuple, from inputs without labels; pass it
            before it is wrapped. A custom model supports every stabilizer that does not need a part that the
            model lacks.
        stabilizers: Stabilizers to combine.
        kind: Name of the kind of task; by default taken from the model: a language model's is "generation", whose
            labels and those of "tokens" are -100 where they do not count.
        seed: Seed of new weights.
        noise_seed: Seed of the stabilizers' noise in training; by default `seed`.
        criterion: (logits, labels) -> mean loss of a batch, both as they are; by default cross-entropy or squared
            error.
        label_smoothing: Label smoothing of the default criterion.
        pretraining: (model) -> input of a stabilizer that retrains the encoder.
        adapt: Changes the model in place once its encoder is retrained, such as by adapters.
        average: Mean of a tensor over the processes of a distributed training.
        arguments_are_set: Whether a Trainer has applied the `TrainingArguments` that stabilizers set.
        float32_masters: Whether the optimizer steps on copies of half-precision weights in float32.

    Attributes:
        measurements: The stabilizers' measurements before training.
        shared_seconds: Time that these took.
        equipped: Whether the stabilizers are active; after `finish` the model is plain.
        task_loss: The criterion's value on the last training batch, regardless of the stabilizers' changes.

    Raises:
        UserError: A stabilizer does not apply here, lacks a part of the model, or cannot be combined with another.
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
        adapt: Callable[[nn.Module], None] | None = None,
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
            adapt=adapt,
            average=average,
            arguments_are_set=arguments_are_set,
            float32_masters=float32_masters,
        )

    @property
    def averages(self) -> bool:
        """Whether a stabilizer will keep weights other than the trained ones."""
        return self.equipped and self._owner("final_weights") is not None

    @contextmanager
    def final_weights(self) -> Iterator[None]:
        """Use the weights that a stabilizer would keep, and restore the trained ones at the end."""
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
        """Temporarily put the model into the state after `finish`, except for hooks that act only in training."""
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
        """Keep the weights averaged by a stabilizer, if any, and restore the plain model."""
        self.keep_final_weights()
        self.unequip()

    def keep_final_weights(self) -> None:
        """Replace the trained weights by those averaged by a stabilizer, if any."""
        self._place_weights(self._final())

    def save(self, folder: Path) -> None:
        """Write the state that the stabilizers need to resume into a checkpoint's folder."""
        save_state(folder, self.stabilizers, self.runs)

    def load(self, folder: Path) -> None:
        """Load what `save` wrote, for a model equipped in the same way.

        Raises:
            UserError: The file is missing, or was written by other stabilizers.
        """
        load_state(folder, self.stabilizers, self.runs)
        self.resumed = True


__all__ = ["Stabilization"]
