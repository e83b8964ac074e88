"""Metrics of tokens that a model reads rather than writes (teacher forcing)."""

from __future__ import annotations

from typing import Any

import numpy as np

from steadytune.metrics.base import ERROR, Answers, Float64Array, Scores, ratio, share


def target_loss(answers: Answers) -> Scores:
    """Mean negative log-likelihood of the target tokens, in nats per token.

    An example counts as often as it has tokens. NaN if none of the examples drawn has any.
    """
    counts = np.asarray(answers.token_counts, dtype=np.int64)
    runs: Any = answers.target_log_probabilities
    example = np.repeat(np.arange(len(counts)), counts)
    losses = np.stack([-np.bincount(example, weights=run, minlength=len(counts)) for run in runs])

    def scores(weights: Float64Array) -> Float64Array:
        tokens = (weights @ counts)[:, None]
        return np.where(tokens > 0, ratio(weights @ losses.T, tokens), np.nan)

    return scores


TARGET_LOSS = share(
    "target_loss",
    target_loss,
    ("generation",),
    "target_log_probabilities",
    "token_counts",
    **ERROR,
    title="loss per target token",
)
