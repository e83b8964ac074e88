"""Arguments of a stabilizer's hooks: the parts of the model, the training, a batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from steadytune.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Changes = Mapping["nn.Module", Callable[["Tensor"], "Tensor"]]
"""Module -> function that changes its output in the forward pass; of a tuple it changes the first element."""


@dataclass(frozen=True)
class Parts:
    """The parts of a model, found by `steadytune.models.parts.find_parts`.

    Attributes:
        model: The whole model, without a Trainer's wrappers.
        encoder: The pre-trained part; of a language model all of it, with its last layer.
        embeddings: Module that turns token ids into vectors, or None.
        blocks: Transformer blocks in the order in which the input passes them; for an encoder-decoder those of the
            encoder first. Empty if none were found.
        shared: Whether several layers share one block, as in ALBERT.
        layers: How often the input passes a block: their number, or more if they are shared.
        pooler: Pooler inside the pre-trained part, or None.
        head: All modules outside the pre-trained part that have weights.
        pretrained: Name in `model` -> weight that came from the checkpoint. Excludes adapters such as LoRA matrices.
        levels: All weights by depth: embeddings, each block, and what is above the last one (final norm, pooler, head).
            A last layer that shares the embeddings' weight stands with them.
        decoder: Of an encoder-decoder the module that holds the decoder's blocks, or None.
        output: The pre-trained last layer of a language model, or None.
    """

    model: nn.Module
    encoder: nn.Module
    embeddings: nn.Module | None
    blocks: tuple[nn.Module, ...]
    shared: bool
    layers: int
    pooler: nn.Module | None
    head: tuple[nn.Module, ...]
    pretrained: Mapping[str, nn.Parameter]
    levels: tuple[tuple[nn.Parameter, ...], ...]
    decoder: nn.Module | None = None
    output: nn.Module | None = None

    def need_embeddings(self, method: str) -> nn.Module:
        """Return the embeddings.

        Raises:
            UserError: None were found, or the decoder of an encoder-decoder uses the same module.
        """
        if self.embeddings is None:
            raise UserError(
                f"{method} needs the input embeddings, but {type(self.encoder).__name__} does not expose any"
            )
        if self.decoder is not None and any(module is self.embeddings for module in self.decoder.modules()):
            raise UserError(
                f"{method} changes what the encoder reads, but here the decoder reads through the same embeddings, as "
                "after resize_token_embeddings: save the model, and load it again"
            )
        return self.embeddings

    def need_blocks(self, method: str) -> tuple[nn.Module, ...]:
        """Return the blocks.

        Raises:
            UserError: None were found.
        """
        if not self.blocks:
            raise UserError(
                f"{method} needs transformer blocks, but {type(self.encoder).__name__} has no list of blocks"
            )
        return self.blocks

    def need_head(self, method: str) -> tuple[nn.Module, ...]:
        """Return the modules outside the pre-trained part.

        Raises:
            UserError: There are none.
        """
        if not self.head:
            raise UserError(f"{method} needs a head outside the encoder, but {type(self.model).__name__} has none")
        return self.head

    def need_pretrained(self, method: str) -> dict[str, nn.Parameter]:
        """Return the pre-trained weights that are trained, by name.

        Raises:
            UserError: All of them are frozen, as with LoRA.
        """
        trained = {name: weight for name, weight in self.pretrained.items() if weight.requires_grad}
        if not trained:
            raise UserError(f"{method} acts on pre-trained weights that are trained, but this model's are all frozen")
        return trained

    def trained(self) -> dict[str, nn.Parameter]:
        """Return all weights that are trained, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


