"""Generated classification data with known properties, for testing the theory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class SyntheticSpec:
    """One data set of Gaussian classes whose centres are the corners of a regular simplex.

    Class sizes differ by at most one example. The hyperplane half-way between any two classes passes through
    the origin, as a linear head without bias requires.

    Attributes:
        n: Number of examples, at least two per class, so that leaving one out removes no class.
        d: Dimension of the features, at least classes - 1.
        classes: Number of classes, at least 2.
        shift: Distance between any two class centres, in units of the root mean square SD of a feature within a class.
        anisotropy: Exponent a of the variances within a class, which fall as k^-a over the features k = 1..d; their
            mean stays 1. With 0 all directions have the same variance.
        label_noise: Share of the examples, rounded, that carry the label of another class.
        margin: Smallest distance of an example from every hyperplane half-way between its class and another, 0 for no
            constraint. Examples that lie nearer are reflected to the far side of that distance. Without label noise,
            two classes are then separable with at least this margin.
        seed: Determines all random draws.

    Raises:
        UserError: A value is invalid.
    """

    n: int
    d: int
    classes: int = 2
    shift: float = 1.0
    anisotropy: float = 0.0
    label_noise: float = 0.0
    margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            f"classes must be at least 2, not {self.classes}": self.classes >= 2,
            f"d must be at least classes - 1 = {self.classes - 1}, not {self.d}": self.d >= self.classes - 1,
            f"n must be at least 2 per class, {2 * self.classes} in all, not {self.n}": self.n >= 2 * self.classes,
            f"label_noise must lie in [0, 1), not {self.label_noise}": 0 <= self.label_noise < 1,
        }
        for name in ("shift", "anisotropy", "margin"):
            value = getattr(self, name)
            rules[f"{name} must be finite and not negative, not {value}"] = 0 <= value < math.inf
        for words, holds in rules.items():
            if not holds:
                raise UserError(f"synthetic data: {words}")


def generate(spec: SyntheticSpec) -> tuple[Features, Labels]:
    """Draw a data set.

    Returns:
        Features (n, d) float64 and labels (n,) int64 in 0..classes-1. The same spec gives the same data.
    """
    rng = np.random.default_rng(spec.seed)
    corners = _simplex(spec.classes, spec.d, rng)
    classes = rng.permutation(np.arange(spec.n) % spec.classes)
    variances = np.arange(1, spec.d + 1) ** -spec.anisotropy
    spread = np.sqrt(variances / variances.mean())
    features = corners[classes] * spec.shift + rng.standard_normal((spec.n, spec.d)) * spread
    if spec.margin:
        features += _reflection(features, classes, corners, spec.margin)
    labels = classes.copy()
    noisy = rng.permutation(spec.n)[: round(spec.label_noise * spec.n)]
    labels[noisy] = (classes[noisy] + rng.integers(1, spec.classes, len(noisy))) % spec.classes
    return features, labels


def _simplex(classes: int, d: int, rng: np.random.Generator) -> Features:
    """Return (classes, d): corners around the origin at distance 1 from one another, randomly rotated."""
    centred = np.eye(classes) - 1 / classes
    # Coordinates within the classes - 1 dimensions that the corners span.
    _, _, basis = np.linalg.svd(centred)
    corners = centred @ basis[: classes - 1].T / math.sqrt(2)
    turned, _ = np.linalg.qr(rng.standard_normal((d, classes - 1)))
    return np.asarray(corners @ turned.T)


def _reflection(features: Features, classes: Labels, corners: Features, margin: float) -> Features:
    """Return (n, d), the shifts that keep every example at least `margin` from the hyperplanes around its class.

    An example moves along the ray from the origin to its corner, which recedes from all these hyperplanes at the same
    rate, by twice the distance that is missing to the nearest of them.
    """
    number = len(corners)
    scores = features @ corners.T
    own = scores[np.arange(len(features)), classes]
    # Corners are at distance 1 from one another, so the difference of two is a unit normal.
    distances = own[:, None] - scores
    distances[np.arange(len(features)), classes] = math.inf
    lacking = np.maximum(margin - distances.min(1), 0)
    # A corner's own direction u has u . (u_own - u_other) = 1 / (2 |u|): half the edge over the distance to the centre.
    radius = math.sqrt((number - 1) / (2 * number))
    rate = 1 / (2 * radius)
    return np.asarray((2 * lacking / rate)[:, None] * corners[classes] / radius)
