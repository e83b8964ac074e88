"""What a stabilizer is: settings, and hooks that the training code calls. Every hook does nothing unless overridden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from steadytune.config import Config

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """What a loss hook sees of one training batch of b examples with c candidates each (c = 1 but for choice tasks).

    Attributes:
        features: (b * c, d) tensor that entered the last linear layer, in the graph.
        labels: (b,) class or choice index, or regression target.
        classes: (b * c,) class of each row of `features`; for a choice task whether the row is the right choice; None
            for a regression.
        head: The last layer, as the stabilizers left it.
        criterion: (logits (b * c, outputs), labels) -> mean task loss of the batch.
    """

    features: Tensor
    labels: Tensor
    classes: Tensor | None
    head: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Pretraining:
    """What the hook before training sees.

    Attributes:
        source: Folder with the checkpoint that the encoder came from.
        inputs: Token ids of the training inputs, without labels.
        tokenizer: The model's tokenizer.
        batch_size: Examples per step of the study.
        device: Where to compute, such as "cpu".
        cache: Folder for what all seeds share.
        key: SHA-256 that names the pre-trained weights and the training inputs.
        progress: Called with the share of the work that is done, 0 to 1.
    """

    source: Path
    inputs: Sequence[Sequence[int]]
    tokenizer: Any
    batch_size: int
    device: str
    cache: Path
    key: str
    progress: Callable[[float], None]


class Stabilizer(Config):
    """One published mitigation method.

    A subclass sets `name`, declares its parameters as fields, and overrides the hooks that it needs.

    Attributes:
        name: What a recipe calls it.
        settings: The settings in which it means something. "head" calls `before_training` and no other hook.
        wrong_setting: What to say where it means nothing.
    """

    name: ClassVar[str]
    settings: ClassVar[frozenset[str]] = frozenset({"full"})
    wrong_setting: ClassVar[str] = "this stabilizer works in setting 'full' alone"

    def entry(self) -> dict[str, dict[str, Any]]:
        """Return the spelling of this stabilizer in a recipe, every parameter named: {name: {parameter: value}}."""
        return {self.name: self.model_dump(mode="json")}

    @classmethod
    def has(cls, hook: str) -> bool:
        """Whether this method overrides a hook."""
        return getattr(cls, hook) is not getattr(Stabilizer, hook)

    def check(self, kind: str) -> None:
        """Raise ValueError if the method means nothing for a task of this kind."""

    def before_training(self, encoder: nn.Module, context: Pretraining) -> Mapping[str, Any]:
        """Change the pre-trained weights, the same for all seeds; return what to record about it."""
        return {}

    def wrap_head(self, head: nn.Linear) -> nn.Module:
        """Return what shall stand in the place of the freshly initialised last layer."""
        return head

    def task_loss(self, step: Step) -> Tensor | None:
        """Return a loss that replaces the task loss, or None."""

    def penalty(self, step: Step) -> Tensor | None:
        """Return a term to add to the loss, or None."""

    def unwrap_head(self, head: nn.Module) -> nn.Module:
        """Return the plain layer that the trained `head` amounts to."""
        return head
