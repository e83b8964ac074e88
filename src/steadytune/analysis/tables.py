"""The inputs of prediction measures from a cohort, and their tables of pairs of runs."""

from __future__ import annotations

import numpy as np

from steadytune.errors import one_line
from steadytune.kinds import KINDS
from steadytune.measures import Outputs, PairMeasure, Pairs, PairTable, Tokens, declared
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
        ValueError: A measure refuses the arrays, or gives something else than a table of pairs in its range.
    """
    tables = {
        measure.name: _pairs(measure, outputs) for measure in declared("prediction") if isinstance(measure, PairMeasure)
    }
    return {name: pairs for name, pairs in tables.items() if pairs is not None}


def _pairs(measure: PairMeasure, outputs: Outputs) -> Pairs | None:
    if all(getattr(outputs, name) is None for name in measure.needs):
        return None
    runs, examples = outputs.shape
    expected = (runs * (runs - 1) // 2, examples)
    try:
        found = measure.pairs(outputs)
        if found is None:
            raise ValueError("it gives nothing")
        if isinstance(found, PairTable) and found.values.shape != expected:
            raise ValueError(f"its table has shape {found.values.shape}, not (pairs, examples) = {expected}")
        means = found.means(np.ones((1, examples)))
    except Exception as error:  # it may be another package's code
        what = " ".join(str(error).split()) if isinstance(error, ValueError) else one_line(error)
        raise ValueError(f"measure '{measure.name}': {what}") from error
    most = measure.most(runs, examples)
    slack = 1e-6 * (max(1.0, most) if np.isfinite(most) else 1.0)
    if (
        wrong := [value for value in (means.min(), means.mean()) if not -slack <= value <= most + slack]
    ) and not np.isnan(wrong[0]):
        raise ValueError(f"measure '{measure.name}' gives {wrong[0]:.4g}, outside of its range from 0 to {most:.4g}")
    return found
