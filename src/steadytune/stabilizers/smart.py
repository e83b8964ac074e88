"""SMART: smoothness around the embeddings, and proximity to the predictions of the previous steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.kinds import KINDS
from steadytune.stabilizers.averaging import move_towards
from steadytune.stabilizers.base import OF_DISTRIBUTIONS, Stabilizer
from steadytune.stabilizers.context import Run, Step
from steadytune.stabilizers.divergence import at_least_float, symmetric_divergence

if TYPE_CHECKING:
    from torch import Tensor, nn


class SMART(Stabilizer):
    """Add weight * max over |delta| <= radius of l(f(x + delta), f(x)), and mu * l(f(x), f~(x)), to the loss.

    l is KL(p || q) + KL(q || p), for a regression the squared difference; averaged over examples, or in generation, as
    for classes of tokens, over the tokens whose labels count. delta is added to the token embeddings; |delta| is its
    largest entry. The maximum is sought by one step: delta = radius * sign(g), g being the gradient of l by delta at a
    draw from N(0, start^2), as at 0 it vanishes. f~ has the weights theta~ <- beta * theta~ + (1 - beta) * theta, which
    start at theta_0 and follow after each step: the Bregman proximal point method with momentum.

    Source: Jiang et al., arXiv 1911.03437, algorithm 1 (number recalled). The form of both terms was read in accounts
    of the paper. One step and start = 1e-5 are those of the authors' public code. mu = 1 and beta = 0.99 are recalled;
    as recalled, the paper raises beta to 0.999 after a tenth of the steps, which is left out here.

    Differs from the paper, whose step of 1e-3 is cut to a radius of 1e-5 entry by entry (both recalled): that is nearly
    the sign, which maximises l in linear approximation. Differs from the public code, which divides the moved delta by
    its norm, so that its entries are as large as 1 whatever its settings: here the radius holds. 0.003 is the toolkit's
    choice: it makes the divergence 0.01 on MiniLM, where 1e-5 makes it 1e-7 (measured), which float32 hardly resolves.
    The public weight of 0.02 goes with entries of 1; here it is 1, the smallest of the paper's 1, 3 and 5 (recalled).
    All passes use the same dropout masks here, so that the divergence is due only to delta, or to the weights. The
    public code has no second term.

    Half precision does not resolve the effect of the start on the logits. In bfloat16 nothing was left of it in up to 1
    of 8 examples on MiniLM and in 2 to 6 of 10 on small models, whose delta was then 0, and a start of 1e-3 helped
    little; in float16 nothing was left at all (measured). There g is the gradient of the divergence from logits
    perturbed by N(0, 1). For two classes it has the same direction; the divergence caused by that delta is 0.97 times
    that of float32 or more, also for five classes (measured on MiniLM).

    In an encoder-decoder the encoder's input is perturbed. Padding is not.

    Cost per step: two more forward and backward passes for the first term, one of them not into the weights; one more
    forward pass, and a copy of the trained weights, for the second.

    Attributes:
        weight: lambda_s. At 0 there is no first term.
        radius: Largest entry of the perturbation.
        start: Standard deviation of the entries at which the gradient is computed.
        mu: Weight of the second term. At 0 there is none.
        beta: Share of the moving weights kept in each step.
    """

    name: ClassVar[str] = "smart"
    wrong_mode: ClassVar[str] = "smart perturbs the encoder, which mode 'head' freezes: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_DISTRIBUTIONS | {"regression"}
    wrong_kind: ClassVar[str] = "compares numbers, or distributions over classes or words"

    weight: Annotated[float, Field(ge=0)] = 1.0
    radius: Annotated[float, Field(ge=0)] = 3e-3
    start: Annotated[float, Field(gt=0)] = 1e-5
    mu: Annotated[float, Field(ge=0)] = 1.0
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.99

    def equip(self, run: Run) -> None:
        """Check that there are embeddings, and start the moving weights."""
        if self.weight:
            run.parts.need_embeddings(self.name)
        if self.mu:
            move_towards(run.state, run.parts.trained(), 0)

    def penalty(self, step: Step) -> Tensor | None:
        """Return both terms."""
        terms = [self.weight * self._roughness(step)] if self.weight else []
        terms += [self.mu * self._change(step)] if self.mu else []
        return sum(terms[1:], terms[0]) if terms else None

    def after_step(self, run: Run, rates: Mapping[nn.Parameter, float]) -> None:
        """Update the moving weights."""
        if self.mu:
            move_towards(run.state, run.parts.trained(), 1 - self.beta)

    def _roughness(self, step: Step) -> Tensor:
        import torch

        from steadytune.stabilizers.adversary import Shift

        embeddings = step.run.parts.need_embeddings(self.name)
        # Drawn before the pass: inside it the start would shift the dropout masks.
        shift = Shift(self.start, step.inputs.get("attention_mask"), int(torch.randint(2**31, ())))
        # Also if the gradient of the loss itself is not needed.
        with torch.enable_grad():
            shifted = step.forward({embeddings: shift}, same_dropout=True)
            clean = step.predictions(step.logits)
            away = difference(step.predictions(shifted), shift.origin(clean.detach()), step.run.kind)
            shift.climb(away, self.radius)
        shifted = step.forward({embeddings: shift}, same_dropout=True)
        return difference(step.predictions(shifted), clean, step.run.kind)

    def _change(self, step: Step) -> Tensor:
        import torch

        from steadytune.stabilizers.surgery import replaced_weights

        run = step.run
        moving = {weight: run.state[name] for name, weight in run.parts.trained().items()}
        with torch.no_grad(), replaced_weights(run.parts.model, moving):
            before = step.forward(same_dropout=True)
        return difference(step.predictions(step.logits), step.predictions(before), run.kind)


def difference(first: Tensor, second: Tensor, kind: str) -> Tensor:
    """Return l of the class docstring.

    Args:
        first: (b, outputs) logits, or predictions of a regression.
        second: Same shape.
        kind: Kind of the task.
    """
    if KINDS[kind].has_numbers:
        return (at_least_float(first) - at_least_float(second)).square().mean()
    return symmetric_divergence(first, second)
