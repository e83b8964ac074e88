"""Scores of runs: recorded, computed from the answers, or both, which must then agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS
from steadytune.metrics.base import Answers, Float64Array, Metric, Scale
from steadytune.metrics.positive import default_positive, find_positive
from steadytune.metrics.sets import constant_sets
from steadytune.metrics.table import (
    METRICS,
    is_score,
    known_metric,
    plain_name,
    preferred,
    recorded,
    varies_by_tool,
)
from steadytune.metrics.texts import TEXTS, constant_texts

UNNAMED = "score"
"""Name of a score whose metric is unknown."""

_ROUNDING = 1e-5
# Why a class was taken as the positive one by default.
_FITS = "it reproduces the recorded scores"
_MANY = 5


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of K runs.

    Attributes:
        metric: Name of the metric, "score" if unknown.
        values: (K,), all NaN if unknown.
        constant: Score of the best constant answer, or None if unknown.
        failed: (K,) which runs score no better than that, or None if unknown.
        positive: The positive class of the metric, or None if it has none.
        notes: What a reader should know about their origin, one sentence each.
    """

    metric: str
    values: Float64Array
    constant: float | None = None
    failed: Any = None
    positive: int | None = None
    notes: tuple[str, ...] = ()


def score(
    answers: Answers,
    runs: Sequence[str],
    held: Mapping[str, Any] | None = None,
    *,
    metric: str | None = None,
    positive: str | int | None = None,
    label_names: Sequence[str] | None = None,
) -> Scored:
    """Score K runs.

    Args:
        answers: Answers of the runs, with no positive class chosen.
        runs: Their names.
        held: Recorded scores by name, K values each.
        metric: A recorded score or a metric. By default the preferred one of the recorded scores
            that is not a loss, otherwise a metric computed from predictions and labels, otherwise a recorded loss.
        positive: Name or number of the positive class; for the default see `default_positive`.
        label_names: Name of each class.

    Raises:
        UserError: The metric is unknown or cannot be computed, or a recorded score is out of range; names the run.
    """
    held = {name: np.asarray(values, dtype=np.float64) for name, values in (held or {}).items()}
    if positive is not None and answers.classes:
        answers = replace(answers, positive=find_positive(positive, label_names, answers.classes))
    name = _chosen(answers, runs, held, metric)
    if name is None:
        return Scored(UNNAMED, np.full(len(runs), np.nan), notes=tuple(_unused(positive)))
    notes = _other_scores(name, held, metric)
    if name in held:
        found = _agreed(name, held[name], answers, runs, label_names)
        notes += found.notes
    else:
        answers, why = _with_positive(name, answers, label_names)
        found = _computed(METRICS[name], answers)
        notes += _named_positive(found, label_names, why)
    if found.positive is None:
        notes += _unused(positive, found.metric)
    return _with_notes(found, notes)


def _unused(positive: str | int | None, metric: str = "") -> list[str]:
    """Note that the chosen positive class is not used."""
    if positive is None:
        return []
    why = f"{metric} does not single out a class" if metric else "there is no score"
    return [f"The positive class {positive} is not used: {why}."]


def constant_score(metric: Metric, answers: Answers) -> float | None:
    """Return the score of the best predictor that always gives the same answer.

    The answer is the most frequent class, or position of a choice, among the labels themselves, for a log loss their
    frequencies; of sets of labels the one that scores best; for a regression the mean, for absolute errors the median,
    and 0 for correlations by definition. A grouped metric that chooses one example per question chooses the first,
    because all are equal. Of texts it is the best of the ten most frequent references, see `constant_texts`. None if it
    is unknown what is right, as where a harness judged texts by something else than the references, and for a metric of
    texts that reads more than texts and references, as the loss does.
    """
    if KINDS[answers.kind].has_texts:
        return _constant_text(metric, answers)
    if answers.labels is None:
        return None
    labels = np.asarray(answers.labels)
    if KINDS[answers.kind].has_numbers:
        value = np.median(labels) if metric.constant == "median" else np.mean(labels)
        one = replace(answers, logits=np.full((1, len(labels), 1), float(value)))
        return 0.0 if metric.lowest == -1 else float(metric.plain(one, len(labels))[0])
    if KINDS[answers.kind].has_sets:
        sets = np.broadcast_to(constant_sets(labels)[:, None], (labels.shape[1] + 2, *labels.shape))
        tried = replace(answers, logits=None, given_predictions=None, given_probabilities=sets.astype(np.int8))
        return float(metric.best(metric.plain(tried, len(labels))))
    counts = np.bincount(labels.astype(np.int64), minlength=max(2, answers.classes))
    row = counts / counts.sum() if metric.constant == "shares" else np.eye(len(counts))[counts.argmax()]
    one = replace(answers, logits=None, given_predictions=None, given_probabilities=np.tile(row, (1, len(labels), 1)))
    return float(metric.plain(one, len(labels))[0])


