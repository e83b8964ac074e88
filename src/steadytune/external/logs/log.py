"""One log: the examples of one task as one model answered them, in a form that all harnesses share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RIGHT = ("acc", "accuracy", "exact_match", "em")
"""Scores that say of one example whether its answer is right, 1 or 0, best known first."""


@dataclass(frozen=True)
class Example:
    """One example as one model answered it. What a log does not say is None, or empty.

    Attributes:
        name: Its name, the same in every run.
        content: Digest of the example itself, by which another version of the data is seen.
        prompt: Digest of what the model read, with few-shot examples and template.
        shown: A text that a report may show.
        choices: The texts of its choices.
        outputs: Log-likelihood of each choice.
        chosen: Number of the chosen choice, where there are no log-likelihoods; one past the last: no answer.
        golds: What may be the number of the right choice, in as many readings as the harness leaves open.
        text: Generated text.
        targets: Accepted texts.
        scores: What the harness says of this answer, by name: mostly numbers.
        group: Examples of one group are one, answered several times.
        several: How many texts were generated of which `text` is the first.
    """

    name: str
    content: str = ""
    prompt: str = ""
    shown: str = ""
    choices: tuple[str, ...] = ()
    outputs: tuple[float, ...] | None = None
    chosen: int | None = None
    golds: tuple[int | None, ...] = ()
    text: str | None = None
    targets: tuple[str, ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    several: int = 1

    @property
    def form(self) -> str:
        """What there is to measure: "choices", "texts", or "scores" alone."""
        if self.outputs is not None or self.chosen is not None:
            return "choices"
        return "scores" if self.text is None else "texts"

    @property
    def predicted(self) -> int | None:
        """Number of the chosen choice; of equal ones the first."""
        if self.outputs is None:
            return self.chosen
        return max(range(len(self.outputs)), key=self.outputs.__getitem__)


def mean(name: str, values: Sequence[Any]) -> float | None:
    """Return the mean of the scores of examples, or None if they are no numbers."""
    if not values or not all(isinstance(value, (bool, int, float)) for value in values):
        return None
    try:
        return sum(map(float, values)) / len(values)
    except OverflowError:
        return None


@dataclass(frozen=True, eq=False)
class Log:
    """One file: one model on one task.

    Attributes:
        maker: The harness.
        task: Name of the task; "" if unknown.
        parts: Filter, scorer or way of asking -> the examples as it leaves them, the first being the default.
        what: What a part is, such as "filter" or "scorer".
        model: Name of the model, or "".
        facts: What must be the same in all runs, such as the number of few-shot examples.
        notes: What a reader should know.
        stated: Whether the log states which choice is right, so that no score has to confirm it.
        average: Name of a score and its values -> the score of the run, or None if it cannot be told.
    """

    maker: str
    task: str
    parts: Mapping[str, tuple[Example, ...]]
    what: str = "filter"
    model: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stated: bool = False
    average: Callable[[str, Sequence[Any]], float | None] = mean
