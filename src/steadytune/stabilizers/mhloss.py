"""Multi-Head Loss: train many linear heads on the same features, and use their average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from steadytune.stabilizers.base import OF_CLASSES, Stabilizer
from steadytune.stabilizers.context import Step

if TYPE_CHECKING:
    from torch import Tensor, nn


class MHLoss(Stabilizer):
    """Train H linear heads with independent initialisation; the loss is the mean of their task losses.

    The prediction is the mean of their logits, which is one linear layer: after training the heads fold into a plain
    `nn.Linear`, so inference costs nothing extra. The benefit of H is that initialisation noise cancels: a single head
    that starts at zero is the control to compare with.

    Source: Fu, So & Collier, arXiv 2301.09820 (H parallel heads, averaged outputs, H = 50). How the losses combine is
    cited from memory, hence `reduction`.

    Cost per step: the last layer becomes H times as wide, which is negligible compared with an encoder.

    Attributes:
        heads: H.
        reduction: "sum" gives each head the gradient of its own loss, so that it learns at the full rate, and the
            encoder that of the mean. "mean" divides the heads' gradients by H as well; with Adam that changes little
            except the share of the heads in the clipped norm.
    """

    name: ClassVar[str] = "mhloss"
    whole_embeddings: ClassVar[bool] = False
    modes: ClassVar[frozenset[str]] = frozenset({"full", "head"})
    kinds: ClassVar[frozenset[str]] = OF_CLASSES | {"regression"}
    wrong_kind: ClassVar[str] = "trains many last layers on one feature of each example"

    heads: Annotated[int, Field(ge=1, le=10_000)] = 50
    reduction: Literal["sum", "mean"] = "sum"

    def wrap_head(self, head: nn.Linear) -> nn.Module:
        """Return H heads; the first is `head`, the others are drawn at its scale."""
        from steadytune.stabilizers.layers import MultiHeadLinear

        return MultiHeadLinear(head, self.heads)

    def task_loss(self, step: Step) -> Tensor | None:
        """Return the mean over heads of the task loss."""
        import torch

        from steadytune.stabilizers.layers import MultiHeadLinear

        assert isinstance(step.head, MultiHeadLinear)
        logits = step.head.each(step.features, self.heads if self.reduction == "sum" else 1)
        return torch.stack([step.criterion(one, step.labels) for one in logits.unbind(1)]).mean()

    def unwrap_head(self, head: nn.Module) -> nn.Module:
        """Fold the heads into the one linear layer that gives the same logits."""
        from steadytune.stabilizers.layers import MultiHeadLinear

        assert isinstance(head, MultiHeadLinear)
        return head.fold()
