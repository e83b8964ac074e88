"""Child-Tuning: update a subset of the pre-trained weights, chosen at random or by Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from steadytune.errors import UserError
from steadytune.stabilizers.base import Batches, Loss, Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class ChildTuning(Stabilizer):
    """Mask the gradients of the pre-trained part.

    Variant "F" (task-free) draws M ~ Bernoulli(p) per entry and step and replaces g by g * M / p. Variant "D"
    (task-driven) keeps one mask for the whole training: the share p of entries with the largest Fisher information,
    F = mean over batches of (d loss / d w)^2 at the pre-trained weights.

    Source: Xu et al., arXiv 2109.05687, algorithm 1 and equation 7 (numbers recalled). p = 0.3, and F from gradients of
    whole batches, follow the authors' public code, as does not rescaling in "D".

    Differs from public code: the mask is applied before clipping, so that the clip bounds what is actually applied; the
    head is never masked (a language model's last layer is pre-trained, so it is); F is computed without dropout and
    from every entry, and the share is exact: entries not reached by any example, such as the vectors of unseen tokens,
    have F = 0 and come last.

    With LoRA "F" masks the adapters. "D" is rejected there: one of an adapter's two matrices starts at 0, so the
    other has no gradient at first, and its mask would freeze it for the whole training.

    Cost per step: one product per weight, plus drawing the masks for "F". Before training, for "D": one forward and
    backward pass over the training set.

    Attributes:
        variant: "F" or "D".
        p: Share of entries to update. At 1 nothing is masked.
    """

    name: ClassVar[str] = "child_tuning"
    wrong_mode: ClassVar[str] = "child_tuning masks the encoder, which mode 'head' freezes: use mode 'full'"

    variant: Literal["F", "D"] = "D"
    p: Annotated[float, Field(gt=0, le=1)] = 0.3

    def equip(self, run: Run) -> None:
        """Select the weights to mask."""
        inside = {id(weight) for weight in run.parts.encoder.parameters()}
        masked = {name: weight for name, weight in run.parts.trained().items() if id(weight) in inside}
        if self.variant == "D" and self.p < 1 and not masked.keys() <= run.parts.pretrained.keys():
            raise UserError(
                "child_tuning: variant D picks weights by their initial gradients, which are 0 for half of an"
                " adapter: use variant F"
            )
        run.scratch["masked"] = masked

    def begin(self, run: Run, batches: Batches, loss: Loss) -> None:
        """Choose the mask of variant D."""
        if self.variant == "D" and self.p < 1:
            weights: dict[str, nn.Parameter] = run.scratch["masked"]
            run.parts.model.eval()
            information = fisher_information(run.parts.model, weights, batches(), loss)
            run.state.update(top_share({name: run.average(one) for name, one in information.items()}, self.p))

    def after_backward(self, run: Run) -> None:
        """Mask the gradients."""
        if self.p == 1:
            return
        generator = None
        for name, weight in run.scratch["masked"].items():
            if weight.grad is None:
                continue
            if self.variant == "D":
                weight.grad.mul_(run.state[name])
            else:
                generator = generator or run.generator(weight.device)
                thin_out(weight.grad, self.p, generator)


def thin_out(gradient: Tensor, p: float, generator: torch.Generator) -> None:
    """Replace a gradient g by g * M / p, with M ~ Bernoulli(p) per entry."""
    import torch

    mask = torch.empty_like(gradient).bernoulli_(p, generator=generator)
    gradient.mul_(mask).div_(p)


def fisher_information(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    batches: Iterable[Mapping[str, Tensor]],
    loss: Callable[[Mapping[str, Tensor]], Tensor],
) -> dict[str, Tensor]:
    """Return the mean over batches of the squared gradient of each weight."""
    import torch

    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    count = 0
    for batch in batches:
        model.zero_grad()
        loss(batch).backward()
        count += 1
        for name, weight in weights.items():
            if weight.grad is not None:
                total[name] += weight.grad.square()
    return {name: one / max(count, 1) for name, one in total.items()}


def top_share(values: Mapping[str, Tensor], p: float) -> dict[str, Tensor]:
    """Return for each tensor which entries are among the largest share p over all tensors.

    These are round(p * n) of n, but at least one; ties are broken by the order of the tensors.
    """
    import torch

    every = torch.cat([one.flatten() for one in values.values()])
    keep = max(1, round(p * len(every)))
    threshold = every.kthvalue(len(every) - keep + 1).values
    chosen = every > threshold
    chosen[(every == threshold).nonzero().flatten()[: keep - int(chosen.sum())]] = True
    masks = chosen.split([one.numel() for one in values.values()])
    return {name: mask.view_as(one).clone() for (name, one), mask in zip(values.items(), masks, strict=True)}
