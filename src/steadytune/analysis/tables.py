"""Prepare the inputs of prediction measures from a cohort, and their tables of pairs of runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, one_line
from steadytune.kinds import KINDS
from steadytune.measures import (
    MEASURES,
    Candidates,
    Choices,
    CombinedMeasure,
    Draw,
    Measure,
    Outputs,
    PairMeasure,
    Pairs,
    PairTable,
    Tokens,
    declared,
)
from steadytune.records import Cohort


def outputs_of(cohort: Cohort) -> Outputs:
    """Return the outputs of a cohort's runs in the form that prediction measures take."""
    of = KINDS[cohort.kind]
    if of.has_texts:
        return Outputs(generations=cohort.generations, tokens=_tokens(cohort), choices=_choices(cohort))
    if of.has_numbers:
        return Outputs(numbers=None if cohort.logits is None else of.numbers(cohort.logits))
    if of.has_sets:
        return Outputs(sets=cohort.answers.sets, label_probabilities=cohort.probabilities)
    return Outputs(cohort.predictions, cohort.probabilities)


def _tokens(cohort: Cohort) -> Tokens | None:
    # A cohort has no arrays of tokens without their counts, and no candidate words without weights.
    counts = np.asarray(cohort.token_counts)
    if cohort.token_logits is not None:
        return Tokens(cohort.token_logits, counts)
    if cohort.token_log_probabilities is None:
        return None
    weights: Any = cohort.token_weights
    return Tokens(Candidates(cohort.token_log_probabilities, weights, int(cohort.token_exact or 0)), counts)


def _choices(cohort: Cohort) -> Choices | None:
    words: Any = cohort.token_choices
    if words is None and cohort.token_logits is not None:
        words = [run.argmax(axis=1) for run in cohort.token_logits]
    return None if words is None else Choices(words, np.asarray(cohort.token_counts))


def pair_tables(outputs: Outputs) -> dict[str, Pairs]:
    """Measure every pair of runs on every example.

    Args:
        outputs: Of two runs or more.

    Returns:
        Pair measure -> its weighted means; without measures that need an array that the runs do not have.

    Raises:
        ValueError: A measure refuses the arrays, or does not return a table of pairs within its range.
    """
    tables = {
        measure.name: _pairs(measure, outputs) for measure in declared("prediction") if isinstance(measure, PairMeasure)
    }
    found = {name: pairs for name, pairs in tables.items() if pairs is not None}
    for measure in declared("prediction"):
        if isinstance(measure, CombinedMeasure):
            _check_combined(measure, outputs, found)
    return found


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
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the measure may be from another package
        raise _wrong(measure, error) from error
    _check_range(measure, means, runs, examples)
    return found


def _check_combined(measure: CombinedMeasure, outputs: Outputs, tables: dict[str, Pairs]) -> None:
    """Compute a combined measure once, so that an error in its package is reported as such."""
    if unknown := [name for name in measure.reads if name not in MEASURES]:
        raise ValueError(f"measure '{measure.name}' reads '{unknown[0]}', which is no measure")
    if any(name not in tables for name in measure.reads):
        return
    runs, examples = outputs.shape
    plain = np.ones((1, examples))
    try:
        prepared = measure.prepared(outputs)
        if prepared is None:
            return
        means = {name: table.means(plain) for name, table in tables.items()}
        found = np.asarray(
            measure.combine(means, measure.sums(prepared, plain), Draw(np.ones((1, runs)))), dtype=np.float64
        )
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the measure may be from another package
        raise _wrong(measure, error) from error
    if found.shape != (1,):
        raise ValueError(f"measure '{measure.name}' gives shape {found.shape} for one draw, not one number")
    _check_range(measure, found, runs, examples)


def _wrong(measure: Measure, error: Exception) -> ValueError:
    what = " ".join(str(error).split()) if isinstance(error, ValueError) else one_line(error)
    return ValueError(f"measure '{measure.name}': {what}")


def _check_range(measure: Measure, values: NDArray[np.float64], runs: int, examples: int) -> None:
    most = measure.most(runs, examples)
    slack = 1e-6 * (max(1.0, most) if np.isfinite(most) else 1.0)
    for value in (values.min(), values.mean()):
        if value < -slack or value > most + slack:
            raise ValueError(f"measure '{measure.name}' gives {value:.4g}, outside of its range from 0 to {most:.4g}")
