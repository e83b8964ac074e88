"""The arrays of one run, and the check that several runs fit into one cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError

OF_TOKENS = ("token_logits", "token_log_probabilities", "token_choices", "target_log_probabilities")
"""Arrays of one run with a row for each token."""


@dataclass(frozen=True, eq=False)
class RunArrays:
    """Outputs of one run on N examples with C classes. Unknown parts are None.

    Attributes:
        origin: The run or file, for error messages.
        logits: (N, C); for a regression (N, 1).
        probabilities: (N, C).
        predictions: (N,) class numbers, if there are neither logits nor probabilities.
        labels: (N,) class numbers, or targets of a regression.
        representations: (L, rows, D); (rows, D) becomes one layer. A row is an example, or a candidate
            of one.
        generations: N texts.
        references: N texts, or tuples of accepted texts.
        token_logits: (T, V), see `Cohort`.
        token_log_probabilities: (T, C).
        token_weights: (T, C).
        token_exact: Number of words of the exact part.
        token_choices: (T,).
        target_log_probabilities: (T,).
        token_counts: (N,).
        label_names: Name of each class.
        groups: (N,) integers: examples with the same number belong together, such as questions on one passage.
        questions: (N,) integers: examples with the same number are scored together, such as the words of a sentence.
        credit: (N,) what choosing this example is worth in its question.
        ids: N names of the examples.
        texts: N example texts that a report may show.
    """

    origin: str
    logits: NDArray[Any] | None = None
    probabilities: NDArray[Any] | None = None
    predictions: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    representations: NDArray[Any] | None = None
    generations: Sequence[str] | None = None
    references: Sequence[str | tuple[str, ...]] | None = None
    token_logits: NDArray[Any] | None = None
    token_log_probabilities: NDArray[Any] | None = None
    token_weights: NDArray[Any] | None = None
    token_exact: int | None = None
    token_choices: NDArray[Any] | None = None
    target_log_probabilities: NDArray[Any] | None = None
    token_counts: NDArray[np.int64] | None = None
    label_names: Sequence[str] | None = None
    groups: NDArray[Any] | None = None
    questions: NDArray[Any] | None = None
    credit: NDArray[Any] | None = None
    ids: Sequence[str] | None = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.representations is not None and self.representations.ndim == 2:
            object.__setattr__(self, "representations", self.representations[None])

    @property
    def outputs(self) -> NDArray[Any] | None:
        """Logits, or otherwise probabilities."""
        return self.probabilities if self.logits is None else self.logits

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | int]:
        """Sizes that must be equal in every run, by name: all but the width of representations."""
        sizes: dict[str, tuple[int, ...] | int] = {}
        if self.outputs is not None:
            sizes["logits or probabilities of shape"] = self.outputs.shape
        elif self.predictions is not None:
            sizes["predictions of shape"] = self.predictions.shape
        if self.representations is not None:
            layers, rows = self.representations.shape[:2]
            sizes["layers of representations:"] = layers
            sizes["rows of representations:"] = rows
        if self.generations is not None:
            sizes["number of generations:"] = len(self.generations)
        for name in OF_TOKENS:
            if (held := getattr(self, name)) is not None:
                sizes[f"{name} of shape"] = held.shape
        return sizes


def check_same_shapes(runs: Sequence[RunArrays]) -> None:
    """Reject runs whose arrays differ in size.

    Raises:
        UserError: They do; names both runs and the axis.
    """
    for run in runs[1:]:
        for what, others in runs[0].shapes.items():
            mine = run.shapes[what]
            if mine != others:
                raise UserError(f"{run.origin}: {what} {mine}, but {runs[0].origin} has {others}")


def check_same_words(origins: Sequence[str], words: Sequence[tuple[int | None, NDArray[Any] | None]]) -> None:
    """Reject runs that know next-token distributions at different candidate words.

    Their numbers are not stored: words that were drawn anew have other weights, with near certainty.

    Args:
        origins: The runs, for error messages.
        words: Of each run `token_exact` and `token_weights`.

    Raises:
        UserError: They differ; names both runs.
    """
    exact, weights = words[0]
    for origin, (other_exact, others) in zip(origins[1:], words[1:], strict=True):
        # A cohort's runs share one array.
        if other_exact != exact or (others is not weights and not np.array_equal(others, weights)):  # type: ignore[arg-type]
            raise UserError(
                f"{origin}: token_weights or token_exact differ from those of {origins[0]}: the candidate words of all "
                "runs must be the same, drawn once"
            )
