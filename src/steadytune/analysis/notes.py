"""Notes on what a reader must know before trusting a profile, one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.components import forms_grid
from steadytune.analysis.failures import failure_words
from steadytune.analysis.grouping import count_groups, one_group, size_words
from steadytune.analysis.intervals import varies
from steadytune.analysis.scores import count_examples, unscored_words, weighted_scores
from steadytune.analysis.sentences import capital, counted, listed, named_runs, runs_noun
from steadytune.analysis.value import Value
from steadytune.kinds import KINDS
from steadytune.measures import MEASURES, Outputs, Seen, declared, layer_measures
from steadytune.records import Cohort

NEAR_NULL = 0.8
"""Share of its permutation null above which a representation measure says little more than "unrelated"."""

_WORDS = {
    "predictions": "predictions",
    "probabilities": "probabilities",
    "numbers": "predictions",
    "generations": "texts",
    "tokens": "logits of tokens",
    "choices": "likeliest words at the tokens",
}
_HALF_PRECISION_LIMIT = 65504
_FEW_GROUPS = 10


def run_notes(cohort: Cohort) -> list[str]:
    """Return notes on how the number of runs, and failed runs, affect every measure."""
    notes = []
    runs = len(cohort)
    if runs == 0:
        notes.append("No run finished: nothing can be measured.")
    elif runs == 1:
        notes.append("One run: measuring instability needs at least two.")
    elif runs == 2:
        notes.append("Two runs: no measure has an interval; that needs three.")
    if not cohort.scored:
        notes.append(f"{unscored_words(cohort)}: mean and SD are unknown.")
    elif runs > 1 and not varies(cohort.scores):
        notes.append("All runs have the same score: the mean score and its SD have no interval.")
    if cohort.failed is not None and cohort.failed.any() and runs > 1:
        chosen = [seed for seed, failed in zip(cohort.seeds, cohort.failed, strict=True) if failed]
        notes.append(
            f"{capital(named_runs(chosen, cohort.seeds))} scored no better than a constant answer: failed runs "
            "shift every measure, and the intervals are then too narrow, since they assume runs of one kind."
        )
    if runs > 1 and forms_grid(cohort):
        notes.append(
            "The seeds form a grid: runs share seeds, so the intervals of the measures, which treat runs as "
            "independent, are too narrow. Those of the sources of luck account for the grid but assume normal effects: "
            "with heavy tails, that of an interaction covers the truth in 57 to 75 % of cases, not 95."
        )
    if cohort.lost and runs:
        noun = runs_noun([lost.seed for lost in cohort.lost])
        notes.append(
            f"{capital(counted(len(cohort.lost), noun))} {_lost_words(cohort)} and "
            f"{'is' if len(cohort.lost) == 1 else 'are'} not counted: the measures describe only the other runs."
        )
    notes += failure_notes(cohort)
    if cohort.groups is not None and runs:
        notes.append(_group_note(cohort))
    return notes


def failure_notes(cohort: Cohort) -> list[str]:
    """Return a note on how many runs may fail, which no interval accounts for; empty if not needed."""
    words = failure_words(cohort) if len(cohort) > 1 else ""
    return [f"{capital(words)}. The intervals account only for the failures observed."] if words else []


def _lost_words(cohort: Cohort) -> str:
    # A run that finished with outputs that are all NaN counts as diverged.
    diverged = [run.status == "diverged" for run in cohort.lost]
    return "diverged" if all(diverged) else "diverged or did not finish" if any(diverged) else "did not finish"


def _group_note(cohort: Cohort) -> str:
    """Return a note on grouped examples and what they leave unknown."""
    size = size_words(cohort)
    if one_group(cohort):
        return f"{size}: nothing is known about other groups, so no measure has an interval."
    few = count_groups(cohort) < _FEW_GROUPS
    doubt = f"; fewer than {_FEW_GROUPS} groups say little about others" if few else ""
    return f"{size}: intervals and tests resample whole groups{doubt}."


def score_notes(cohort: Cohort) -> list[str]:
    """Return notes on score intervals that do not cover new examples, and on others that are too narrow."""
    if len(cohort) < 2 or not varies(cohort.scores) or weighted_scores(cohort) is not None:
        return []
    notes = [
        f"The {cohort.metric} of resampled examples is unknown: the intervals of the mean score and its SD cover "
        "other seeds on the same examples only."
    ]
    if cohort.predictions is not None and cohort.groups is None:
        notes[0] += (
            " Those of the prediction measures treat examples as independent, and are too narrow if the metric scores "
            "groups of examples."
        )
    return notes


def prediction_notes(
    cohort: Cohort, outputs: Outputs, values: Sequence[Value], requested: Sequence[str] | None = None
) -> list[str]:
    """Return notes on prediction measures that are missing or may mislead.

    Args:
        cohort: The runs.
        outputs: Their outputs.
        values: Their requested prediction measures.
        requested: Names of all requested measures; None for all.
    """
    if len(cohort) < 2:
        return []
    notes = []
    if unfit := _called(name for name in requested or () if not MEASURES[name].applies_to(cohort.kind)):
        does = "does" if len(unfit) == 1 else "do"
        notes.append(f"{capital(listed(unfit))} {does} not apply to kind '{cohort.kind}'.")
    unknown = [value.measure for value in values if np.isnan(value.value)]
    if unknown and len(unknown) == len(values) and (need := _missing(cohort, unknown[0], outputs)):
        return [*notes, f"No {need} were recorded: {_are_unknown(_called(unknown))}."]
    if requested is None:
        notes = _instead(cohort, outputs, _called(value.measure for value in values))
    seen = _seen(cohort, outputs)
    doubts = {value.measure: MEASURES[value.measure].doubt(seen) for value in values}
    by_need: dict[str, list[str]] = {}
    for name in unknown:
        # A measure's own note on why it is unknown is enough.
        if not doubts[name]:
            by_need.setdefault(_missing(cohort, name, outputs), []).append(name)
    for need, names in by_need.items():
        why = f"No {need} were recorded" if need else "Not determined by these runs"
        notes.append(f"{why}: {_are_unknown(_called(names))}.")
    return notes + [capital(doubt) for doubt in doubts.values() if doubt]


def _called(names: Iterable[str]) -> list[str]:
    return [MEASURES[name].called for name in names]


def _missing(cohort: Cohort, name: str, outputs: Outputs) -> str:
    """Return in words what runs lack for a prediction measure; "" if nothing."""
    needs = [need for need in MEASURES[name].needs if need in KINDS[cohort.kind].gives]
    there = any(getattr(outputs, need) is not None for need in needs)
    return "" if there else " or ".join(_WORDS[need] for need in needs)


def _instead(cohort: Cohort, outputs: Outputs, names: Sequence[str]) -> list[str]:
    """Return notes on what replaces the measures of classes in runs without classes."""
    others = [
        one.called for one in declared("prediction") if not one.applies_to(cohort.kind) and "predictions" in one.needs
    ]
    if outputs.numbers is not None:
        return [f"A regression predicts no classes: {listed(names)} replace {listed(others)}."]
    if outputs.generations is not None:
        apply = "does" if len(others) == 1 else "do"
        return [
            f"Generated texts have no classes: {listed(others)} {apply} not apply, and disagreement counts texts that "
            "differ."
        ]
    return []


def _are_unknown(names: Sequence[str]) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'} unknown"


def _seen(cohort: Cohort, outputs: Outputs) -> Seen:
    states = cohort.representations or ()
    return Seen(
        outputs=outputs,
        examples=count_examples(cohort),
        features=max((run.shape[-1] for run in states), default=0),
        named=lambda runs: named_runs([cohort.seeds[run] for run in runs], cohort.seeds),
    )


def representation_notes(
    cohort: Cohort, values: Sequence[Value], distances: Mapping[str, NDArray[np.float64]]
) -> list[str]:
    """Return notes on representation measures that are missing or may mislead.

    Args:
        cohort: The runs.
        values: Their requested representation measures.
        distances: Measure -> (L, K, K); empty if no representations were compared.
    """
    if len(cohort) < 2 or not values:
        return []
    runs = cohort.representations
    requested = {value.measure for value in values}
    measures = [measure for measure in layer_measures() if measure.name in requested]
    names = [measure.called for measure in measures]
    if runs is None:
        if cohort.frozen_encoder:
            return [f"All runs share one frozen encoder and its hidden states: {listed(names)} do not apply."]
        return [f"No representations were recorded: {_are_unknown(names)}."]
    if not distances:
        finite = [np.isfinite(run).all(axis=(-2, -1)) for run in runs]
        broken = [seed for seed, good in zip(cohort.seeds, finite, strict=True) if not good.all()]
        layers = [at for at, good in enumerate(np.logical_and.reduce(finite), start=1) if not good]
        return [
            f"Representations of {named_runs(broken, cohort.seeds)} are not finite at {_layers(layers)}: "
            f"{_are_unknown(names)}. The largest half-precision number is {_HALF_PRECISION_LIMIT}: record them in "
            "float32."
        ]
    notes = []
    examples, features = runs[0].shape[-2], max(run.shape[-1] for run in runs)
    seen = _seen(cohort, Outputs())._replace(examples=examples)
    for measure in measures:
        if doubt := measure.doubt(seen):
            notes.append(doubt)
        least, name = measure.least_examples, measure.called
        if examples < least:
            there = f"but there {'is' if examples == 1 else 'are'} only {examples}"
            notes.append(f"{name} needs at least {counted(least, 'example')}, {there}.")
        elif examples < 2 * least:
            notes.append(f"{name} has no interval: half of {examples} examples is too few to measure it.")
    # Distinct directions give less than 1 by at least a rounding error: exactly 1 marks a collapsed run.
    collapsed = [
        layer
        for layer, by_measure in enumerate(zip(*distances.values(), strict=True), start=1)
        if (np.fmin.reduce(by_measure) == np.fmax.reduce(by_measure))[np.fmax.reduce(by_measure) == 1].any()
    ]
    if collapsed:
        notes.append(
            f"At {_layers(collapsed)} a run has the same representation for every example: its distance to the "
            "others counts as 1."
        )
    # The note on a blind measure above covers its null.
    readable = [one.name for one in measures if not one.blind_if_wide or examples >= features]
    return notes + [note for measure in readable if (note := _near_null(measure, values))]


def _near_null(measure: str, values: Sequence[Value]) -> str | None:
    near = [value for value in values if value.measure == measure and value.value > NEAR_NULL * value.null > 0]
    if not near:
        return None
    last, layers = near[-1], _layers([value.layer for value in near])
    return (
        f"{MEASURES[measure].called} is above 80 % of its permutation null at {layers} "
        f"({last.value:.3f} of {last.null:.3f} at layer {last.layer}): it hardly distinguishes these runs from "
        "unrelated ones."
    )


def _layers(layers: Sequence[int | None]) -> str:
    return f"layer{'' if len(layers) == 1 else 's'} {listed(layers)}"
