"""Examples that flip: how the runs of a cohort vote on each, and how few of them account for the disagreement.

Answers are predicted classes or choices, or generated texts (equal texts are one answer). A regression has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from steadytune.analysis.scores import count_examples
from steadytune.kinds import KINDS
from steadytune.measures.text import several
from steadytune.records import Cohort

COIN_TOSS = 0.4
"""Flip rate at which an example counts as a coin toss: at most six in ten runs agree on it."""

_FEW = 0.1


@dataclass(frozen=True, eq=False)
class Votes:
    """The answers of K runs to N examples, one entry per example and distinct answer.

    Attributes:
        example: (V,) the example, from 0, ascending; its most frequent answer comes first, ties in ascending order.
        answer: (V,) the answer.
        count: (V,) how many runs give it.
        runs: K.
    """

    example: NDArray[np.int64]
    answer: NDArray[Any]
    count: NDArray[np.int64]
    runs: int

    @property
    def majority(self) -> NDArray[Any]:
        """(N,) the most frequent answer."""
        return self.answer[np.flatnonzero(np.diff(self.example, prepend=-1))]

    @property
    def flip_rate(self) -> NDArray[np.float64]:
        """(N,) share of the runs that do not give the most frequent answer, 1 - max_a v_a / K, within [0, 1 - 1/K]."""
        first = np.flatnonzero(np.diff(self.example, prepend=-1))
        rates: NDArray[np.float64] = 1 - self.count[first] / self.runs
        return rates

    @property
    def entropy(self) -> NDArray[np.float64]:
        """(N,) entropy of the votes in nats, -sum_a v_a/K ln(v_a/K): 0 if all agree, ln 2 if two answers tie."""
        shares = self.count / self.runs
        return self._sum(-xlogy(shares, shares))

    @property
    def disagreement(self) -> NDArray[np.float64]:
        """(N,) share of the pairs of runs that answer differently, 1 - sum_a v_a (v_a - 1) / (K (K - 1))."""
        return 1 - self._sum(self.count * (self.count - 1)) / (self.runs * (self.runs - 1))

    def of(self, example: int) -> list[tuple[Any, int]]:
        """Return the answers to one example with the number of runs that give them, most frequent first."""
        low, high = np.searchsorted(self.example, (example, example + 1))
        return list(zip(self.answer[low:high], self.count[low:high].tolist(), strict=True))

    def _sum(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum values over the answers to each example."""
        return np.bincount(self.example, values).astype(np.float64)


_SETS: WeakKeyDictionary[Cohort, dict[int, NDArray[np.bool_]]] = WeakKeyDictionary()
"""Cohort -> number of a set of labels -> which labels it contains."""


class FlipRow(NamedTuple):
    """One line of flips.csv, whose columns are these fields: how the runs of one cohort answer one example.

    Attributes:
        model: Model name.
        task: Task name.
        recipe: Recipe name.
        example: Its index among the measured examples, from 0.
        text: Its text, or "".
        label: The right answer, or "" if unknown.
        majority: The most frequent answer.
        right: Whether the majority is right; None if unknown.
        flip_rate: Share of the runs that do not give it.
        entropy: Entropy of the votes, nats.
        votes: Answers with the number of runs that give them, most frequent first, such as "no: 4, yes: 1".
        margin: Mean over runs of the probability of a run's answer minus that of its second best; for a set of labels,
            that of its least certain label; NaN for texts.
    """

    model: str
    task: str
    recipe: str
    example: int
    text: str
    label: str
    majority: str
    right: bool | None
    flip_rate: float
    entropy: float
    votes: str
    margin: float


@dataclass(frozen=True)
class FlipSummary:
    """How the disagreement of a cohort is spread over its examples.

    Attributes:
        runs: K.
        examples: N.
        never: Number of examples on which all runs agree.
        coin_toss: Number of examples with a flip rate of at least `COIN_TOSS`.
        top_share: Share of all disagreement on the tenth of the examples with most of it; NaN if there is none.
    """

    runs: int
    examples: int
    never: int
    coin_toss: int
    top_share: float


def count_votes(answers: ArrayLike) -> Votes:
    """Count the answers of K runs to N examples.

    Args:
        answers: (K, N) classes or texts.
    """
    array = np.asarray(answers)
    runs, examples = array.shape
    distinct, numbers = np.unique(array, return_inverse=True)
    cells = np.arange(examples) * len(distinct) + numbers.reshape(array.shape)
    cell, count = np.unique(cells, return_counts=True)
    example, answer = np.divmod(cell, len(distinct))
    order = np.lexsort((answer, -count, example))
    return Votes(example[order], distinct[answer[order]], count[order], runs)


def cohort_votes(cohort: Cohort) -> Votes | None:
    """Count the answers of a cohort; None for fewer than two runs or no answers.

    Leading and trailing white space of generated texts is ignored.
    """
    if len(cohort) < 2:
        return None
    if cohort.predictions is not None:
        return count_votes(cohort.predictions)
    if cohort.generations is not None:
        return count_votes(np.array([[text.strip() for text in run] for run in cohort.generations], dtype=object))
    return None


