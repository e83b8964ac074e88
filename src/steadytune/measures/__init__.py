"""Seven measures of instability: arrays of runs that differ in their seed alone in, float64 distances out.

Every measure but Fleiss' kappa (an agreement: use 1 - kappa) is oriented so that higher means less stable. Arrays may
be NumPy or torch, on any device. This room imports nothing else of the package, and no torch.
"""

from .pairs import pair_mean
from .prediction import disagreement, fleiss_kappa, jensen_shannon
from .representation import linear_cka, permutation_null, procrustes, representation_distances, svcca
from .score import score_spread

__all__ = [
    "disagreement",
    "fleiss_kappa",
    "jensen_shannon",
    "linear_cka",
    "pair_mean",
    "permutation_null",
    "procrustes",
    "representation_distances",
    "score_spread",
    "svcca",
]