@dataclass
class Run:
    """One training of one model as seen by one stabilizer, with everything that the stabilizer keeps for it.

    Attributes:
        name: Name of the stabilizer.
        parts: The parts of the model.
        kind: Name of the kind of task.
        seed: Seed of `generator`.
        state: Tensors that the stabilizer needs to resume a training. They are saved beside each checkpoint and
            restored in place when it is resumed.
        scratch: Anything else that the stabilizer keeps; not saved.
        undo: Callbacks added by `equip` that revert its changes to the model.
        step: Optimizer steps taken so far.
        total_steps: Optimizer steps in all; 0 before training begins.
        average: Mean of a tensor over the processes of a distributed training.
        main_pass: Whether the current forward pass is for the loss of a training batch, not an extra one of a
            stabilizer.
    """

    name: str
    parts: Parts
    kind: str
    seed: int
    state: dict[str, Tensor] = field(default_factory=dict)
    scratch: dict[str, Any] = field(default_factory=dict)
    undo: ExitStack = field(default_factory=ExitStack)
    step: int = 0
    total_steps: int = 0
    average: Callable[[Tensor], Tensor] = lambda tensor: tensor
    main_pass: bool = False

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a generator whose numbers depend only on the seed, the stabilizer and the step.

        So all processes draw the same numbers, and a resumed training continues with them. Noise added in a forward
        pass is drawn from the global state instead, like dropout: gradient checkpointing must be able to repeat it.
        """
        import torch

        words = [self.seed, zlib.crc32(self.name.encode()), self.step]
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        return torch.Generator(device).manual_seed(seed)


class Forward(Protocol):
    """A further pass of the model over the same batch."""

    def __call__(self, changes: Changes | None = None, same_dropout: bool = False) -> Tensor:
        """Return its logits; dropout draws new masks unless `same_dropout`."""


class Backward(Protocol):
    """A forward pass, the whole loss with all penalties, and its gradient, which is accumulated."""

    def __call__(self, changes: Changes | None = None, share: float = 1.0) -> Tensor:
        """Return the loss times `share`, whose gradient was computed. Dropout draws the same masks every time."""


@dataclass(frozen=True)
class Step:
    """Argument of a loss hook: one training batch of b examples with c candidates each (c = 1 except for choice tasks).

    Where each of T tokens has a label (generation, token classification), losses are means over those that count.

    Attributes:
        encoded: `features`, or None if the model has no last linear layer that outputs its logits.
        labels: (b,) class or choice index, or regression target; (b, T) of tokens, as in the batch.
        classes: (b * c,) class of each row of `features`; for a choice task whether the row is the right choice; None
            for a regression, and for tokens.
        head: The last layer as changed by the stabilizers, or None.
        criterion: (logits (b * c, outputs), or (b, T, outputs), labels) -> mean task loss of the batch.
        logits: (b, outputs) of the model; (b, c) for a choice task, (b, 1) for a regression, (b, T, outputs) of tokens.
            In the graph.
        forward: Runs the model on the batch again.
        inputs: The batch without labels, as passed to the model.
        run: The training, and this stabilizer's state for it.
        why: Why there are no features.
        counted: (b, T) whether the output for a token has a label that counts; None if each example has one label.
    """

    encoded: Tensor | None
    labels: Tensor
    classes: Tensor | None
    head: nn.Module | None
    criterion: Callable[[Tensor, Tensor], Tensor]
    logits: Tensor
    forward: Forward
    inputs: Mapping[str, Any]
    run: Run
    why: str = ""
    counted: Tensor | None = None

    def predictions(self, logits: Tensor) -> Tensor:
        """Return one row of outputs (n, outputs) for each prediction that the task loss is a mean of.

        Args:
            logits: Of the model, like `logits`; of tokens only those that count are kept.

        Raises:
            UserError: The model does not have outputs for every token.
        """
        if self.counted is None:
            return logits
        if logits.shape[:-1] != self.counted.shape:
            raise UserError(
                f"{self.run.name} compares outputs for tokens, but the labels have shape {tuple(self.counted.shape)} "
                f"and the model's output {tuple(logits.shape)}"
            )
        return logits[self.counted]

    @property
    def features(self) -> Tensor:
        """(b * c, d) input of the last linear layer, in the graph; (n, d) of the n tokens that count.

        Raises:
            UserError: The model has no such layer, or it does not output the logits.
        """
        if self.encoded is None:
            raise UserError(f"{self.run.name} acts on the input of the last layer: {self.why}")
        return self.encoded


@dataclass(frozen=True)
class Pretraining:
    """Argument of the hook before training.

    Attributes:
        source: Folder with the encoder's checkpoint.
        inputs: Token ids of the training inputs, without labels.
        tokenizer: The model's tokenizer.
        batch_size: Examples per step of the study.
        device: Where to compute, such as "cpu".
        cache: Folder for data shared between seeds.
        key: SHA-256 that names the pre-trained weights and the training inputs.
        progress: Called with the share of the work done, 0 to 1.
    """

    source: Path
    inputs: Sequence[Sequence[int]]
    tokenizer: Any
    batch_size: int
    device: str
    cache: Path
    key: str
    progress: Callable[[float], None]
