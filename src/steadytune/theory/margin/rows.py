"""The constraints of a max-margin head: one row z per constraint z . w >= 1, for two classes or more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.measures.inputs import to_array
from steadytune.theory.inputs import labelled_features

Float64Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# 16 GB in double precision.
_MOST = 2**31


@dataclass(frozen=True)
class MarginRows:
    """The constraints z . w >= 1 of a linear head without bias.

    Two classes: one row y x per example, y = 1 for class 1 and -1 for class 0. C > 2 classes: C - 1 rows per example, x
    at its class and -x at another, so that z . w is the difference of two logits; gradient descent on the softmax loss
    tends to the direction of the separator of these rows (recalled: Soudry et al. 2018, section on multi-class data).

    Attributes:
        rows: Z, shape (m, p): (n, d), or (n (C - 1), C d).
        owner: (m,) index of the example that each row belongs to.
        shape: Shape of the weights, (d,) or (C, d).
    """

    rows: Float64Array
    owner: Indices
    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """The number of examples."""
        return int(self.owner[-1]) + 1

    def of_examples(self, values: Float64Array) -> Float64Array:
        """Return values (m, ...) summed over the rows of each example, (n, ...)."""
        return np.asarray(values.reshape(self.n, -1, *values.shape[1:]).sum(1))

    def canonical(self, weights: Any, examples: tuple[int, ...] = ()) -> Float64Array:
        """Return trained weights in the form of the separator, without the part that no prediction depends on.

        Args:
            weights: (d,) or (1, d) of a logistic head, or (C, d) of a softmax head, an array or a tensor.
            examples: Sizes of leading axes, in front of these.

        Returns:
            (d,) for two classes: the weights of class 1 minus those of class 0. Else (C, d), with mean 0 over classes.

        Raises:
            UserError: The weights have another shape, or are not finite.
        """
        try:
            found = to_array(weights, "weights").astype(np.float64)
        except ValueError as error:
            raise UserError(str(error)) from None
        d = self.shape[-1]
        classes = self.shape[0] if len(self.shape) == 2 else 2
        valid = [(*examples, classes, d)] + ([(*examples, 1, d), (*examples, d)] if classes == 2 else [])
        if found.shape not in valid:
            raise UserError(f"weights must have the shape {' or '.join(map(str, valid))}, not {found.shape}")
        if not np.isfinite(found).all():
            raise UserError("weights hold NaN or infinity: leave out diverged trainings")
        if classes > 2:
            return np.asarray(found - found.mean(-2, keepdims=True))
        if found.shape == valid[0]:
            return np.asarray(found[..., 1, :] - found[..., 0, :])
        return found.reshape(*examples, d)


def margin_rows(features: Any, labels: Any) -> MarginRows:
    """Return the constraints of a linear head without bias; for a bias, append a feature that is always 1.

    Args:
        features: (n, d).
        labels: (n,) classes 0..C-1. A class below the largest one may have no example.

    Raises:
        UserError: As for `labelled_features`; all features are 0; there are too many classes for memory.
    """
    inputs, targets = (tensor.cpu().numpy() for tensor in labelled_features(features, labels))
    if not inputs.any():
        raise UserError("all features are 0: a head without bias cannot separate them")
    n, d = inputs.shape
    classes = int(targets.max()) + 1
    if classes == 2:
        return MarginRows(inputs * (2.0 * targets - 1)[:, None], np.arange(n), (d,))
    if n * (classes - 1) * classes * d > _MOST:
        raise UserError(
            f"labels go up to {classes - 1}: the constraints of {n} examples with {d} features and so many classes do "
            "not fit in memory: number the classes 0, 1, ... without gaps, or use fewer"
        )
    owner, other = np.nonzero(np.arange(classes) != targets[:, None])
    rows = np.zeros((len(owner), classes, d))
    rows[np.arange(len(owner)), targets[owner]] = inputs[owner]
    rows[np.arange(len(owner)), other] = -inputs[owner]
    return MarginRows(rows.reshape(len(owner), -1), owner, (classes, d))
