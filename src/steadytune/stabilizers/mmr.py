"""Maximal Margin Regularizer: push the class centres of the encoded examples apart."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import OF_CLASSES, Stabilizer
from steadytune.stabilizers.context import Step

if TYPE_CHECKING:
    from torch import Tensor


class MMR(Stabilizer):
    """Add alpha * R to the loss, R = mean over class pairs (a, b) in the batch of 1 / (1 + ||mu_a - mu_b||_2).

    mu_c is the mean over the batch of E(x), the tensor that enters the last linear layer, for class c. On separable
    data ||mu_a - mu_b|| is at least twice the margin, so R raises an upper bound on the margin; it can also be
    satisfied by larger norms, which is why runs record centre distance, norm and margin.

    Source: Fu, So & Collier, "A Stability Analysis of Fine-Tuning a Pre-Trained Model", arXiv 2301.09820, whose
    abstract states that the distance between class centres is regularized. The formula is cited from memory; the mean
    over pairs for more than two classes, and R = 0 if a batch has fewer than two, are our choices.

    Cost per step: one product of a (classes, b) with a (b, d) matrix.

    Attributes:
        alpha: Weight of R. The default is the toolkit's choice; the paper's is unknown.
    """

    name: ClassVar[str] = "mmr"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "mmr changes the encoder's features, which mode 'head' freezes: use mode 'full'"
    kinds: ClassVar[frozenset[str]] = OF_CLASSES
    wrong_kind: ClassVar[str] = "needs classes, one per example"

    alpha: Annotated[float, Field(ge=0)] = 0.1

    def penalty(self, step: Step) -> Tensor | None:
        """Return alpha * R for the batch."""
        if step.classes is None:
            return None
        return self.alpha * centre_closeness(step.features, step.classes)


def centre_closeness(features: Tensor, classes: Tensor) -> Tensor:
    """Return R of the class docstring.

    Args:
        features: (b, d) encoded examples.
        classes: (b,) int64 classes.
    """
    import torch

    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    return closeness(torch.stack([features[classes == label].mean(0) for label in classes.unique()]))


def closeness(centres: Tensor) -> Tensor:
    """Return R (...) of class centres (..., C, d); 0 for fewer than two."""
    import torch

    if centres.shape[-2] < 2:
        return centres.new_zeros(centres.shape[:-2])
    pairs = combinations(centres.unbind(-2), 2)
    distances = torch.stack([torch.linalg.vector_norm(a - b, dim=-1) for a, b in pairs])
    return (1 / (1 + distances)).mean(0)
