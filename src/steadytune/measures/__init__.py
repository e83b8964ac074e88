"""Measures of instability: from arrays of runs that differ only in their seed to float64 distances.

`MEASURES` holds all of them by name, as objects that declare their facts; the functions compute one on arrays.
Every function except Fleiss' kappa and the intraclass correlation (agreements: use 1 minus the value) is oriented so
that higher means less stable. Arrays may be NumPy or torch, on any device. Within the package this room imports only
`errors` and `registry`, and no torch.
"""

from .base import (
    LEVELS,
    Candidates,
    Choices,
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
from .candidates import CandidateDivergences, candidate_divergences
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
from .text import chrf_distance, rouge_l_distance, text_disagreement
from .tokens import pair_token_disagreements, token_jensen_shannon

__all__ = [
    "LEVELS",
    "MEASURES",
    "CandidateDivergences",
    "Candidates",
    "Choices",
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
    "candidate_divergences",
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
    "pair_token_disagreements",
    "permutation_null",
    "prediction_rmse",
    "procrustes",
    "representation_distances",
    "rouge_l_distance",
    "score_spread",
    "svcca",
    "text_disagreement",
    "token_jensen_shannon",
]
