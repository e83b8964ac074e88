"""What the measures of predictions take of a cohort, and the tables of pairs of runs that they make of it."""

from __future__ import annotations

import numpy as np

from steadytune.measures import Outputs, PairMeasure, Pairs, Tokens, declared
from steadytune.records import Cohort


def outputs_of(cohort: Cohort) -> Outputs:
    """Return what the runs of a cohort gave, as measures of predictions take it."""
    if cohort.kind == "generation":
        tokens = None
        if cohort.token_logits is not None:
            # A cohort has no token logits without their counts.
            tokens = Tokens(cohort.token_logits, np.asarray(cohort.token_counts))
        return Outputs(generations=cohort.generations, tokens=tokens)
    if cohort.kind == "regression":
        known = cohort.logits is not None
        return Outputs(numbers=np.asarray(cohort.logits, dtype=np.float64)[..., 0] if known else None)
    return Outputs(cohort.predictions, cohort.probabilities)


def pair_tables(outputs: Outputs) -> dict[str, Pairs]:
    """Measure every pair of runs on every example.

    Args:
        outputs: Of two runs or more.

    Returns:
        Pair measure -> its weighted means; without those that need an array that the runs do not have.

    Raises:
        ValueError: A measure refuses the arrays.
    """
    tables = {
        measure.name: measure.pairs(outputs) for measure in declared("prediction") if isinstance(measure, PairMeasure)
    }
    return {name: pairs for name, pairs in tables.items() if pairs is not None}
