"""From the distances between all pairs of runs to one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import to_array


def pair_mean(distances: Any) -> Any:
    """Average a matrix of distances over the unordered pairs of runs i < j.

    This is how Du & Nguyen (2023) turn every pairwise measure into a single value. The diagonal, where each run meets
    itself, never takes part: in a bootstrap it would pull unrelated measures towards each other.

    Args:
        distances: Distances of shape (..., K, K): one matrix, or a stack with one per layer. NaN stays NaN.

    Returns:
        The means, of shape (...): a float for one matrix, an array for a stack. NaN where K < 2, as there is no pair.

    Raises:
        ValueError: If the last two axes are not square.

    Example:
        >>> distances = [[0.0, 0.2, 0.4], [0.2, 0.0, 0.9], [0.4, 0.9, 0.0]]
        >>> print(f"{pair_mean(distances):.1f}")
        0.5
    """
    matrices = to_array(distances, "distances").astype(np.float64)
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise ValueError(f"distances must have the shape (..., K, K), got {matrices.shape}")
    runs = matrices.shape[-1]
    if runs < 2:
        return np.full(matrices.shape[:-2], np.nan)[()]
    first, second = np.triu_indices(runs, 1)
    return matrices[..., first, second].mean(axis=-1)
