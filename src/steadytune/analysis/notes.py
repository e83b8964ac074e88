"""What a reader must know before trusting a profile, one sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.components import forms_grid
from steadytune.analysis.failures import failure_words
from steadytune.analysis.grouping import count_groups, one_group, size_words
from steadytune.analysis.intervals import varies
from steadytune.analysis.scores import unscored_words, weighted_scores
from steadytune.analysis.sentences import capital, counted, listed, named_runs, runs_noun
from steadytune.analysis.tables import predicted_numbers
from steadytune.analysis.value import Value
from steadytune.kinds import KINDS
from steadytune.records import Cohort

NEAR_NULL = 0.8
"""Share of its permutation null above which a representation measure says little but "unrelated"."""

_TITLES = {"svcca": "SVCCA", "procrustes": "Procrustes", "cka": "CKA"}
_HALF_PRECISION_LIMIT = 65504
_FEW_GROUPS = 10


def run_notes(cohort: Cohort) -> list[str]:
    """Say what the number of runs, and the runs that failed, do to every measure."""
    notes = []
    runs = len(cohort)
    if runs == 0:
        notes.append("No run finished: nothing can be measured.")
    elif runs == 1:
        notes.append("One run: instability needs at least two.")
    elif runs == 2:
        notes.append("Two runs: no measure has an interval, which needs three.")
    if not cohort.scored:
        notes.append(f"{unscored_words(cohort)}: mean and SD are unknown.")
    elif runs > 1 and not varies(cohort.scores):
        notes.append("All runs score the same: the mean score and its SD have no interval.")
    if cohort.failed is not None and cohort.failed.any() and runs > 1:
        chosen = [seed for seed, failed in zip(cohort.seeds, cohort.failed, strict=True) if failed]
        notes.append(
            f"{capital(named_runs(chosen, cohort.seeds))} scored no better than always giving one answer: failed runs "
            "shift every measure, and the intervals, which assume runs of one kind, are then too narrow."
        )
    if runs > 1 and forms_grid(cohort):
        notes.append(
            "The seeds form a grid: runs share seeds, and the intervals of the measures, which take runs as "
            "independent, are too narrow. Those of the sources of luck know of the grid, and take effects as normal: "
            "with heavy-tailed ones that of an interaction holds the truth in 57 to 75 % of cases, not in 95."
        )
    if cohort.lost and runs:
        noun = runs_noun([lost.seed for lost in cohort.lost])
        notes.append(
            f"{capital(counted(len(cohort.lost), noun))} {_lost_words(cohort)} and "
            f"{'is' if len(cohort.lost) == 1 else 'are'} not counted: the measures speak of the other runs alone."
        )
    notes += failure_notes(cohort)
    if cohort.groups is not None and runs:
        notes.append(_group_note(cohort))
    return notes


def failure_notes(cohort: Cohort) -> list[str]:
    """Say how many runs may fail, of which no interval knows; nothing where that need not be said."""
    words = failure_words(cohort) if len(cohort) > 1 else ""
    return [f"{capital(words)}. The intervals know of no failure but those that were seen."] if words else []


def _lost_words(cohort: Cohort) -> str:
    # Outputs that are NaN throughout are those of a run that went to its end.
    diverged = [run.status == "diverged" for run in cohort.lost]
    return "diverged" if all(diverged) else "diverged or did not finish" if any(diverged) else "did not finish"


def _group_note(cohort: Cohort) -> str:
    """Say that examples belong together, and what that leaves unknown."""
    size = size_words(cohort)
    if one_group(cohort):
        return f"{size}: nothing is known of other groups, so no measure has an interval."
    few = count_groups(cohort) < _FEW_GROUPS
    doubt = f"; fewer than {_FEW_GROUPS} groups say little of others" if few else ""
    return f"{size}: intervals and tests draw whole groups{doubt}."


def score_notes(cohort: Cohort) -> list[str]:
    """Say where the intervals of the scores cannot speak of other examples, and those of the rest speak too boldly."""
    if len(cohort) < 2 or not varies(cohort.scores) or weighted_scores(cohort) is not None:
        return []
    notes = [
        f"The {cohort.metric} of drawn examples is unknown: the intervals of the mean score and its SD speak of other "
        "seeds on the same examples."
    ]
    if cohort.predictions is not None and cohort.groups is None:
        notes[0] += (
            " Those of the prediction measures take examples as independent, and are too narrow where a metric reads "
            "groups of them."
        )
    return notes


def prediction_notes(cohort: Cohort) -> list[str]:
    """Say why the prediction measures are missing, or where they mislead."""
    if len(cohort) < 2:
        return []
    if KINDS[cohort.kind].has_numbers:
        return _regression_notes(cohort)
    if KINDS[cohort.kind].has_texts:
        return ["Generated texts have no classes: kappa does not apply, and disagreement counts texts that differ."]
    if cohort.predictions is None:
        return ["No logits were recorded: disagreement, kappa and Jensen-Shannon are unknown."]
    if np.ptp(cohort.predictions) == 0:
        return ["All runs give one single answer to all examples: kappa is 0/0 and counts as full agreement."]
    return []


def _regression_notes(cohort: Cohort) -> list[str]:
    """Say what a regression has in the place of the measures of classes, or why it has nothing."""
    numbers = predicted_numbers(cohort)
    instead = "pairwise RMSE, 1 - Pearson and 1 - ICC"
    if numbers is None:
        return [f"No predictions were recorded: {instead} are unknown."]
    notes = [
        f"A regression predicts no classes: {instead} stand in the place of disagreement, kappa and Jensen-Shannon."
    ]
    constant = [seed for seed, run in zip(cohort.seeds, numbers, strict=True) if np.ptp(run) == 0]
    if constant:
        verb = "predicts" if len(constant) == 1 else "predict"
        notes.append(
            f"{capital(named_runs(constant, cohort.seeds))} {verb} one single number for all examples: its correlation "
            "with others is 0/0 and counts as none, but as full agreement with a run that predicts the same."
        )
    if numbers.shape[1] < 2:
        notes.append("ICC needs at least two examples, there is 1.")
    return notes


def representation_notes(
    cohort: Cohort, values: Sequence[Value], distances: Mapping[str, NDArray[np.float64]]
) -> list[str]:
    """Say why the representation measures are missing, or where they mislead.

    Args:
        cohort: The runs.
        values: Their representation measures.
        distances: Measure -> (L, K, K); empty where no representations were compared.
    """
    if len(cohort) < 2:
        return []
    runs = cohort.representations
    if runs is None:
        if cohort.frozen_encoder:
            return ["All runs share one frozen encoder, and its states: SVCCA, Procrustes and CKA do not apply."]
        return ["No representations were recorded: SVCCA, Procrustes and CKA are unknown."]
    if not distances:
        finite = [np.isfinite(run).all(axis=(-2, -1)) for run in runs]
        broken = [seed for seed, good in zip(cohort.seeds, finite, strict=True) if not good.all()]
        layers = [at for at, good in enumerate(np.logical_and.reduce(finite).reshape(-1), start=1) if not good]
        return [
            f"Representations of {named_runs(broken, cohort.seeds)} are not finite at {_layers(layers)}: SVCCA, "
            f"Procrustes and CKA are unknown. Half precision ends at {_HALF_PRECISION_LIMIT}: record them in float32."
        ]
    notes = []
    examples, features = runs[0].shape[-2], max(run.shape[-1] for run in runs)
    if examples < features:
        notes.append(
            f"SVCCA is vacuous with fewer examples ({examples}) than dimensions ({features}): even unrelated runs "
            "score near 0. Procrustes is biased downwards; read both beside their null."
        )
    if examples < 4:
        notes.append(f"CKA needs at least four examples, there {'is' if examples == 1 else 'are'} {examples}.")
    elif examples < 8:
        notes.append(f"CKA has no interval: halves of {examples} examples are too few to measure it.")
    # Distinct directions give at least a rounding error less than 1: exactly 1 is how a collapsed run is scored.
    collapsed = [layer for layer, matrix in enumerate(distances["procrustes"], start=1) if matrix.max() == 1]
    if collapsed:
        notes.append(
            f"At {_layers(collapsed)} the representations of a run are the same for every example: such a run counts "
            "as at distance 1 from the others."
        )
    # What is said of SVCCA above covers its null.
    readable = [measure for measure in _TITLES if measure != "svcca" or examples >= features]
    return notes + [note for measure in readable if (note := _near_null(measure, values))]


def _near_null(measure: str, values: Sequence[Value]) -> str | None:
    near = [value for value in values if value.measure == measure and value.value > NEAR_NULL * value.null > 0]
    if not near:
        return None
    last = near[-1]
    return (
        f"{_TITLES[measure]} is above 80 % of its permutation null at {_layers([value.layer for value in near])} "
        f"({last.value:.3f} of {last.null:.3f} at layer {last.layer}): it hardly tells these runs from unrelated ones."
    )


def _layers(layers: Sequence[int | None]) -> str:
    return f"layer{'' if len(layers) == 1 else 's'} {listed(layers)}"
