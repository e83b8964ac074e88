"""Measures of instability: arrays of runs that differ in their seed alone in, float64 distances out.

Seven are for classes; texts and regressions have prediction measures of their own. Every measure but Fleiss' kappa and
the intraclass correlation (agreements: use 1 - them) is oriented so that higher means less stable. Arrays may
be NumPy or torch, on any device. This room imports nothing else of the package, and no torch.
"""

from .pairs import pair_mean
from .prediction import disagreement, fleiss_kappa, jensen_shannon, pair_disagreements, pair_divergences
from .regression import correlation_distance, intraclass_correlation, pair_squared_differences, prediction_rmse
from .representation import (
    LayerDistances,
    layer_distances,
    linear_cka,
    permutation_null,
    procrustes,
    representation_distances,
    svcca,
)
from .score import score_spread
from .text import chrf_distance, text_disagreement
from .tokens import token_jensen_shannon

__all__ = [
    "LayerDistances",
    "chrf_distance",
    "correlation_distance",
    "disagreement",
    "fleiss_kappa",
    "intraclass_correlation",
    "jensen_shannon",
    "layer_distances",
    "linear_cka",
    "pair_disagreements",
    "pair_divergences",
    "pair_mean",
    "pair_squared_differences",
    "permutation_null",
    "prediction_rmse",
    "procrustes",
    "representation_distances",
    "score_spread",
    "svcca",
    "text_disagreement",
    "token_jensen_shannon",
]
