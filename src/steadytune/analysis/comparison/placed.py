"""Compare a single run with several runs of another recipe, which supports only limited conclusions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from steadytune.analysis.distributions import student_quantile
from steadytune.analysis.intervals import FEWEST, LEVEL, Interval, varies
from steadytune.analysis.scores import possible_scores
from steadytune.analysis.sentences import capital, counted, percent, score_range, score_unit, scored, spelled
from steadytune.measures import disagreement
from steadytune.records import Cohort


class Place(NamedTuple):
    """The position of a run among others.

    Attributes:
        expected: Mean score of the others, and the 95 % prediction interval for one further run of theirs if scores
            are normal: m -+ t s sqrt(1 + 1/K). NaN for fewer than three runs or without spread.
        beyond: Whether the run scores above or below all others.
        disagreement: Mean share of answers that differ between it and one of the others; NaN if unknown.
        among: The same between two of the others.
    """

    expected: Interval
    beyond: bool
    disagreement: float
    among: float


def place_run(run: Cohort, others: Cohort) -> Place:
    """Locate a single run among the runs of another recipe.

    Args:
        run: A cohort of one.
        others: K > 1 runs on the same examples.
    """
    scores = others.scores
    expected = Interval(float(scores.mean()), math.nan, math.nan)
    if len(scores) >= FEWEST and varies(scores):
        half = float(
            student_quantile((1 + LEVEL) / 2, len(scores) - 1) * scores.std(ddof=1) * math.sqrt(1 + 1 / len(scores))
        )
        lowest, highest = possible_scores(others)
        expected = Interval(expected.value, max(lowest, expected.value - half), min(highest, expected.value + half))
    beyond = bool(run.scores[0] > scores.max() or run.scores[0] < scores.min())
    apart = among = math.nan
    if run.predictions is not None and others.predictions is not None:
        apart = float((others.predictions != run.predictions[0]).mean())
        among = float(disagreement(others.predictions)[np.triu_indices(len(others), 1)].mean())
    return Place(expected, beyond, apart, among)


def describe_place(run: Cohort, others: Cohort) -> list[str]:
    """Describe where a single run lies among the runs of another recipe, and what remains unknown."""
    found, scale, count = place_run(run, others), run.scale, len(others)
    sentences = []
    if run.scored and others.scored:
        low, high = (scored(float(end), scale) for end in (others.scores.min(), others.scores.max()))
        sd = scored(float(others.scores.std(ddof=1)), scale)
        words = (
            f"{run.metric_name}: {run.recipe} {scored(float(run.scores[0]), scale)}; {counted(count, 'run')} of "
            f"{others.recipe} {low} to {high}, mean {scored(found.expected.value, scale)}, SD {sd}{score_unit(scale)}."
        )
        if found.expected.low == found.expected.low:
            inside = found.expected.low <= run.scores[0] <= found.expected.high
            lies = "inside" if inside else "outside"
            words += (
                f" If scores are normal, another run of {others.recipe} would lie "
                f"in{score_range(found.expected, scale)} in 95 of 100 cases: {run.recipe} lies {lies}."
            )
        else:
            words += f" {capital(counted(count, 'run'))} cannot predict where another would lie."
        if found.beyond:
            words += (
                f" It lies outside the range of all {spelled(count)}; by chance alone one run in "
                f"{(count + 1) / 2:g} does ({percent(2 / (count + 1))})."
            )
        sentences.append(words)
    if found.disagreement == found.disagreement:
        sentences.append(
            f"{run.recipe} and a run of {others.recipe} answer {percent(found.disagreement)} of the examples "
            f"differently; two runs of {others.recipe} {percent(found.among)}."
        )
    sentences.append(
        f"One run says nothing about other seeds of {run.recipe}: train more runs, and compare two folders."
    )
    return sentences
