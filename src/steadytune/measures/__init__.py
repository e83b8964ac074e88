"""Measures of instability: arrays of runs that differ in their seed alone in, float64 distances out.

`MEASURES` has all of them by name, as objects that declare what is known of each; the functions compute one on arrays.
Every function but Fleiss' kappa and the intraclass correlation (agreements: use 1 - them) is oriented so that higher
means less stable. Arrays may be NumPy or torch, on any device. Of the package this room imports `errors` and
`registry`, and no torch.
"""

from .base import (
    LEVELS,
    CombinedMeasure,
    Draw,
    LayerMeasure,
    Measure,
    Outputs,
    PairMeasure,
    Pairs,
    PairTable,
    Seen,
    SpreadMeasure,
    Tokens,
)
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
from .table import MEASURES, declared, judged, layer_measures
from .text import chrf_distance, text_disagreement
from .tokens import token_jensen_shannon

__all__ = [
    "LEVELS",
    "MEASURES",
    "CombinedMeasure",
    "Draw",
    "LayerDistances",
    "LayerMeasure",
    "Measure",
    "Outputs",
    "PairMeasure",
    "PairTable",
    "Pairs",
    "Seen",
    "SpreadMeasure",
    "Tokens",
    "chrf_distance",
    "correlation_distance",
    "declared",
    "disagreement",
    "fleiss_kappa",
    "intraclass_correlation",
    "jensen_shannon",
    "judged",
    "layer_distances",
    "layer_measures",
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
