"""What the page draws on demand: the distance between any two runs, and the examples on which runs disagree.

One recipe is looked at at a time, so these figures are compact data that the page's script turns into a drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.failures import failed_runs
from steadytune.analysis.profile import Profile
from steadytune.analysis.wording import runs_noun
from steadytune.records import Cohort
from steadytune.report.words import MEASURES, called, number, shortened

Data = dict[str, Any]
Texts = Mapping[str, Mapping[str, Any]]
"""A cohort's `examples` name -> {"texts": (N,), "labels": class names}."""

DRAWN_EXAMPLES = 300
LISTED_EXAMPLES = 15
_DRAWN_TEXT = 240
_LISTED_TEXT = 500
_STEPS = 9999


def distance_data(profiles: Sequence[Profile]) -> list[Data]:
    """Return every pairwise distance of every recipe, its runs ordered from best to worst.

    A matrix is its lower triangle as integers 0 to 9999 in units of `unit`: a third of the size of the numbers.
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
            {"seed": cohort.seeds[i], "score": number(cohort.scores[i], points=True), "failed": bool(failed[i])}
            for i in order
        ],
        "matrices": matrices,
    }


@dataclass(frozen=True)
class FlippingExample:
    """One example on which the runs of a cohort do not agree.

    Attributes:
        index: Its place in the measured examples, from 0.
        text: Its text, shortened, or "".
        label: The right answer, or "".
        votes: Answers with the number of runs that give them, most frequent first.
        share: Share of the runs that do not give the most frequent answer.
    """

    index: int
    text: str
    label: str
    votes: tuple[tuple[str, int], ...]
    share: float

    @property
    def right(self) -> bool | None:
        """Whether the most frequent answer is the label; None where the label is unknown."""
        return self.votes[0][0] == self.label if self.label else None


@dataclass(frozen=True)
class Flips:
    """The examples on which the runs of one recipe disagree, those that flip most first.

    Attributes:
        recipe: Recipe name.
        runs: K.
        examples: N.
        flipping: On how many examples at least one run disagrees with the others.
        shown: The first of them.
    """

    recipe: str
    runs: int
    examples: int
    flipping: int
    shown: tuple[FlippingExample, ...]

    @property
    def listed(self) -> tuple[FlippingExample, ...]:
        """Those that the page lists with their texts."""
        return self.shown[:LISTED_EXAMPLES]


def flips(profile: Profile, texts: Texts) -> Flips | None:
    """Return the flipping examples of one recipe, or None where there are no predictions to compare."""
    predictions = profile.cohort.predictions
    if profile.flips is None or predictions is None:
        return None
    order = np.argsort(-profile.flips, kind="stable")
    flipping = int(np.count_nonzero(profile.flips))
    stored = texts.get(profile.cohort.examples, {})
    chosen = order[: min(flipping, DRAWN_EXAMPLES)]
    return Flips(
        recipe=called(profile.cohort.recipe),
        runs=len(predictions),
        examples=len(order),
        flipping=flipping,
        shown=tuple(_example(profile, predictions, int(index), stored) for index in chosen),
    )


def _example(
    profile: Profile, predictions: NDArray[np.int64], index: int, stored: Mapping[str, Any]
) -> FlippingExample:
    classes, amounts = np.unique(predictions[:, index], return_counts=True)
    votes = sorted(zip(classes.tolist(), amounts.tolist(), strict=True), key=lambda vote: (-vote[1], vote[0]))
    texts, labels = stored.get("texts", ()), profile.cohort.labels
    return FlippingExample(
        index=index,
        text=shortened(texts[index], _LISTED_TEXT) if index < len(texts) else "",
        label="" if labels is None else _answer(profile.cohort, int(labels[index]), stored),
        votes=tuple((_answer(profile.cohort, label, stored), amount) for label, amount in votes),
        share=float(profile.flips[index]) if profile.flips is not None else 0.0,
    )


def _answer(cohort: Cohort, label: int, stored: Mapping[str, Any]) -> str:
    names = stored.get("labels", ())
    if 0 <= label < len(names):
        return str(names[label])
    return f"{'choice' if cohort.kind == 'choice' else 'class'} {label}"


def flip_data(found: Sequence[Flips]) -> list[Data]:
    """Return what the page's script draws of the flipping examples."""
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
