"""Base classes of measures: their facts, and how a value is computed from the runs of a cohort.

A measure is one object in one file; everything else (intervals, comparisons, tables, figures, the validity analyses)
reads what it declares. There are four shapes:

- `PairMeasure`: a mean over examples for every pair of runs. It gives a table (P, N), or anything with weighted means.
- `CombinedMeasure`: a number computed from such means and from sums of its own, such as Fleiss' kappa.
- `LayerMeasure`: a distance of the representations of two runs at one layer.
- `SpreadMeasure`: a spread of the scores.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.kinds import KINDS

from .inputs import Float64Array
from .pairs import pair_shares, square

Level = Literal["score", "prediction", "representation"]
LEVELS: tuple[Level, ...] = ("score", "prediction", "representation")


class Candidates(NamedTuple):
    """What runs know of next-token distributions at a few words, see `candidates.candidate_divergences`.

    Attributes:
        log_probabilities: K arrays (T, C), the exact part first.
        weights: (T, C).
        exact: Number of words of the exact part.
    """

    log_probabilities: Sequence[NDArray[Any]]
    weights: NDArray[Any]
    exact: int


class Tokens(NamedTuple):
    """Next-token distributions of runs that all read the same T tokens.

    Attributes:
        logits: K arrays (T, V), or candidate words in their place.
        counts: (N,) number of the T tokens that belong to each example, in order.
    """

    logits: Sequence[NDArray[Any]] | Candidates
    counts: NDArray[np.int64]

    def take(self, examples: NDArray[np.int64]) -> Tokens:
        """Return the tokens of some of the examples."""
        rows, given = _token_rows(self.counts, examples), self.logits
        if not isinstance(given, Candidates):
            return Tokens([run[rows] for run in given], self.counts[examples])
        words = Candidates([run[rows] for run in given.log_probabilities], given.weights[rows], given.exact)
        return Tokens(words, self.counts[examples])

    def of_runs(self, order: Sequence[int]) -> Tokens:
        """Return the tokens of some of the runs."""
        given = self.logits
        if not isinstance(given, Candidates):
            return self._replace(logits=[given[run] for run in order])
        return self._replace(logits=given._replace(log_probabilities=[given.log_probabilities[run] for run in order]))


class Choices(NamedTuple):
    """The likeliest next words of runs that all read the same T tokens.

    Attributes:
        words: K arrays (T,) of integers.
        counts: (N,) number of the T tokens that belong to each example, in order.
    """

    words: Sequence[NDArray[Any]]
    counts: NDArray[np.int64]

    def take(self, examples: NDArray[np.int64]) -> Choices:
        """Return the choices at the tokens of some of the examples."""
        rows = _token_rows(self.counts, examples)
        return Choices([run[rows] for run in self.words], self.counts[examples])

    def of_runs(self, order: Sequence[int]) -> Choices:
        """Return the choices of some of the runs."""
        return self._replace(words=[self.words[run] for run in order])


def _token_rows(counts: NDArray[np.int64], examples: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the places of the tokens of some of the examples, in the order of these."""
    ends = np.cumsum(counts)
    parts = [np.arange(ends[n] - counts[n], ends[n]) for n in examples]
    return np.concatenate(parts).astype(np.intp)


@dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs of K runs on the same N examples. Unknown parts are None.

    Attributes:
        predictions: (K, N) classes or choices.
        probabilities: (K, N, C).
        numbers: (K, N) predictions of a regression.
        generations: K sequences of N texts.
        tokens: Next-token distributions.
        choices: The likeliest next words.
        sets: (K, N, L) whether an answer has each label.
        label_probabilities: (K, N, L) of each label by itself.
    """

    predictions: NDArray[np.int64] | None = None
    probabilities: Float64Array | None = None
    numbers: Float64Array | None = None
    generations: Sequence[Sequence[str]] | None = None
    tokens: Tokens | None = None
    choices: Choices | None = None
    sets: NDArray[np.bool_] | None = None
    label_probabilities: Float64Array | None = None
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        for found in (self.predictions, self.probabilities, self.numbers, self.sets, self.label_probabilities):
            if found is not None:
                return found.shape[0], found.shape[1]
        if self.generations is not None:
            return len(self.generations), len(self.generations[0])
        if self.choices is not None:
            return len(self.choices.words), len(self.choices.counts)
        if self.tokens is None:
            return 0, 0
        given = self.tokens.logits
        runs = given.log_probabilities if isinstance(given, Candidates) else given
        return len(runs), len(self.tokens.counts)

    def made(self, name: str, function: Callable[[Any], Any]) -> Any:
        """Return a function's value on an array, computed once for all measures that need it."""
        if (name, function) not in self._made:
            self._made[name, function] = function(getattr(self, name))
        return self._made[name, function]

    def take(self, examples: NDArray[np.int64]) -> Outputs:
        """Return the outputs on some of the examples."""
        texts = self.generations

        def part(array: Any) -> Any:
            return None if array is None else array[:, examples]

        return Outputs(
            predictions=part(self.predictions),
            probabilities=part(self.probabilities),
            numbers=part(self.numbers),
            generations=None if texts is None else [[run[n] for n in examples] for run in texts],
            tokens=None if self.tokens is None else self.tokens.take(examples),
            choices=None if self.choices is None else self.choices.take(examples),
            sets=part(self.sets),
            label_probabilities=part(self.label_probabilities),
        )


