"""LP-FT: tune the head first, then the whole model from that head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import WITH_NEW_HEAD, Batches, Loss, Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


class LPFT(Stabilizer):
    """Train the head on the frozen encoder, without dropout, before the first step of fine-tuning.

    A random head sends random gradients into the encoder; one that already fits sends small ones. In the terms of this
    package: mode "head", then mode "full" from there.

    Source: Kumar et al., arXiv 2202.10054. The paper takes the linear probe to its optimum with early stopping
    (recalled); three passes of AdamW at 1e-3, at a constant rate and without decay, are the toolkit's choice.

    All modules outside the pre-trained part are trained, of RoBERTa for example both layers of the head. The state of
    the optimizer is not carried over. Generation is rejected: a language model's last layer is not new.

    Cost: `epochs` forward passes over the training set before training; nothing per step.

    Attributes:
        epochs: Epochs of head tuning. At 0 there is none.
        learning_rate: Its rate.
    """

    name: ClassVar[str] = "lp_ft"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "lp_ft trains the whole model after the head: in mode 'head' leave it out"
    kinds: ClassVar[frozenset[str]] = WITH_NEW_HEAD
    wrong_kind: ClassVar[str] = "trains a new last layer first"

    epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    def equip(self, run: Run) -> None:
        """Check that the head is trained."""
        if not self.epochs:
            return
        head = run.parts.need_head(self.name)
        if not any(weight.requires_grad for module in head for weight in module.parameters()):
            raise UserError("lp_ft trains the head, but this model's head is frozen: unfreeze it")

    def begin(self, run: Run, batches: Batches, loss: Loss) -> None:
        """Tune the head."""
        if self.epochs:
            run.parts.model.eval()
            weights = [weight for module in run.parts.head for weight in module.parameters() if weight.requires_grad]
            passes = (batch for _ in range(self.epochs) for batch in batches())
            tune(weights, run.parts.model, passes, loss, self.learning_rate, run.average)


def tune(
    weights: Sequence[nn.Parameter],
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    learning_rate: float,
    average: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> None:
    """Train some weights of a model, one step of AdamW per batch, with the others fixed.

    Args:
        weights: Weights to train.
        model: Model that contains them.
        batches: Training batches.
        loss: Returns the loss of a batch.
        learning_rate: Constant rate.
        average: Mean of a gradient over the processes of a distributed training.
    """
    import torch

    kept = {id(weight) for weight in weights}
    resting = [one for one in model.parameters() if one.requires_grad and id(one) not in kept]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    for weight in resting:
        weight.requires_grad_(False)
    try:
        for batch in batches:
            optimizer.zero_grad()
            loss(batch).backward()
            for weight in weights:
                if weight.grad is not None:
                    weight.grad = average(weight.grad)
            optimizer.step()
    finally:
        for weight in resting:
            weight.requires_grad_(True)
