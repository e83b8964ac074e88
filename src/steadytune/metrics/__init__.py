"""Metrics: meaning, unit, range and direction of each score, and one implementation of each, which takes weights.

Shares (accuracy, F1, exact match) lie in [0, 1], correlations in [-1, 1], both are shown in points; errors and losses
are shown unscaled, and lower is better. Outputs that are not finite make every score NaN.
"""

from steadytune.metrics.base import Answers, Metric, Scale, Scores, mean_of, ratio
from steadytune.metrics.scoring import Scored, constant_score, score
from steadytune.metrics.table import (
    METRICS,
    is_score,
    known_metric,
    plain_name,
    preferred,
    recorded,
)

__all__ = [
    "METRICS",
    "Answers",
    "Metric",
    "Scale",
    "Scored",
    "Scores",
    "constant_score",
    "is_score",
    "known_metric",
    "mean_of",
    "plain_name",
    "preferred",
    "ratio",
    "recorded",
    "score",
]
