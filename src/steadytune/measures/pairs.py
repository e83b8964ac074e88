"""Reduction of the distances between all pairs of runs to one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import to_array


def pair_mean(distances: Any) -> Any:
    """Average a matrix of distances over the unordered pairs of runs i < j.

    This is how Du & Nguyen (2023) turn every pairwise measure into a single value. The diagonal, which compares each
    run with itself, is excluded: in a bootstrap it would make unrelated measures correlate.

    Args:
        distances: Distances of shape (..., K, K): one matrix, or a stack with one per layer. NaN stays NaN.

    Returns:
        The means, of shape (...): a float for one matrix, an array for a stack. NaN if K < 2, as there is no pair.

    Raises:
        ValueError: If the last two axes are not square.

    Example:
        >>> distances = [[0.0, 0.2, 0.4], [0.2, 0.0, 0.9], [0.4, 0.9, 0.0]]
        >>> print(f"{pair_mean(distances):.1f}")
        0.5
    """
    matrices = to_array(distances, "distances").astype(np.float64)
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise ValueError(f"distances must have shape (..., K, K), got {matrices.shape}")
    runs = matrices.shape[-1]
    if runs < 2:
        return np.full(matrices.shape[:-2], np.nan)[()]
    first, second = np.triu_indices(runs, 1)
    return matrices[..., first, second].mean(axis=-1)


def square(pairs: Any) -> NDArray[np.float64]:
    """Arrange one number per pair of runs as a symmetric matrix with a zero diagonal.

    Args:
        pairs: Shape (P,), for the P = K(K - 1)/2 pairs i < j in the order of `numpy.triu_indices(K, 1)`.

    Returns:
        Shape (K, K).

    Raises:
        ValueError: If P is not the number of pairs of any K.

    Example:
        >>> square([0.25])
        array([[0.  , 0.25],
               [0.25, 0.  ]])
    """
    values = to_array(pairs, "pairs").astype(np.float64)
    runs = round((1 + (1 + 8 * values.size) ** 0.5) / 2)
    if values.ndim != 1 or runs * (runs - 1) // 2 != values.size:
        raise ValueError(f"pairs must be one number for each of K(K - 1)/2 pairs, got shape {values.shape}")
    matrix = np.zeros((runs, runs))
    matrix[np.triu_indices(runs, 1)] = values
    return matrix + matrix.T


def pair_shares(counts: Any, self_pairs: bool = False) -> NDArray[np.float64]:
    """Return the weight of every pair of runs i < j in the pair mean of resampled runs.

    Args:
        counts: (R, K) how often each run counts; rows sum to K.
        self_pairs: Whether the pairs of a run with its own copy, which are at distance 0, count as well.

    Returns:
        (R, P), for the P = K(K - 1)/2 pairs i < j.
    """
    first, second = np.triu_indices(counts.shape[1], 1)
    pairs = counts[:, first] * counts[:, second]
    if not pairs.size:
        return np.asarray(pairs, dtype=np.float64)
    shares: NDArray[np.float64] = pairs / (len(first) if self_pairs else pairs.sum(axis=1, keepdims=True))
    return shares
