"""The inputs of prediction measures from a cohort, and their tables of pairs of runs."""

from __future__ import annotations

import numpy as np

from steadytune.kinds import KINDS
from steadytune.measures import Outputs, PairMeasure, Pairs, Tokens, declared
from steadytune.records import Cohort


def outputs_of(cohort: Cohort) -> Outputs:
    """Return the outputs of a cohort's runs in the form that prediction measures take."""
    of = KINDS[cohort.kind]
    if of.has_texts:
        tokens = None
        if cohort.token_logits is not None:
            # A cohort has no token logits without their counts.
            tokens = Tokens(cohort.token_logits, np.asarray(cohort.token_counts))
        return Outputs(generations=cohort.generations, tokens=tokens)
    if of.has_numbers:
        return Outputs(numbers=None if cohort.logits is None else of.numbers(cohort.logits))
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
