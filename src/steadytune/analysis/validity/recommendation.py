"""Which measures to report for a study, and why, in sentences.

The rules are the conclusions of Du & Nguyen (2023) (measures of similar granularity agree, and they diverge if runs are
stable: so report several, above all for stable models), and one for each way in which a measure can fail here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from steadytune.analysis.intervals import SIGNIFICANT
from steadytune.analysis.notes import NEAR_NULL
from steadytune.analysis.profile import Profile
from steadytune.analysis.sentences import capital, counted, listed
from steadytune.analysis.validity.consistency import Agreement
from steadytune.analysis.validity.groups import KnownGroups
from steadytune.analysis.validity.subsampling import SHARES, Subsample
from steadytune.analysis.value import Value
from steadytune.kinds import DEFAULT
from steadytune.measures import LEVELS, MEASURES, LayerMeasure, Measure, declared, judged

_ROUNDING = 1e-9
_REDUNDANT = 0.95
_CHANGED = 0.1
_TOGETHER = 0.5
_FEW_RUNS = 10
_PLURAL = {"was": "were", "is": "are", "does": "do", "reaches": "reach"}


@dataclass(frozen=True)
class Evidence:
    """The evidence for a recommendation; see `validity.Validation`."""

    profiles: tuple[Profile, ...]
    groups: tuple[KnownGroups, ...]
    subsamples: tuple[Subsample, ...]
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True)
class Recommendation:
    """Which measures to report.

    Attributes:
        report: Measures to report, in the order of `measures.declared`.
        left_out: Measure -> why it is not among them.
        sentences: The recommendation in words.
    """

    report: tuple[str, ...]
    left_out: dict[str, str]
    sentences: tuple[str, ...]


def recommend(evidence: Evidence) -> Recommendation:
    """Choose the measures to report for one model and task.

    A measure is left out for the first reason that applies: it was not measured; it is the same in every pair of runs,
    above all 0; it is SVCCA with fewer examples than dimensions; it is above 80 % of its permutation null in most
    recipes; using half of the examples changes it by more than 10 %, in the same direction in every draw and most
    recipes; over resamples of the runs it correlates at .95 or more (median over recipes) with a measure of its own
    kind that is kept. Score SD is reported wherever scores are known and not all the same, as readers expect it, with a
    warning about what it hides.

    Args:
        evidence: Cohorts of two runs or more, and the analyses of their measures.

    Returns:
        The choice, with its reasons.
    """
    left_out: dict[str, str] = {}
    kept: list[Measure] = []
    # Of two redundant measures the first is kept: the one that needs fewer assumptions or is easier to explain.
    for measure in sorted(judged(), key=lambda one: (LEVELS.index(one.level), one.preference)):
        if measure.level == "score":
            reason = _silence(measure, evidence)
        else:
            reason = _fault(measure, evidence) or _redundancy(measure, kept, evidence)
        if not reason:
            kept.append(measure)
        # Missing measures of classes are explained; those of texts are not, as nobody expects them without texts.
        elif _known(measure, evidence) or measure.applies_to(DEFAULT) or _applies(measure, evidence.profiles):
            left_out[measure.name] = reason
    report = tuple(measure.name for measure in judged() if measure in kept)
    return Recommendation(report, left_out, tuple(_sentences(report, left_out, evidence)))


def _fault(measure: Measure, evidence: Evidence) -> str:
    """Return what is wrong with a single measure, or "" if nothing is known."""
    if silent := _silence(measure, evidence):
        return silent
    known = _known(measure, evidence)
    if isinstance(measure, LayerMeasure) and measure.blind_if_wide and (sizes := _sizes(evidence.profiles)):
        return f"with fewer examples ({sizes[0]}) than dimensions ({sizes[1]}) it is near 0 even for unrelated runs"
    near = [value.value / value.null for value in known if value.value > NEAR_NULL * value.null > 0]
    if 2 * len(near) > len(known):
        return f"it reaches {100 * np.median(near):.0f} % of its value on shuffled examples, so it is mostly noise"
    if change := _systematic_change(measure.name, evidence):
        return f"it changes by {100 * change:+.0f} % on half of the examples, so it depends on their number"
    return ""


def _silence(measure: Measure, evidence: Evidence) -> str:
    """Return why a measure says nothing of these runs, or "": it is unknown, or the same in every pair of them."""
    values = [value.value for value in _known(measure, evidence)]
    if not values:
        return _absence(measure, evidence.profiles)
    found = [profile.distances[measure.name] for profile in evidence.profiles if measure.name in profile.distances]
    last = [one[-1] if one.ndim == 3 else one for one in found]
    pairs = np.concatenate([*(one[np.triu_indices(len(one), 1)] for one in last), []])
    same = pairs.size > 1 and np.ptp(pairs) <= _ROUNDING
    constant = 0.0 if max(map(abs, values)) <= _ROUNDING else pairs[0] if same else None
    return "" if constant is None else f"it is {constant:.3g} in every pair of runs and tells nothing apart"


def _known(measure: Measure, evidence: Evidence) -> list[Value]:
    values = [profile.last(measure.name) for profile in evidence.profiles]
    return [value for value in values if math.isfinite(value.value)]


def _absence(measure: Measure, profiles: Sequence[Profile]) -> str:
    """Return why a measure is unknown."""
    if measure.level == "representation" and all(profile.cohort.frozen_encoder for profile in profiles):
        return "the runs share one frozen encoder, so it does not apply"
    if not _applies(measure, profiles):
        return f"it does not apply to {listed(sorted({profile.cohort.kind for profile in profiles}))}"
    return "it was not measured"


def _applies(measure: Measure, profiles: Sequence[Profile]) -> bool:
    return any(measure.applies_to(profile.cohort.kind) for profile in profiles)


def _redundancy(measure: Measure, kept: Iterable[Measure], evidence: Evidence) -> str:
    for other in kept:
        found = [agreement.between(measure.name, other.name) for agreement in evidence.agreements]
        known = [value for value in found if math.isfinite(value)]
        if other.level == measure.level and known and (r := float(np.median(known))) >= _REDUNDANT:
            return f"it repeats {other.called} (r = {r:.2f} over resampled runs)"
    return ""


def _sizes(profiles: Iterable[Profile]) -> tuple[int, int] | None:
    """Return the numbers of examples and dimensions if there are fewer examples than dimensions."""
    for profile in profiles:
        for run in profile.cohort.representations or ():
            examples, features = run.shape[-2:]
            if examples < features:
                return int(examples), int(features)
    return None


def _systematic_change(measure: str, evidence: Evidence) -> float:
    """Return how far halving the examples changes a measure, at the last evaluated layer; 0 if not systematic.

    A change is systematic if it is large, and in the same direction in every subset, in more than half of the recipes.
    """
    halves = {
        entry.recipe: entry for entry in evidence.subsamples if entry.measure == measure and entry.share == SHARES[0]
    }.values()
    rule = [
        entry.change
        for entry in halves
        if abs(entry.change) > _CHANGED and (min(entry.changes) > 0 or max(entry.changes) < 0)
    ]
    return float(np.median(rule)) if 2 * len(rule) > len(halves) else 0.0


def _sentences(report: tuple[str, ...], left_out: dict[str, str], evidence: Evidence) -> Iterable[str]:
    yield f"Report {listed(_called(report))}." if report else "None of the measures can be recommended."
    for reason in dict.fromkeys(left_out.values()):
        names = _called(measure for measure, why in left_out.items() if why == reason)
        yield f"Leave out {listed(names)}: {reason if len(names) == 1 else _of_several(reason)}."
    spread = [_typical(evidence, "sd", measure) for measure in report if measure != "sd" and "sd" in report]
    known = [value for value in spread if math.isfinite(value)]
    if known:
        mean = float(np.mean(known))
        if mean < _TOGETHER:
            yield (
                f"Score SD alone would mislead: over resampled runs it correlates with the others at only {mean:.2f} "
                "on average, as is usual for stable models."
            )
        else:
            yield f"Score SD correlates with the others here (mean correlation {mean:.2f} over resampled runs)."
    elif "sd" in report and len(report) > 1:
        yield "Whether score SD correlates with the others is unknown: scores do not vary, or there are only two runs."
    if change := _systematic_change("sd", evidence):
        yield f"Compare score SD only at equal numbers of examples: half of them change it by {100 * change:+.0f} %."
    measured = {
        value.measure for profile in evidence.profiles for value in profile.values if value.value == value.value
    }
    if unjudged := [one.called for one in declared() if not one.judged and one.name in measured]:
        yield f"{capital(listed(unjudged))} {'is' if len(unjudged) == 1 else 'are'} measured, but not evaluated here."
    yield from _group_sentences(report, evidence.groups)
    fewest = min(len(profile.cohort) for profile in evidence.profiles)
    if fewest < _FEW_RUNS:
        yield f"All this rests on {counted(fewest, 'run')} per recipe; ten or more may give a different result."


def _of_several(reason: str) -> str:
    """Turn the reason for leaving out one measure into the plural."""
    return re.sub(
        r"\bit (\w+)", lambda found: f"they {_PLURAL.get(found[1], found[1].removesuffix('s'))}", reason
    ).replace("its value", "their values")


def _called(names: Iterable[str]) -> list[str]:
    return [MEASURES[name].called for name in names]


def _typical(evidence: Evidence, measure: str, other: str) -> float:
    found = [agreement.between(measure, other) for agreement in evidence.agreements]
    known = [value for value in found if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _group_sentences(report: tuple[str, ...], groups: tuple[KnownGroups, ...]) -> Iterable[str]:
    for group in groups:
        found = {measure: entry for measure, entry in group.last().items() if measure in report}
        less = [name for name, entry in found.items() if entry.p < SIGNIFICANT and entry.difference > 0]
        more = [name for name, entry in found.items() if entry.p < SIGNIFICANT and entry.difference < 0]
        unsure = [name for name, entry in found.items() if not entry.p < SIGNIFICANT]
        clauses = [
            f"{words} by {listed(_called(names))}"
            for words, names in (
                ("less similar than successful ones", less),
                ("more similar than successful ones", more),
                ("not distinguished from successful ones", unsure),
            )
            if names
        ]
        if clauses:
            yield f"{group.recipe or 'these runs'}: failed runs are {listed(clauses)}."