def _constant_text(metric: Metric, answers: Answers) -> float | None:
    if answers.references is None or set(metric.needs_of(answers.kind)) != set(TEXTS):
        return None
    size = len(answers.references)
    tried = replace(answers, texts=[[text] * size for text in constant_texts(answers)])
    return float(metric.best(metric.plain(tried, size))) if tried.texts else None


def computable(name: str, answers: Answers) -> Metric | None:
    """Return the metric of that name, ignoring its prefix, if it can be computed from the answers; otherwise None."""
    found = known_metric(name)
    return found if found is not None and found.missing(answers) is None else None


def _chosen(answers: Answers, runs: Sequence[str], held: Mapping[str, Any], asked: str | None) -> str | None:
    of = KINDS[answers.kind]
    natural = next((name for name in (*of.metrics, *of.task_metrics) if computable(name, answers)), None)
    if asked is None:
        best = preferred(list(held), answers.kind)
        losing = best is None or recorded(best).higher_is_better is False
        # For a regression an error may be all that was recorded, but a classification loss is not used if there is a
        # score.
        return natural if natural is not None and losing else best
    if asked in held:
        return asked
    if (same := [name for name in held if plain_name(name) == plain_name(asked)]) != []:
        return same[0]
    if plain_name(asked) in METRICS:
        asked = plain_name(asked)
    if asked not in METRICS and any(map(is_score, held)):
        raise UserError(f"score '{asked}' is not recorded in every run, only {', '.join(filter(is_score, held))}")
    if asked not in METRICS:
        raise unknown_name("metric", asked, [name for name, one in METRICS.items() if answers.kind in one.kinds])
    missing = METRICS[asked].missing(answers)
    if missing is not None:
        offered = [*filter(is_score, held), *(name for name in METRICS if computable(name, answers))]
        instead = f"; available: {', '.join(offered)}" if offered else ""
        where = f"{runs[0]}: " if runs else ""
        raise UserError(f"{where}metric '{asked}' needs {missing}, and no score of that name was recorded{instead}")
    return asked


def _other_scores(name: str, held: Mapping[str, Any], asked: str | None) -> list[str]:
    others = [other for other in held if other != name and is_score(other)]
    if asked is not None or not others:
        return []
    shown = ", ".join(others[:_MANY]) + (", ..." if len(others) > _MANY else "")
    origin = "recorded" if name in held else "computed from predictions and labels"
    return [f"The score is {name}, {origin}; there {'is' if len(others) == 1 else 'are'} also {shown} (--metric NAME)."]


def _with_positive(name: str, answers: Answers, names: Sequence[str] | None) -> tuple[Answers, str]:
    metric = METRICS[name]
    if not metric.has_positive or answers.positive is not None or answers.classes != 2:
        return answers, ""
    number, why = default_positive(names, answers.labels)
    return replace(answers, positive=number), why


def _computed(metric: Metric, answers: Answers) -> Scored:
    values = metric.plain(answers, answers.examples)
    constant = constant_score(metric, answers)
    if constant is not None and np.isnan(constant):
        constant = None
    failed = None if constant is None else metric.no_better(values, constant)
    positive = answers.positive if metric.has_positive and (metric.binary or answers.positive is not None) else None
    return Scored(metric.name, values, constant, failed, positive)


def _named_positive(found: Scored, names: Sequence[str] | None, why: str) -> list[str]:
    if found.positive is None or not why:
        return []
    name = f"'{names[found.positive]}'" if names else str(found.positive)
    return [f"{found.metric} is computed for class {name} ({why}): choose another with --positive NAME."]


def _with_notes(found: Scored, notes: Sequence[str]) -> Scored:
    return replace(found, notes=tuple(notes))


def _agreed(
    name: str, values: Float64Array, answers: Answers, runs: Sequence[str], names: Sequence[str] | None
) -> Scored:
    """Return recorded scores, or the computed ones if they agree up to rounding."""
    candidates = _candidates(name, answers, names)
    for metric, given, why in candidates:
        found = _computed(metric, given)
        percent = not same(values, found.values)
        if not percent or same(values, found.values, percent=True):
            notes = _named_positive(found, names, why)
            if percent:
                notes.append(f"The recorded {name} is in per cent ({_listed(values)}) and was read as such.")
            if metric.name not in (plain_name(name), name):
                notes.append(f"The recorded {name} equals the {metric.name} of predictions and labels.")
            return _with_notes(found, notes)
    values, notes = in_fractions(recorded(name), values, runs)
    if not notes and varies_by_tool(name):
        notes = [f"The recorded {name} ({_listed(values)}) was read as a fraction of 1, not in per cent."]
    # A class tried only to reproduce the recorded scores is not reported if it does not.
    chosen = [candidate for candidate in candidates if candidate[2] != _FITS]
    if plain_name(name) == UNNAMED or not chosen:
        return Scored(name, values, notes=tuple(notes))
    metric, given, why = chosen[0]
    found = _computed(metric, given)
    notes = [contradiction(name, values, metric, found.values), *_named_positive(found, names, why)]
    return _with_notes(found, notes)


