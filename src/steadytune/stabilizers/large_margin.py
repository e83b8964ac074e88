"""Large-margin softmax: the right class must win by a margin for a small loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from steadytune.errors import UserError
from steadytune.stabilizers.base import OF_CLASSES, Stabilizer
from steadytune.stabilizers.context import Step
from steadytune.stabilizers.divergence import at_least_float

if TYPE_CHECKING:
    from torch import Tensor


class LargeMargin(Stabilizer):
    """Replace the logit z_y of the right class by a smaller one in the task loss.

    form "angle": z_y - b_y = ||w_y|| ||x|| cos(t) becomes ||w_y|| ||x|| psi(t + margin), t being the angle between the
    feature x that enters the last layer and the weights w_y of the right class; psi is cos up to pi, and -2 - cos from
    there, so that it falls everywhere. form "logit": z_y becomes z_y - margin. Predictions use the plain logits.

    A margin of logits can be met by larger norms alone, as that of `mmr` can; one of angles cannot.

    Source: the additive angle and 0.5 radians are those of ArcFace, Deng et al., arXiv 1801.07698, equation 3 (number
    recalled). Norms that stay in, and psi beyond its first branch, are those of large-margin softmax, Liu et al., arXiv
    1612.02295, whose margin multiplies the angle. The additive logit is that of CosFace, Wang et al., arXiv 1801.09414.
    All cited from memory.

    Differs from ArcFace and CosFace: both divide x and w_y by their norms and multiply by a scale of 30 to 64. Here the
    last layer remains plain, with its norms and bias, so that a margin of 0 is the plain loss. Their public code
    jumps where t + margin passes pi. A logit margin of 0.5 is small beside CosFace's, about 10 (0.35 times 30).

    Cost per step: a norm and a root per example.

    Attributes:
        margin: Margin in radians or logits.
        form: Quantity to which the margin applies. "angle" needs a plain last layer: do not combine it with `r4f`.
    """

    name: ClassVar[str] = "large_margin"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = (
        "large_margin changes the encoder's features, which mode 'head' freezes: use mode 'full'"
    )
    kinds: ClassVar[frozenset[str]] = OF_CLASSES
    wrong_kind: ClassVar[str] = "needs classes, one per example"

    margin: Annotated[float, Field(ge=0)] = 0.5
    form: Literal["angle", "logit"] = "angle"

    @model_validator(mode="after")
    def _an_angle_ends_at_pi(self) -> LargeMargin:
        if self.form == "angle" and self.margin > math.pi:
            raise ValueError(f"margin must be an angle of at most 3.14 with form 'angle', not {self.margin:g}")
        return self

    def task_loss(self, step: Step) -> Tensor | None:
        """Return the task loss with a smaller logit for the right class, or right candidate."""
        if self.margin == 0 or step.classes is None:
            return None
        import torch
        from torch import nn

        rows = torch.arange(len(step.classes), device=step.classes.device)
        logits = at_least_float(step.logits).reshape(len(rows), -1)
        right, scored = rows, step.classes
        if logits.shape[1] == 1:
            right = rows[step.classes == 1]
            scored = torch.zeros_like(right)
        own = logits[right, scored]
        if self.form == "logit":
            smaller = own - self.margin
        else:
            features = step.features[right]
            if not isinstance(step.head, nn.Linear):
                raise UserError(
                    "large_margin with form 'angle' needs a plain last layer: remove what replaces it, or use 'logit'"
                )
            weight, bias = step.head.weight[scored], 0 if step.head.bias is None else step.head.bias[scored]
            smaller = widened(features, weight, self.margin) + bias
        return step.criterion(logits.index_put((right, scored), smaller.to(logits.dtype)), step.labels)


def widened(features: Tensor, weight: Tensor, margin: float) -> Tensor:
    """Return ||w|| ||x|| psi(t + margin), row by row.

    Args:
        features: (b, d) x.
        weight: (b, d) w of each row's class.
        margin: Radians, from 0 to pi.
    """
    import torch

    features, weight = at_least_float(features), at_least_float(weight)
    size = torch.linalg.vector_norm(features, dim=-1) * torch.linalg.vector_norm(weight, dim=-1)
    cosine = (features * weight).sum(-1) / size.clamp(min=1e-12)
    # At angles of 0 and pi the root has no finite derivative.
    sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    beyond = cosine < -math.cos(margin)
    product: Tensor = size * torch.where(beyond, -2 - turned, turned)
    return product