def summarize_flips(votes: Votes) -> FlipSummary:
    """Count the examples on which runs agree, and how concentrated the disagreement is."""
    rates, disagreement = votes.flip_rate, np.sort(votes.disagreement)[::-1]
    total = disagreement.sum()
    few = math.ceil(_FEW * len(rates))
    return FlipSummary(
        runs=votes.runs,
        examples=len(rates),
        never=int(np.count_nonzero(rates == 0)),
        coin_toss=int(np.count_nonzero(rates >= COIN_TOSS)),
        top_share=float(disagreement[:few].sum() / total) if total else math.nan,
    )


def flip_rows(cohorts: Iterable[Cohort], texts: Mapping[str, Mapping[str, Any]]) -> list[FlipRow]:
    """Return flips.csv: every example of every cohort that has answers, those that flip most first.

    Args:
        cohorts: The cohorts.
        texts: A cohort's `examples` name -> {"texts": (N,), "labels": class names}, as `RunStore.examples_named` reads
            them; missing texts are empty, and unnamed classes are shown by number.
    """
    return [
        row
        for cohort in cohorts
        if (votes := cohort_votes(cohort)) is not None
        for row in _rows(cohort, votes, texts.get(cohort.examples, {}))
    ]


def _rows(cohort: Cohort, votes: Votes, stored: Mapping[str, Any]) -> list[FlipRow]:
    rates, entropy, majority, margins = votes.flip_rate, votes.entropy, votes.majority, _margins(cohort)
    known, texts = right_answers(cohort), stored.get("texts", ())
    rows = []
    for n in np.lexsort((np.arange(len(rates)), -rates)).tolist():
        rows.append(
            FlipRow(
                cohort.model,
                cohort.task,
                cohort.recipe,
                n,
                texts[n] if n < len(texts) else "",
                "" if known is None else answer_name(cohort, known[n], stored),
                answer_name(cohort, majority[n], stored),
                None if known is None else is_right(majority[n], known[n]),
                float(rates[n]),
                float(entropy[n]),
                ", ".join(f"{answer_name(cohort, answer, stored)}: {count}" for answer, count in votes.of(n)),
                float(margins[n]),
            )
        )
    return rows


def answer_name(cohort: Cohort, answer: Any, stored: Mapping[str, Any]) -> str:
    """Return a text unchanged, or the name of a class or choice, or its number if unnamed, or the names in a set."""
    if isinstance(answer, str):
        return str(answer)
    if isinstance(answer, tuple):
        return " or ".join(answer)
    names = stored.get("labels", ())
    if KINDS[cohort.kind].has_sets:
        held = _label_numbers(cohort, int(answer))
        return " + ".join(str(names[at]) if at < len(names) else str(at) for at in held) or "none"
    if 0 <= answer < len(names):
        return str(names[answer])
    return f"{KINDS[cohort.kind].answer} {answer}"


def _label_numbers(cohort: Cohort, answer: int) -> list[int]:
    """Return the labels in a set, given by its number, that is an answer or the right one."""
    if cohort not in _SETS:
        sets = cohort.answers.sets
        assert sets is not None
        every = [sets.reshape(-1, sets.shape[-1]), *([] if cohort.labels is None else [cohort.labels != 0])]
        distinct = np.unique(np.concatenate(every), axis=0)
        _SETS[cohort] = dict(zip(KINDS[cohort.kind].coded(distinct).tolist(), distinct, strict=True))
    return np.flatnonzero(_SETS[cohort][answer]).tolist()


def is_right(answer: Any, right: Any) -> bool:
    """Return whether an answer is right, or among several right ones."""
    return bool(answer in right if isinstance(right, tuple) else answer == right)


def right_answers(cohort: Cohort) -> list[Any] | None:
    """Return (N,) right classes, choices or texts, or tuples of accepted texts; None if unknown."""
    if cohort.predictions is None:
        if cohort.references is None:
            return None
        every = [tuple(text.strip() for text in several(reference)) for reference in cohort.references]
        return [texts if len(texts) > 1 else texts[0] for texts in every]
    return None if cohort.labels is None else KINDS[cohort.kind].coded(cohort.labels).tolist()


def _margins(cohort: Cohort) -> NDArray[np.float64]:
    """Return (N,) mean margin of a run's first answer over its second; NaN without probabilities."""
    probabilities = cohort.probabilities
    if probabilities is None:
        return np.full(count_examples(cohort), np.nan)
    if KINDS[cohort.kind].has_sets:
        return np.asarray(np.abs(2 * probabilities - 1).min(axis=-1).mean(axis=0))
    best = np.sort(probabilities, axis=-1)[..., -2:]
    margins: NDArray[np.float64] = (best[..., 1] - best[..., 0]).mean(axis=0)
    return margins