def contradiction(name: str, values: Float64Array, metric: Metric, computed: Float64Array, shown: str = "") -> str:
    """Return the sentence saying that recorded scores contradict the answers.

    Args:
        name: Name of the recorded scores.
        values: (K,) recorded scores.
        metric: Metric that the answers were scored with.
        computed: (K,) computed scores.
        shown: Which of the two is shown; by default the computed ones.
    """
    short = plain_name(name)
    other = "" if short == metric.name else f", and no other {short} reproduces the recorded one"
    told = shown or "the latter is shown"
    if varies_by_tool(name):
        told += f". Tools differ in the variant of {short} (words, case, stemming, smoothing)"
    return (
        f"The recorded {name} ({_listed(values)}) contradicts the predictions and labels of the same runs, whose "
        f"{metric.name} is {_listed(computed)}{other}: {told}. Give a score on other "
        "examples a different name."
    )


def _candidates(name: str, answers: Answers, names: Sequence[str] | None) -> list[tuple[Metric, Answers, str]]:
    """Return what a recorded score may be, most likely first."""
    short = plain_name(name)
    tries: list[tuple[str, int | None]] = [(short, answers.positive)]
    if short == "f1":
        others = range(answers.classes) if answers.positive is None else ()
        tries += [("f1", number) for number in others]
        tries += [("f1_macro", None), ("f1_weighted", None), ("f1_micro", None), ("token_f1", None)]
    if short == UNNAMED:
        tries = [(natural, None) for natural in KINDS[answers.kind].metrics[:1]]
    found = []
    for metric_name, positive in tries:
        given = replace(answers, positive=positive)
        # What an F1 of texts is, only its values can tell.
        guessed = (positive is not None and answers.positive is None) or metric_name == "token_f1" != short
        why = _FITS if guessed else ""
        metric = known_metric(metric_name)
        if metric is not None and positive is None and not guessed:
            given, why = _with_positive(metric_name, given, names)
        if metric is not None and metric.missing(given) is None:
            found.append((metric, given, why))
    return found


def same(recorded_values: Float64Array, computed: Float64Array, percent: bool = False) -> bool:
    """Return whether recorded scores equal the computed ones up to the rounding of the former."""
    factor = 100.0 if percent else 1.0
    decimals = max(0 if percent else 2, *map(_decimals, recorded_values), 0)
    slack = max(_ROUNDING * factor, 0.6 * 10.0**-decimals)
    return bool(np.allclose(recorded_values, factor * computed, rtol=0, atol=slack, equal_nan=True))


def _decimals(value: float) -> int:
    # Stored in single precision, 0.911 is 0.91100001.
    single = np.float32(value)
    text = np.format_float_positional(single if float(single) == value else value, trim="-")
    return len(text.partition(".")[2])


def in_fractions(scale: Scale, values: Float64Array, runs: Sequence[str]) -> tuple[Float64Array, list[str]]:
    """Return recorded scores as fractions if they are shares in per cent, and a note that says so.

    Raises:
        UserError: A score is out of range, or a fraction in some runs and in per cent in others.
    """
    known = np.isfinite(values)
    slack = 1e-6
    if scale.unit == "points" and scale.highest == 1 and (np.abs(values[known]) > 1 + slack).any():
        lowest = -100.0 if scale.lowest is None or scale.lowest < 0 else 0.0
        _check_range(Scale(scale.name, "", lowest, 100.0), values, runs, " as a fraction [0, 1] or in per cent")
        small = known & (np.abs(values) <= 1) & (values != 0)
        said = f"The recorded {scale.name} is in per cent ({_listed(values)}) and was read as such"
        if small.any() and varies_by_tool(scale.name):
            # A run that collapsed may have a BLEU of less than one per cent.
            listed = ", ".join(run for run, few in zip(runs, small, strict=True) if few)
            return values / 100, [f"{said}, also where it is at most 1 per cent ({listed})."]
        if small.any():
            one, other = int(np.flatnonzero(small)[0]), int(np.nanargmax(np.abs(values)))
            raise UserError(
                f"{scale.name} is {values[one]:g} in {runs[one]} but {values[other]:g} in {runs[other]}: "
                "record fractions in all runs, or percentages in all"
            )
        return values / 100, [f"{said}."]
    _check_range(scale, values, runs, "")
    if scale.unit == "points":
        values = np.clip(values, scale.lowest, scale.highest)
    return values, []


def _check_range(scale: Scale, values: Float64Array, runs: Sequence[str], how: str) -> None:
    lowest = -np.inf if scale.lowest is None else scale.lowest
    highest = np.inf if scale.highest is None else scale.highest
    for run, value in zip(runs, values, strict=True):
        if value < lowest - 1e-6 or value > highest + 1e-6:
            ends = f"at least {lowest:g}" if np.isinf(highest) else f"between {lowest:g} and {highest:g}"
            raise UserError(f"{run}: {scale.name} is {value:g} but must be {ends}{how}")


def _listed(values: Float64Array) -> str:
    shown = [f"{value:.4g}" for value in values[:_MANY]]
    return ", ".join(shown) + (", ..." if len(values) > _MANY else "")
