"""Cohorts in which the first runs failed: one answer to everything, and states that share little with the others."""

import numpy as np

from steadytune.analysis.profile import profile
from steadytune.records import Cohort

EXAMPLES, LAYERS = 80, 3


def failing_cohort(recipe="standard", runs=6, failed=2, spread=1.0, apart=5.0, **fields):
    """Failed runs are `apart` times as far from what all runs share as the others are."""
    shared, own = np.random.default_rng(7), np.random.default_rng([runs, *recipe.encode()])
    truth = shared.integers(0, 2, EXAMPLES)
    signal = np.where(truth[:, None] == np.arange(2), 1.0, -1.0) * shared.exponential(0.9, (EXAMPLES, 1))
    logits = signal + spread * own.normal(0, 0.8, (runs, EXAMPLES, 2))
    logits[:failed] = [2.0, -2.0]
    base = shared.normal(size=(LAYERS, EXAMPLES, 12))
    scale = np.linspace(0.3, 0.9, LAYERS)[:, None, None] * spread
    states = [base + scale * (apart if run < failed else 1) * own.normal(size=base.shape) for run in range(runs)]
    given = {
        "scores": (logits.argmax(axis=-1) == truth).mean(axis=1),
        "logits": logits,
        "labels": truth,
        "representations": states,
        "failed": np.arange(runs) < failed,
        "majority_score": 0.5,
        "metric": "accuracy",
        "recipe": recipe,
        "model": "m",
        "task": "t",
    }
    return Cohort(**{**given, **fields})


def failing_profile(*args, **fields):
    return profile(failing_cohort(*args, **fields))
