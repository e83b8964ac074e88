"""Whether the trainings of a cohort had got anywhere: their loss in the end, beside that of guessing.

Runs that have hardly begun differ little, or as much as their random heads do. Either says nothing of the recipe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.sentences import named_runs
from steadytune.kinds import KINDS
from steadytune.records import Cohort

HARDLY_BEGUN = 0.8
"""Above this share of the loss of guessing a training has hardly begun; the threshold is ours."""


def chance_loss(labels: ArrayLike) -> float:
    """Return the cross-entropy of always giving the labels' own frequencies, in nats: ln C where classes are balanced.

    Args:
        labels: (N,) classes of the measured examples, which stand for those of training.
    """
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def hardly_begun(losses: NDArray[np.float64], chance: float) -> NDArray[np.bool_]:
    """Return (K,) whose training loss ends above 0.8 of that of guessing; unknown losses count as begun.

    Args:
        losses: (K, 2) the plain task loss over the first and over the last tenth of each training.
        chance: Loss of guessing, in nats.
    """
    begun: NDArray[np.bool_] = losses[:, 1] < HARDLY_BEGUN * chance
    return ~begun & np.isfinite(losses[:, 1]) & (chance > 0)


def describe_learned(cohort: Cohort) -> str:
    """Say of which runs the training had hardly begun; "" where of none, or where it is unknown.

    Runs that failed are left out: what they did is said elsewhere.
    """
    if cohort.losses is None or cohort.labels is None or not KINDS[cohort.kind].has_classes:
        return ""
    chance = chance_loss(cohort.labels)
    chosen = hardly_begun(cohort.losses, chance) & ~failed_runs(cohort)
    if not chosen.any():
        return ""
    named = [seed for seed, meant in zip(cohort.seeds, chosen, strict=True) if meant]
    whose = "" if chosen.all() else f" of {named_runs(named, cohort.seeds)}"
    return f"the training{whose} had hardly begun ({loss_story(cohort.losses[chosen], chance)})"


def loss_story(losses: NDArray[np.float64], chance: float) -> str:
    """Say where losses (K, 2) began and ended on average, beside the loss of guessing."""
    parts = [f"{name} {value:.2f}" for name, value in zip(("from", "to"), losses.mean(axis=0), strict=True)]
    return f"loss {' '.join(parts)}, guessing has {chance:.2f}"
