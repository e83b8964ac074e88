"""Compare what a recipe changes at the same seed with what another seed changes.

A recipe that does almost nothing gives, seed by seed, the answers of the baseline, while another seed changes far more.
A paired test may still find a difference, and "higher" then means very little; this module reports that.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.sentences import percent
from steadytune.analysis.suspicion import same_outputs
from steadytune.kinds import KINDS
from steadytune.records import Cohort

NEXT_TO_NOTHING = 0.1
"""Below this share of what another seed changes, a recipe did almost nothing; the threshold is our own choice."""


class SameSeed(NamedTuple):
    """What a recipe changes and what a seed changes.

    Attributes:
        recipe: Mean change from the baseline's run of a seed to the recipe's run of that seed.
        seed: Mean change between two runs of one recipe, over the pairs of shared seeds and both recipes.
        pairs: How many seeds are shared.
        of: "answers" for the share of examples answered differently; "outputs" for the root mean square
            difference of a regression's outputs.
        identical: Whether the outputs, or texts, of every shared seed are equal to the last bit.
    """

    recipe: float
    seed: float
    pairs: int
    of: Literal["answers", "outputs"]
    identical: bool

    @property
    def share(self) -> float:
        """What the recipe changes as a share of what a seed changes; NaN if neither changes anything."""
        if self.seed > 0:
            return self.recipe / self.seed
        return float("nan") if self.recipe == 0 else float("inf")

    @property
    def next_to_nothing(self) -> bool:
        """Whether the recipe changed less than a tenth of what another seed changes, or nothing at all."""
        return self.recipe == 0 or self.share < NEXT_TO_NOTHING


def same_seed(cohort: Cohort, baseline: Cohort) -> SameSeed | None:
    """Compare two recipes seed by seed.

    Args:
        cohort: A recipe's runs.
        baseline: The baseline's, on the same examples.

    Returns:
        None unless at least two seeds are shared and the answers are known.
    """
    pairs = [(place, baseline.seeds.index(seed)) for place, seed in enumerate(cohort.seeds) if seed in baseline.seeds]
    mine, others = _answers(cohort), _answers(baseline)
    if len(pairs) < 2 or mine is None or others is None or mine.shape[1] != others.shape[1]:
        return None
    ours, theirs = (mine[[place for place, _ in pairs]], others[[place for _, place in pairs]])
    changed = _rms if KINDS[cohort.kind].has_numbers else _share
    by_seed = [changed(side[i], side[j]) for side in (ours, theirs) for i, j in combinations(range(len(pairs)), 2)]
    return SameSeed(
        recipe=float(np.mean([changed(one, other) for one, other in zip(ours, theirs, strict=True)])),
        seed=float(np.mean(by_seed)),
        pairs=len(pairs),
        of="outputs" if KINDS[cohort.kind].has_numbers else "answers",
        identical=all(same_outputs(cohort, run, baseline, place) for run, place in pairs),
    )


def describe_same_seed(found: SameSeed | None) -> str:
    """Return a clause if a recipe did nothing or almost nothing; "" if it did more, or if unknown."""
    if found is None or not found.next_to_nothing:
        return ""
    if found.identical:
        return "with the same seed it gives bit-identical outputs: it changed nothing"
    if found.recipe == 0:
        return (
            f"with the same seed it gives the same answers to all examples{_by_seed(found)}: it changed almost nothing"
        )
    if found.of == "outputs":
        return (
            f"with the same seed it changes the outputs by {found.share:.0%} of the change from another seed: "
            "it changed almost nothing"
        )
    changes = f"with the same seed it changes {percent(found.recipe)} of the answers"
    return f"{changes}{_by_seed(found)}: it changed almost nothing"


def changed_at_same_seed(found: SameSeed) -> tuple[str, str]:
    """Return table entries: what the recipe changes at the same seed, and what another seed changes."""
    if found.of == "answers":
        return percent(found.recipe), f"another seed: {percent(found.seed)}"
    return f"{found.recipe:.3g}", f"another seed: {found.seed:.3g}, RMS of outputs"


def _by_seed(found: SameSeed) -> str:
    return f", while another seed changes {percent(found.seed)}" if found.of == "answers" and found.seed > 0 else ""


def _answers(cohort: Cohort) -> NDArray[Any] | None:
    """Return (K, N) classes, outputs or texts, or None if unknown."""
    if KINDS[cohort.kind].has_numbers:
        return None if cohort.logits is None else KINDS[cohort.kind].numbers(cohort.logits)
    if cohort.predictions is not None:
        return cohort.predictions
    return None if cohort.generations is None else np.array([list(run) for run in cohort.generations], dtype=object)


def _share(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.mean(one != other))


def _rms(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(one - other))))
