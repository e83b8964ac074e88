"""Check whether training had made progress: the final loss compared with the loss at chance.

Runs that have hardly begun differ little, or as much as their random heads do. Neither says anything about the recipe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.sentences import named_runs
from steadytune.kinds import KINDS
from steadytune.records import Cohort

HARDLY_BEGUN = 0.8
"""Above this share of the loss at chance, training has hardly begun; the threshold is our own choice."""


def chance_loss(labels: ArrayLike) -> float:
    """Return the cross-entropy of always predicting the label frequencies, in nats: ln C for balanced classes.

    Args:
        labels: (N,) classes of the measured examples, used in place of the training labels.
    """
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def hardly_begun(losses: NDArray[np.float64], chance: float) -> NDArray[np.bool_]:
    """Return (K,) whether the training loss ends above 0.8 of the loss at chance; False for unknown losses.

    Args:
        losses: (K, 2) the plain task loss over the first and over the last tenth of each training.
        chance: Loss at chance, in nats.
    """
    begun: NDArray[np.bool_] = losses[:, 1] < HARDLY_BEGUN * chance
    return ~begun & np.isfinite(losses[:, 1]) & (chance > 0)


def describe_learned(cohort: Cohort) -> str:
    """Describe the runs whose training had hardly begun; "" if there are none, or if it is unknown.

    Failed runs are left out; they are reported elsewhere.
    """
    if cohort.losses is None or cohort.labels is None or not KINDS[cohort.kind].has_classes:
        return ""
    chance = chance_loss(cohort.labels)
    chosen = hardly_begun(cohort.losses, chance) & ~failed_runs(cohort)
    if not chosen.any():
        return ""
    named = [seed for seed, meant in zip(cohort.seeds, chosen, strict=True) if meant]
    whose = "" if chosen.all() else f" of {named_runs(named, cohort.seeds)}"
    return f"training{whose} had hardly begun ({loss_story(cohort.losses[chosen], chance)})"


def loss_story(losses: NDArray[np.float64], chance: float) -> str:
    """Describe where losses (K, 2) began and ended on average, beside the loss at chance."""
    parts = [f"{name} {value:.2f}" for name, value in zip(("from", "to"), losses.mean(axis=0), strict=True)]
    return f"loss {' '.join(parts)}, chance is {chance:.2f}"