# Examples of a table that are averaged at a time, and numbers in a table from which on single precision pays.
_BLOCK, LARGE_TABLE = 2**12, 2**20


class Pairs(ABC):
    """One measure of every pair of runs, on N weighted examples."""

    examples: int

    @abstractmethod
    def means(self, weights: Float64Array) -> Float64Array:
        """Return the measure (R, P) on examples with weights (R, N), for the P = K(K - 1)/2 pairs i < j."""

    def distances(self) -> Float64Array:
        """Return the distances (K, K) on the unweighted examples."""
        return square(self.means(np.ones((1, self.examples)))[0])


class PairTable(Pairs):
    """One measure of every pair of runs on every example, whose mean over examples is the measure.

    Of a million numbers or more, as of 100 runs, means under several weightings are computed in single precision, which
    puts them off by 1e-7 of their size, and those of True and False under whole weights by nothing.

    Args:
        values: (P, N) over the pairs i < j, in the order of `numpy.triu_indices(K, 1)`.
        sizes: (N,) how much each example counts, such as its number of tokens; 1 by default.
        root: Whether the values are squares and a pair's measure is the root of their mean.
        most: Largest mean. An estimate may be above what it estimates can be.
    """

    def __init__(self, values: Any, sizes: Any = None, root: bool = False, most: float = math.inf) -> None:
        given = np.asarray(values)
        # A table of True and False takes an eighth of the memory.
        self.values: NDArray[Any] = given if given.dtype.kind == "b" else np.asarray(given, dtype=np.float64)
        if self.values.ndim != 2 or not np.isfinite(self.values).all():
            raise ValueError(f"a pair table must be finite numbers of shape (P, N), not {self.values.shape}")
        self.examples = self.values.shape[1]
        self.sizes = np.ones(self.examples) if sizes is None else np.asarray(sizes, dtype=np.float64)
        self.root, self.most = root, most
        self._large = self.values.size >= LARGE_TABLE
        # Examples on which all runs agree add nothing, and may be most of them.
        self._differing = np.flatnonzero(self.values.any(axis=0)) if self._large else np.arange(self.examples)
        everywhere = len(self._differing) == self.examples
        self._summed = self.values if everywhere else self.values[:, self._differing]

    def means(self, weights: Float64Array) -> Float64Array:
        """Average over examples with weights (R, N), times their sizes, into (R, P)."""
        counted = weights * self.sizes
        totals = counted.sum(axis=1, keepdims=True)
        if self._large:
            result = self._sums(counted) / totals
        else:
            counted /= totals
            values: Float64Array = self.values.astype(np.float64, copy=False)
            result = counted @ values.T
        limited: Float64Array = np.minimum(np.sqrt(result) if self.root else result, self.most)
        return limited

    def _sums(self, counted: Float64Array) -> Float64Array:
        """Add up a few thousand examples at a time, in single precision if there are several weightings."""
        dtype: Any = np.float32 if len(counted) > 1 else np.float64
        counted = counted if self._summed is self.values else counted[:, self._differing]
        sums = np.zeros((len(counted), len(self.values)))
        for at in range(0, len(self._differing), _BLOCK):
            weights, values = counted[:, at : at + _BLOCK], self._summed[:, at : at + _BLOCK]
            sums += weights.astype(dtype, copy=False) @ values.astype(dtype, copy=False).T
        return sums


class Draw:
    """R cohorts drawn from K runs.

    Attributes:
        counts: (R, K) how often each run counts; rows sum to K.
        published: Whether to follow the analysis of Du & Nguyen (2023), which keeps the pairs of a run with its
            own copy, at distance 0.
    """

    def __init__(self, counts: Float64Array, published: bool = False) -> None:
        self.counts, self.published = counts, published

    @property
    def runs(self) -> int:
        """K."""
        return int(self.counts.shape[1])

    @cached_property
    def shares(self) -> Float64Array:
        """(R, P) weight of each pair of runs."""
        return pair_shares(self.counts, self.published)

    def pair_mean(self, pairs: Float64Array) -> Float64Array:
        """Average (R, P), or (1, P), over the pairs of each draw, into (R,)."""
        result: Float64Array = np.einsum("rp,rp->r", *np.broadcast_arrays(self.shares, pairs))
        return result


class Seen(NamedTuple):
    """What a measure may inspect to warn that its value is misleading.

    Attributes:
        outputs: Outputs of the runs.
        examples: N.
        features: Largest width of the representations; 0 if there are none.
        named: Indices of runs -> their names in a sentence.
    """

    outputs: Outputs
    examples: int
    features: int
    named: Callable[[Sequence[int]], str]


