"""The three representation measures of one pair of runs, straight from their formulas: the reference of the benchmark.

It shares no code and no factorisation with the package: every pair starts from the stored matrices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def svcca(x: Matrix, y: Matrix) -> float:
    bases = []
    for run in (x, y):
        left, scale, _ = np.linalg.svd(run - run.mean(axis=0), full_matrices=False)
        kept = max(1, int((np.cumsum(scale) / scale.sum() <= 0.99).sum()))
        projected = left[:, :kept] * scale[:kept]
        bases.append(np.linalg.svd(projected - projected.mean(axis=0), full_matrices=False)[0])
    first, second = bases
    correlations = np.linalg.svd(first.T @ second, compute_uv=False)
    return float(1 - correlations.sum() / min(first.shape[1], second.shape[1]))


def procrustes(x: Matrix, y: Matrix) -> float:
    x, y = (run - run.mean(axis=0) for run in (x, y))
    x, y = (run / np.linalg.norm(run) for run in (x, y))
    return float(1 - np.linalg.svd(x.T @ y, compute_uv=False).sum())


def linear_cka(x: Matrix, y: Matrix) -> float:
    grams = []
    examples = len(x)
    for run in (x, y):
        centred = run - run.mean(axis=0)
        gram = centred @ centred.T
        np.fill_diagonal(gram, 0)
        means = gram.sum(axis=0) / (examples - 2)
        means -= means.sum() / (2 * (examples - 1))
        gram -= means[:, None] + means
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    first, second = grams
    return float(1 - (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def all_three(x: NDArray[np.float16], y: NDArray[np.float16]) -> dict[str, float]:
    wide = x.astype(np.float64), y.astype(np.float64)
    return {"svcca": svcca(*wide), "procrustes": procrustes(*wide), "cka": linear_cka(*wide)}
