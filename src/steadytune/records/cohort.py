"""Runs that differ in their seeds alone, as the arrays that the measures take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from steadytune.errors import UserError

Kind = Literal["classification", "regression", "choice"]


@dataclass(frozen=True)
class LostRun:
    """A run of a cohort that left no arrays: it diverged or raised."""

    seed: str
    status: str
    reason: str


@dataclass(frozen=True, eq=False)
class Cohort:
    """K runs that differ in their seeds alone, N evaluation examples, C classes. Only finished runs are counted in K.

    Attributes:
        scores: (K,) task metric, fractions.
        logits: (K, N, C), or None.
        labels: (N,), or None.
        representations: K arrays (L, rows, D) of hidden states after each block, or None; a row is an example, and of a
            multiple-choice task a candidate.
        seeds: K names of the runs.
        failed: (K,) whether a run is at or below `majority_score`; False throughout when that is unknown.
        majority_score: Score of always answering the most frequent label.
        seconds: (K,) wall-clock seconds per run, or None.
        model: Model name.
        task: Task name.
        recipe: Recipe name.
        metric: What the scores mean.
        kind: Task kind; the prediction measures need classes, so a regression has none.
        frozen_encoder: All runs share one encoder (head tuning): representations are equal by construction.
        lost: Runs that did not finish.
        examples: Name under which the texts of the examples are stored, or "".
    """

    scores: NDArray[np.float64]
    logits: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    representations: Sequence[NDArray[Any]] | None = None
    seeds: tuple[str, ...] = ()
    failed: NDArray[np.bool_] | None = None
    majority_score: float | None = None
    seconds: NDArray[np.float64] | None = None
    model: str = ""
    task: str = ""
    recipe: str = ""
    metric: str = "score"
    kind: Kind = "classification"
    frozen_encoder: bool = False
    lost: tuple[LostRun, ...] = ()
    examples: str = ""

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, dtype=np.float64)
        if scores.ndim != 1:
            raise UserError(f"scores must be one number per run, not an array of shape {scores.shape}")
        runs = len(scores)
        defaults: dict[str, Any] = {
            "scores": scores,
            "seeds": tuple(map(str, self.seeds)) or tuple(map(str, range(runs))),
            "failed": np.zeros(runs, bool) if self.failed is None else np.asarray(self.failed, bool),
        }
        if self.logits is not None:
            defaults["logits"] = _stack(self.logits)
        for name, value in defaults.items():
            object.__setattr__(self, name, value)
        for name in ("logits", "representations", "seeds", "failed", "seconds"):
            value = getattr(self, name)
            if value is not None and len(value) != runs:
                raise UserError(f"{runs} scores but {len(value)} {name}: one per run is needed")
        if self.logits is not None and self.labels is not None and len(self.labels) != self.logits.shape[1]:
            raise UserError(f"logits of {self.logits.shape[1]} examples but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def name(self) -> str:
        """Recipe, with model and task where they are known."""
        return " / ".join(part for part in (self.model, self.task, self.recipe) if part)

    @property
    def predictions(self) -> NDArray[np.int64] | None:
        """(K, N) predicted class or choice, or None for a regression or without logits."""
        if self.logits is None or self.kind == "regression":
            return None
        return np.asarray(self.logits.argmax(axis=-1), dtype=np.int64)

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """(K, N, C) softmax of the logits in float64, or None for a regression or without logits."""
        if self.logits is None or self.kind == "regression":
            return None
        return np.asarray(softmax(self.logits.astype(np.float64), axis=-1))


def _stack(logits: ArrayLike | Sequence[ArrayLike]) -> NDArray[Any]:
    arrays = [np.asarray(run) for run in logits]  # type: ignore[union-attr]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise UserError(f"runs have logits of different shapes: {', '.join(map(str, shapes))}")
    stacked = np.stack(arrays)
    if stacked.ndim != 3:
        raise UserError(f"logits must be (runs, examples, classes), not {stacked.shape}")
    return stacked
