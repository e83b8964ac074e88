"""Figures drawn on demand: distances between all pairs of runs, and the examples on which runs disagree.

Only one recipe is shown at a time, so these figures are compact data that the page's script draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.flips import FlipSummary, answer_name, cohort_votes, is_right, right_answers, summarize_flips
from steadytune.analysis.profile import Profile
from steadytune.analysis.sentences import runs_noun
from steadytune.measures import MEASURES
from steadytune.reporting.naming import called, count, number, shortened

Data = dict[str, Any]
Texts = Mapping[str, Mapping[str, Any]]
"""A cohort's `examples` name -> {"texts": (N,), "labels": class names}."""

DRAWN_EXAMPLES = 300
LISTED_EXAMPLES = 15
_DRAWN_TEXT = 240
_LISTED_TEXT = 500
_ANSWER = 120
_STEPS = 9999


def distance_data(profiles: Sequence[Profile]) -> list[Data]:
    """Return every pairwise distance of every recipe, its runs ordered from best to worst.

    A matrix is stored as its lower triangle in integers 0 to 9999, in units of `unit`: a third of the size.
    """
    return [_distances(profile) for profile in profiles if profile.distances]


def _distances(profile: Profile) -> Data:
    cohort = profile.cohort
    order = np.argsort(-cohort.scores, kind="stable")
    failed = failed_runs(cohort)
    triangle = np.tril_indices(len(order), -1)
    matrices = []
    for measure, distances in profile.distances.items():
        layers = distances if distances.ndim == 3 else distances[None]
        for layer, matrix in enumerate(layers, start=1):
            pairs = np.nan_to_num(matrix[np.ix_(order, order)][triangle])
            unit = float(pairs.max(initial=0)) / _STEPS
            name = MEASURES[measure].title
            matrices.append(
                {
                    "key": f"{measure}:{layer}",
                    "measure": name,
                    "label": f"{name}, block {layer}" if distances.ndim == 3 else name,
                    "unit": unit,
                    "pairs": np.rint(pairs / unit if unit else pairs).astype(int).tolist(),
                }
            )
    return {
        "recipe": called(cohort.recipe),
        "noun": runs_noun(cohort.seeds),
        "runs": [
            {"seed": cohort.seeds[i], "score": number(cohort.scores[i], cohort.scale), "failed": bool(failed[i])}
            for i in order
        ],
        "matrices": matrices,
    }


@dataclass(frozen=True)
class FlippingExample:
    """One example on which the runs of a cohort disagree.

    Attributes:
        index: Its index among the measured examples, from 0.
        text: Its text, shortened, or "".
        label: The right answer, or "".
        votes: Answers with the number of runs that give them, most frequent first.
        share: Share of the runs that do not give the most frequent answer.
        right: Whether the most frequent answer is right; None if unknown.
    """

    index: int
    text: str
    label: str
    votes: tuple[tuple[str, int], ...]
    share: float
    right: bool | None


@dataclass(frozen=True)
class Flips:
    """The examples on which the runs of one recipe disagree, those that flip most first.

    Attributes:
        recipe: Recipe name.
        summary: How the disagreement is distributed over the examples.
        shown: The first examples on which at least one run disagrees with the others.
    """

    recipe: str
    summary: FlipSummary
    shown: tuple[FlippingExample, ...]

    @property
    def flipping(self) -> int:
        """Number of examples on which at least one run disagrees with the others."""
        return self.summary.examples - self.summary.never

    @property
    def words(self) -> str:
        """Summary in a sentence or two."""
        found, runs = self.summary, count(self.summary.runs, "run")
        if not self.flipping:
            return f"all {runs} give the same answer on all {count(found.examples, 'example')}."
        words = (
            f"{self.flipping} of {count(found.examples, 'example')} get different answers from {runs}; on "
            f"{found.coin_toss} at most six in ten runs agree. The tenth of the examples that flip most accounts for "
            f"{round(100 * found.top_share)}\u00a0% of all disagreement."
        )
        if self.flipping > DRAWN_EXAMPLES:
            words += f" The {DRAWN_EXAMPLES} that flip most are drawn."
        if self.flipping > len(self.listed):
            words += f" The {len(self.listed)} that flip most:"
        return words

    @property
    def listed(self) -> tuple[FlippingExample, ...]:
        """Those that the page lists with their texts."""
        return self.shown[:LISTED_EXAMPLES]


def flips(profile: Profile, texts: Texts) -> Flips | None:
    """Return the flipping examples of one recipe, or None if there are no answers to compare."""
    cohort = profile.cohort
    votes = cohort_votes(cohort)
    if votes is None:
        return None
    summary = summarize_flips(votes)
    rates, right = votes.flip_rate, right_answers(cohort)
    stored = texts.get(cohort.examples, {})

    def example(index: int) -> FlippingExample:
        written = stored.get("texts", ())
        return FlippingExample(
            index=index,
            text=shortened(written[index], _LISTED_TEXT) if index < len(written) else "",
            label="" if right is None else shortened(answer_name(cohort, right[index], stored), _ANSWER),
            votes=tuple(
                (shortened(answer_name(cohort, answer, stored), _ANSWER), runs) for answer, runs in votes.of(index)
            ),
            share=float(rates[index]),
            right=None if right is None else is_right(votes.of(index)[0][0], right[index]),
        )

    order = np.argsort(-rates, kind="stable")[: min(summary.examples - summary.never, DRAWN_EXAMPLES)]
    return Flips(called(cohort.recipe), summary, tuple(map(example, order.tolist())))


def flip_data(found: Sequence[Flips]) -> list[Data]:
    """Return the data of the flipping examples for the page's script."""
    return [
        {
            "recipe": flipped.recipe,
            "examples": [
                {
                    "index": example.index,
                    "share": round(100 * example.share, 2),
                    "label": example.label,
                    "right": example.right,
                    "votes": example.votes,
                    "text": shortened(example.text, _DRAWN_TEXT),
                }
                for example in flipped.shown
            ],
        }
        for flipped in found
    ]
