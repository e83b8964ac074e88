"""The score of every run under weights on the examples, for a bootstrap over examples."""

from __future__ import annotations

import math

import numpy as np

from steadytune.kinds import KINDS
from steadytune.metrics import Scores, known_metric
from steadytune.records import Cohort

# Scores may have been computed in single precision.
_TOLERANCE = 1e-6


def weighted_scores(cohort: Cohort) -> Scores | None:
    """Return a function that scores the runs of a cohort under weights on its examples.

    Args:
        cohort: K runs.

    Returns:
        A function from weights (R, N), not all zero in a row, to scores (R, K). None if the scores cannot be computed
        from the cohort: it has no predictions or labels, the metric is unknown or needs questions, or the scores are
        from other examples.
    """
    scores = computed_scores(cohort)
    if scores is None:
        return None
    plain = scores(np.ones((1, count_examples(cohort))))[0]
    return scores if np.allclose(plain, cohort.scores, rtol=0, atol=_TOLERANCE) else None


def computed_scores(cohort: Cohort) -> Scores | None:
    """Return the same as `weighted_scores`, without checking it against the scores of the cohort."""
    metric = known_metric(cohort.metric)
    if metric is None or not len(cohort) or metric.missing(cohort.answers) is not None:
        return None
    return metric.scores(cohort.answers)


def count_examples(cohort: Cohort) -> int:
    """Return N; 1 if the number of examples is unknown."""
    outputs = cohort.predictions if cohort.logits is None else cohort.logits
    if outputs is not None:
        return int(outputs.shape[1])
    if cohort.generations is not None:
        return len(cohort.generations[0])
    return 1 if cohort.token_counts is None else len(cohort.token_counts)


def rows_per_example(cohort: Cohort) -> int:
    """Return how many successive rows of the representations belong to an example, such as candidates."""
    if not KINDS[cohort.kind].candidates or not cohort.representations:
        return 1
    return int(cohort.representations[0].shape[-2]) // count_examples(cohort)


def possible_scores(cohort: Cohort) -> tuple[float, float]:
    """Return the smallest and largest possible score; infinite if unknown."""
    scale = cohort.scale
    lowest = -math.inf if scale.lowest is None else scale.lowest
    highest = math.inf if scale.highest is None else scale.highest
    within = (cohort.scores >= lowest) & (cohort.scores <= highest)
    return (lowest, highest) if within.all() else (-math.inf, math.inf)


def unscored_words(cohort: Cohort) -> str:
    """Return a clause that runs have no score, and what is missing to compute one."""
    answered = cohort.logits is not None or cohort.predictions is not None or cohort.generations is not None
    asked = cohort.labels is not None or cohort.references is not None
    missing = [name for name, known in (("predictions", answered), ("labels", asked)) if not known]
    if not missing and known_metric(cohort.metric) is not None:
        return f"The {cohort.metric} of every run is undefined"
    return f"The runs have no score, and no {' or '.join(missing) or 'metric'} to compute one from"