def _nothing(seen: Seen) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """Facts of a measure; higher is less stable, and 0 means that it cannot distinguish the runs.

    Attributes:
        level: What it compares: "score", "prediction" or "representation".
        name: Its name in files and on the command line.
        title: Name on a page, "Linear CKA".
        short: Name in a narrow column, "CKA".
        called: Name within a sentence; the short one by default.
        meaning: Definition, and the meaning of both ends of the range.
        largest: Its largest value; if that depends on the cohort, a function of K >= 2 runs and N examples.
        in_units: Whether its value has the unit of the target and is shown unscaled.
        preference: Of two redundant measures of a level the one with the lower number is recommended. None for a
            measure that the validity analyses leave out.
        averaged: Whether it counts in the mean consistency of a cohort.
        claimed: Whether the verdict covers its difference, which is then tested together with that of the score.
        published: How the analysis of Du & Nguyen (2023) differs, or "".
        doubt: Returns a sentence that says why the value is misleading, or "".
    """

    level: ClassVar[Level]
    name: str
    title: str
    short: str
    called: str = ""
    meaning: str
    largest: float | Callable[[int, int], float] = math.inf
    in_units: bool = False
    preference: int | None = 100
    averaged: bool = True
    claimed: bool = False
    published: str = ""
    doubt: Callable[[Seen], str] = _nothing

    def __post_init__(self) -> None:
        if not self.called:
            object.__setattr__(self, "called", self.short)

    @property
    def judged(self) -> bool:
        """Whether the validity analyses include it."""
        return self.preference is not None

    def most(self, runs: int, examples: int) -> float:
        """Return the largest value of K >= 2 runs on N examples."""
        return self.largest(runs, examples) if callable(self.largest) else self.largest

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs from a cohort, any one of: arrays of `Outputs`, "scores" or "representations"."""
        return ("representations",) if self.level == "representation" else ("scores",)

    def applies_to(self, kind: str) -> bool:
        """Return whether runs of a kind of task can have what it needs."""
        if self.level != "prediction":
            return True
        of = KINDS[kind]
        if of.pair_measures is not None:
            return self.name in of.pair_measures
        return any(name in self.needs for name in of.gives)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpreadMeasure(Measure):
    """A spread of the scores, in their unit.

    Attributes:
        spread: Scores (K,) -> the value; raises ValueError.
        drawn: Scores (R, K) and draws -> (R,), excluding the pairs of a run with its copy.
    """

    level = "score"
    spread: Callable[[Any], float]
    drawn: Callable[[Float64Array, Draw], Float64Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class _OfOutputs(Measure):
    level = "prediction"
    of: Mapping[str, Callable[[Any], Any]]

    @property
    def needs(self) -> tuple[str, ...]:
        """The arrays that it can be computed from."""
        return tuple(self.of)

    def prepared(self, outputs: Outputs) -> Any:
        """Return the result of preparing the first available one of its arrays, or None.

        Raises:
            ValueError: It refuses the array.
        """
        name = next((name for name in self.of if getattr(outputs, name) is not None), None)
        return None if name is None else outputs.made(name, self.of[name])


@dataclass(frozen=True, kw_only=True, eq=False)
class PairMeasure(_OfOutputs):
    """A number for every pair of runs, averaged over the pairs.

    Attributes:
        of: Array of `Outputs` -> function that turns it into a table (P, N) of numbers, or `Pairs`. The first array
            that the runs have is used.
    """

    def pairs(self, outputs: Outputs) -> Pairs | None:
        """Return its weighted means, or None if the runs have none of its arrays.

        Raises:
            ValueError: It refuses the array.
        """
        made = self.prepared(outputs)
        return made if made is None or isinstance(made, Pairs) else PairTable(made)


@dataclass(frozen=True, kw_only=True, eq=False)
class CombinedMeasure(_OfOutputs):
    """A number computed from weighted means of pairs and weighted sums of its own.

    Attributes:
        of: As for `PairMeasure`, but the functions return whatever `sums` takes.
        reads: Names of the pair measures whose means it combines.
        sums: The result of `of` and weights (R, N) -> sums of its own.
        combine: Means (R, P) by measure, its own sums, and draws -> (R,).
    """

    reads: tuple[str, ...]
    sums: Callable[[Any, Float64Array], Any]
    combine: Callable[[Mapping[str, Float64Array], Any, Draw], Float64Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMeasure(Measure):
    """A distance of the representations of two runs at one layer.

    Attributes:
        distance: `distances.Pair` -> the distance, a number or a `distances.Distance`. Neither run has collapsed.
        gap: Bound on the change from omitting directions of low variance; None if it needs all of them.
        least_examples: Number of examples that it needs.
        blind_if_wide: Whether it is uninformative with fewer examples than dimensions.
    """

    level = "representation"
    distance: Callable[[Any], Any]
    gap: Callable[[Any], float] | None = None
    least_examples: int = 2
    blind_if_wide: bool = False
