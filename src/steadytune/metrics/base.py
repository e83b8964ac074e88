"""Metrics, scales of scores, and the answers of runs that are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, one_line
from steadytune.kinds import KINDS

Float64Array = NDArray[np.float64]
Scores = Callable[[Float64Array], Float64Array]
"""Weights (R, N), not all zero in a row -> scores (R, K)."""

Unit = Literal["points", ""]
_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Answers:
    """What K runs answered to N examples, and what is right. Unknown parts are None.

    Attributes:
        kind: Name of the kind of task.
        logits: (K, N, C); for a regression (K, N, 1).
        given_probabilities: (K, N, C), if there are no logits.
        given_predictions: (K, N) classes, if there are neither.
        labels: (N,) classes; for a regression targets.
        texts: K sequences of N texts.
        references: N texts, or tuples of equally valid texts.
        target_log_probabilities: K arrays (T,), what each run gives the target tokens of all examples in sequence.
        token_counts: (N,) number of the T tokens of each example.
        questions: (N,) integers: grouped metrics score examples with the same number together.
        credit: (N,) credit for choosing this example in its question.
        label_names: Name of each class.
        positive: The positive class of F1, ROC AUC and average precision, or None if not chosen.
    """

    kind: str
    logits: NDArray[Any] | None = None
    given_probabilities: NDArray[Any] | None = None
    given_predictions: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    texts: Sequence[Sequence[str]] | None = None
    references: Sequence[str | tuple[str, ...]] | None = None
    target_log_probabilities: Sequence[NDArray[Any]] | None = None
    token_counts: NDArray[Any] | None = None
    questions: NDArray[Any] | None = None
    credit: NDArray[Any] | None = None
    label_names: tuple[str, ...] | None = None
    positive: int | None = None

    @property
    def outputs(self) -> NDArray[Any] | None:
        """Logits, or otherwise probabilities."""
        return self.given_probabilities if self.logits is None else self.logits

    @property
    def runs(self) -> int:
        """K."""
        given = (
            self.logits,
            self.given_probabilities,
            self.given_predictions,
            self.texts,
            self.target_log_probabilities,
        )
        return next((len(found) for found in given if found is not None), 0)

    @property
    def examples(self) -> int:
        """N, by what is right of them."""
        given = (self.labels, self.references, self.token_counts)
        return next((len(found) for found in given if found is not None), 0)

    @cached_property
    def predictions(self) -> NDArray[np.int64] | None:
        """(K, N) classes with the highest output; of sets of labels one number for each."""
        if self.outputs is not None:
            of = KINDS[self.kind]
            return of.predictions(self.outputs) if self.sets is None else of.coded(self.sets)
        return None if self.given_predictions is None else np.asarray(self.given_predictions, dtype=np.int64)

    @cached_property
    def sets(self) -> NDArray[np.bool_] | None:
        """(K, N, L) which labels are in the answer; None for a kind without sets."""
        return None if self.outputs is None else KINDS[self.kind].sets(self.outputs, self.logits is None)

    @cached_property
    def probabilities(self) -> Float64Array | None:
        """(K, N, C)."""
        if self.logits is not None:
            return KINDS[self.kind].probabilities(self.logits)
        return None if self.given_probabilities is None else np.asarray(self.given_probabilities, dtype=np.float64)

    @property
    def log_probabilities(self) -> Float64Array | None:
        """(K, N, C); a probability of 0 is replaced by the machine epsilon at 1, as in scikit-learn."""
        if self.logits is not None:
            from scipy.special import log_softmax

            return np.asarray(log_softmax(self.logits.astype(np.float64), axis=-1))
        if self.probabilities is None:
            return None
        shares = self.probabilities / self.probabilities.sum(axis=-1, keepdims=True)
        return np.asarray(np.log(np.clip(shares, _TINY, 1 - _TINY)))

    @property
    def targets(self) -> tuple[Float64Array, Float64Array]:
        """Outputs (K, N) and targets (N,) of a regression."""
        outputs: Any = self.logits
        return outputs[..., 0].astype(np.float64), np.asarray(self.labels, dtype=np.float64)

    @cached_property
    def classes(self) -> int:
        """C; without outputs one more than the largest class that occurs; 0 for a regression and for texts."""
        if not KINDS[self.kind].has_classes:
            return 0
        if self.outputs is not None:
            return int(self.outputs.shape[-1])
        found = [np.max(array) for array in (self.given_predictions, self.labels) if array is not None and array.size]
        return max(2, int(max(found)) + 1) if found else 0

    @property
    def entity_tags(self) -> tuple[str, ...] | None:
        """Names of classes that mark entities, such as B-PER; None if they do not, or are unknown."""
        from steadytune.metrics.entities import entity_tags

        return entity_tags(self.label_names)

    @property
    def positive_class(self) -> int:
        """The positive class; by default the second of two."""
        return 1 if self.positive is None else self.positive


@dataclass(frozen=True)
class Scale:
    """Unit, range and direction of a score.

    Attributes:
        name: As the user wrote it.
        unit: "points" for a fraction, which is shown times 100; "" for a number that is shown unscaled.
        lowest: Lower end of its range, or None if unknown.
        highest: Upper end of its range, or None if unknown.
        higher_is_better: None if unknown.
    """

    name: str
    unit: Unit = ""
    lowest: float | None = None
    highest: float | None = None
    higher_is_better: bool | None = None

    @property
    def factor(self) -> float:
        """Factor by which a value is multiplied for display."""
        return 100.0 if self.unit == "points" else 1.0

    @property
    def share(self) -> bool:
        """Whether 1 is the best possible value, so that larger values must be percentages."""
        return self.unit == "points" and self.highest == 1

    def better(self, one: float, other: float) -> bool | None:
        """Return whether one value is better than another; None if the direction is unknown."""
        return None if self.higher_is_better is None else one > other if self.higher_is_better else one < other

    def best(self, values: Any, axis: int | None = None) -> Any:
        """Return the best of some values; NaN if the direction is unknown."""
        if self.higher_is_better is None:
            return np.full_like(np.max(values, axis=axis), np.nan)
        return np.max(values, axis=axis) if self.higher_is_better else np.min(values, axis=axis)

    def no_better(self, values: Any, limit: float) -> NDArray[np.bool_] | None:
        """Return which values are no better than a limit, up to rounding; None if the direction is unknown."""
        if self.higher_is_better is None or not np.isfinite(limit):
            return None
        slack = 1e-12 * max(1.0, abs(limit))
        found = np.asarray(values, dtype=np.float64)
        worse: NDArray[np.bool_] = found <= limit + slack if self.higher_is_better else found >= limit - slack
        return worse


@dataclass(frozen=True)
class Metric(Scale):
    """A score computed from answers.

    Attributes:
        function: Answers -> scoring function of weights on the examples. A weight counts how often an example was
            drawn, so that a score equals that of the examples repeated that often.
        kinds: Kinds of answers that it supports, besides those that list it themselves.
        needs: Attributes of `Answers` that it reads, or a mapping from `Kind.answers` to these.
        binary: Whether it scores one class against the others: there must be two, or one must be chosen.
        title: Name in tables.
        lacks: Answers with all that it needs -> what it needs beside that, such as a package; "" if nothing.
        constant: The best constant answer: "mode" is the most frequent class, or for a regression the mean of the
            targets; "shares" the class frequencies; "median" the median of the targets. Of texts, whatever it says, it
            is one of the references.
    """

    function: Callable[[Answers], Scores] = lambda answers: lambda weights: weights
    kinds: tuple[str, ...] = ("classification",)
    needs: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    binary: bool = False
    title: str = ""
    lacks: Callable[[Answers], str] = lambda answers: ""
    constant: Literal["mode", "shares", "median"] = "mode"

    def needs_of(self, kind: str) -> tuple[str, ...]:
        """Return the attributes of `Answers` that it reads for a kind."""
        return self.needs if isinstance(self.needs, tuple) else self.needs.get(KINDS[kind].answers, ())

    def grouped(self, kind: str) -> bool:
        """Whether it scores questions: weights must then be equal within a question."""
        return "questions" in self.needs_of(kind)

    @property
    def has_positive(self) -> bool:
        """Whether it needs a positive class."""
        return any("positive_class" in self.needs_of(kind) for kind in self.kinds)

    def missing(self, answers: Answers) -> str | None:
        """Return what the answers lack for this metric, or None."""
        if answers.kind not in self.kinds and self.name not in KINDS[answers.kind].metrics:
            return f"{' or '.join(KINDS[kind].noun for kind in self.kinds)}, not {KINDS[answers.kind].noun}"
        for name in self.needs_of(answers.kind):
            if getattr(answers, name, None) is None:
                return name
        if self.binary and answers.classes != 2 and answers.positive is None:
            return f"two classes, not {answers.classes}, or a named positive class"
        return self.lacks(answers) or None

    def scores(self, answers: Answers) -> Scores:
        """Return weights (R, N) -> scores (R, K).

        Raises:
            UserError: The answers lack something that it needs.
        """
        if (missing := self.missing(answers)) is not None:
            raise UserError(f"metric '{self.name}' needs {missing}")
        return self.function(answers)

    def plain(self, answers: Answers, examples: int) -> Float64Array:
        """Return the scores (K,) on N examples of weight 1; NaN for runs with outputs that are not finite.

        Raises:
            UserError: The answers lack something that it needs, or its function fails, or gives something else than K
                scores in its range.
        """
        if (missing := self.missing(answers)) is not None:
            raise UserError(f"metric '{self.name}' needs {missing}")
        try:
            values = np.array(self.function(answers)(np.ones((1, examples)))[0], dtype=np.float64)
        except UserError:
            raise
        except Exception as error:  # it may be another package's code
            raise UserError(f"metric '{self.name}' cannot be computed: {one_line(error)}") from error
        if values.shape != (answers.runs,):
            raise UserError(f"metric '{self.name}' gives scores of shape {values.shape} for {answers.runs} runs")
        if answers.outputs is not None:
            finite = np.isfinite(answers.outputs).all(axis=tuple(range(1, answers.outputs.ndim)))
            values[~finite] = np.nan
        low, high = (
            (-np.inf if self.lowest is None else self.lowest),
            (np.inf if self.highest is None else self.highest),
        )
        slack = 1e-6 * max([1.0, *(abs(end) for end in (low, high) if np.isfinite(end))])
        if (outside := values[(values < low - slack) | (values > high + slack)]).size:
            raise UserError(
                f"metric '{self.name}' gives a score of {outside[0]:.4g}, outside of its range from {low:g} to {high:g}"
            )
        return values


def ratio(above: Float64Array, below: Float64Array) -> Float64Array:
    """Divide, with 0/0 = 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def mean_of(worth: Any) -> Scores:
    """Score by the mean of a value per example, (K, N)."""
    table = np.asarray(worth, dtype=np.float64)
    return lambda weights: weights @ table.T / weights.sum(axis=1, keepdims=True)


def share(name: str, function: Callable[[Answers], Scores], kinds: tuple[str, ...], *needs: str, **more: Any) -> Metric:
    """Declare a metric in [0, 1] for which higher is better, unless `more` overrides this."""
    facts: dict[str, Any] = {"unit": "points", "lowest": 0.0, "highest": 1.0, "higher_is_better": True}
    return Metric(name, function=function, kinds=kinds, **({"needs": needs} | facts | more))


CORRELATION = {"lowest": -1.0}
ERROR = {"unit": "", "highest": None, "higher_is_better": False}
CLASSES, DISCRETE, TARGETS = ("classification",), ("classification", "choice"), ("regression",)
PREDICTED = ("predictions", "labels")
