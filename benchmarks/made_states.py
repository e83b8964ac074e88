"""Hidden states like those that fine-tuned runs leave, made instead of trained: what the benchmarks measure on."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Spectrum = Literal["recorded", "variance 1/k"]


def make_runs(
    runs: int, layers: int, examples: int, features: int, seed: int = 0, spectrum: Spectrum = "recorded"
) -> NDArray[np.float16]:
    """Return states of shape (runs, layers, examples, features).

    The singular values follow k^(-1/2) exp(-4.3 (k/n)^(3/2)), which fits layers of MiniLM runs that were recorded (N =
    277), or k^(-1/2) alone, where the direction k has a variance of 1/k. Runs share a part of their left singular
    vectors. The common mean has three features of a hundred times the size of the others, as transformers do, and
    rounding to half precision leaves a floor under the spectrum.
    """
    generator = np.random.default_rng(seed)
    rank = min(examples - 1, features)
    order = np.arange(1, rank + 1)
    scale = order**-0.5
    if spectrum == "recorded":
        scale *= np.exp(-4.3 * (order / rank) ** 1.5)
    states = np.empty((runs, layers, examples, features), np.float16)
    for layer in range(layers):
        shared = generator.standard_normal((examples, rank))
        mean = generator.standard_normal(features)
        mean[:3] *= 100
        for run in range(runs):
            mixed = shared + 0.7 * generator.standard_normal((examples, rank))
            left = np.linalg.qr(mixed - mixed.mean(axis=0))[0]
            right = np.linalg.qr(generator.standard_normal((features, rank)))[0]
            size = 0.5 * np.sqrt(examples * features) / np.linalg.norm(scale)
            states[run, layer] = mean + size * (left * scale) @ right.T
    return states
