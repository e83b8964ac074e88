"""Runs that differ in their seeds alone, as the arrays that the measures take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steadytune.errors import UserError
from steadytune.records.checks import Kind, check_run, read_array

_KINDS_WITH_CLASSES: tuple[Kind, ...] = ("classification", "choice")


@dataclass(frozen=True)
class LostRun:
    """A run of a cohort that left no arrays: it diverged or raised."""

    seed: str
    status: str
    reason: str


class _Probabilities:
    """The field `Cohort.probabilities`: the softmax of the logits, computed when asked for, or what was given instead.

    Logits come first, so that `dataclasses.replace(cohort, logits=...)` has the probabilities of the new ones.
    """

    def __set__(self, cohort: Cohort, given: Any) -> None:
        cohort.__dict__["given_probabilities"] = given

    def __get__(self, cohort: Cohort | None, owner: type[Cohort]) -> NDArray[np.float64] | None:
        if cohort is None or cohort.kind not in _KINDS_WITH_CLASSES:
            return None
        if cohort.logits is None:
            given = cohort.__dict__["given_probabilities"]
            return None if given is None else np.asarray(given, dtype=np.float64)
        return np.asarray(softmax(cohort.logits.astype(np.float64), axis=-1))


@dataclass(frozen=True, eq=False)
class Cohort:
    """K runs that differ in their seeds alone, N evaluation examples, C classes. Only finished runs are counted in K.

    Everything may be left out that is not known, as long as something says how many runs there are. Arrays may be NumPy
    or torch, on any device; large ones are not copied.

    Attributes:
        scores: (K,) task metric, fractions; NaN throughout where it is unknown. Left out, it is the accuracy of the
            predictions, or for texts the share that equals the reference.
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
        probabilities: (K, N, C) in float64: the softmax of the logits or, without logits, what is given here. None for
            a regression and for texts.
        generations: K sequences of N texts, for the kind "generation", or None.
        references: N texts that the generations should equal, or None.
        token_logits: K arrays (T, V) over the next token, all reading the same T tokens of all examples in a row
            (teacher forcing), or None.
        token_counts: (N,) how many of the T tokens belong to each example, or None.

    Raises:
        UserError: Arrays do not fit together, labels are out of range, probabilities do not sum to 1, or logits are not
            finite; names the run and the axis.
    """

    scores: NDArray[np.float64] = None  # type: ignore[assignment]
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
    probabilities: _Probabilities = _Probabilities()
    generations: Sequence[Sequence[str]] | None = None
    references: Sequence[str] | None = None
    token_logits: Sequence[NDArray[Any]] | None = None
    token_counts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        counted, runs = self._count_runs()
        self._set(seeds=tuple(map(str, self.seeds)) or tuple(map(str, range(runs))))
        given = self.__dict__["given_probabilities"] if self.logits is None else None
        arrays = {
            name: None if value is None else [read_array(run, name) for run in value]
            for name, value in (
                ("logits", self.logits),
                ("probabilities", given),
                ("representations", self.representations),
                ("token_logits", self.token_logits),
            )
        }
        others = {name: getattr(self, name) for name in ("seeds", "generations", "failed", "seconds")}
        for name, value in {**arrays, **others}.items():
            if value is not None and len(value) != runs:
                raise UserError(f"{runs} {counted} but {len(value)} {name}: one per run is needed")
        labels = None if self.labels is None else read_array(self.labels, "labels")
        self._check(arrays, labels)
        stacked = {name: _stack(name, arrays[name]) for name in ("logits", "probabilities")}
        self._set(**{**arrays, **stacked}, labels=labels)
        self._set(failed=np.zeros(runs, bool) if self.failed is None else np.asarray(self.failed, bool))
        if self.generations is not None:
            self._set(generations=tuple(map(tuple, self.generations)))
        if self.scores is None:
            self._score(runs)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _count_runs(self) -> tuple[str, int]:
        """Return the first field that says how many runs there are, and how many."""
        if self.scores is not None:
            scores = np.asarray(self.scores, dtype=np.float64)
            if scores.ndim != 1:
                raise UserError(f"scores must be one number per run, not an array of shape {scores.shape}")
            self._set(scores=scores)
            return "scores", len(scores)
        given = self.__dict__["given_probabilities"]
        for name in ("logits", "probabilities", "generations", "representations", "token_logits"):
            value = given if name == "probabilities" else getattr(self, name)
            if value is not None:
                return name, len(value)
        raise UserError("a cohort needs scores, logits, probabilities, representations or generations of its runs")

    def _check(self, arrays: dict[str, list[NDArray[Any]] | None], labels: NDArray[Any] | None) -> None:
        def of_run(name: str, run: int) -> NDArray[Any] | None:
            return None if (runs := arrays[name]) is None else runs[run]

        for run, seed in enumerate(self.seeds):
            check_run(
                f"run {seed}",
                self.kind,
                logits=of_run("logits", run),
                probabilities=of_run("probabilities", run),
                labels=labels,
                representations=of_run("representations", run),
                generations=None if self.generations is None else self.generations[run],
                references=self.references,
            )

    def _score(self, runs: int) -> None:
        """Fill in the scores that follow from the predictions, and with them which runs failed."""
        predictions, labels = self.predictions, self.labels
        if predictions is not None and labels is not None:
            self._set(scores=(predictions == labels).mean(axis=1), metric=self._named("accuracy"))
            majority = float(np.bincount(labels.astype(np.int64)).max() / len(labels))
            self._set(majority_score=majority, failed=self.scores <= majority)
        elif self.generations is not None and self.references is not None:
            right = [
                [text.strip() == reference.strip() for text, reference in zip(run, self.references, strict=True)]
                for run in self.generations
            ]
            self._set(scores=np.array(right).mean(axis=1), metric=self._named("exact_match"))
        else:
            self._set(scores=np.full(runs, np.nan))

    def _named(self, metric: str) -> str:
        if self.metric not in ("score", metric):
            raise UserError(f"a cohort computes {metric} alone: give the scores of metric '{self.metric}', one per run")
        return metric

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def name(self) -> str:
        """Recipe, with model and task where they are known."""
        return " / ".join(part for part in (self.model, self.task, self.recipe) if part)

    @property
    def scored(self) -> bool:
        """Whether the scores are known; runs without labels have none."""
        return not np.isnan(self.scores).all() or not len(self)

    @property
    def predictions(self) -> NDArray[np.int64] | None:
        """(K, N) predicted class or choice, or None for a regression or without logits or probabilities."""
        outputs = self.probabilities if self.logits is None else self.logits
        if outputs is None or self.kind not in _KINDS_WITH_CLASSES:
            return None
        return np.asarray(outputs.argmax(axis=-1), dtype=np.int64)


def _stack(name: str, runs: list[NDArray[Any]] | None) -> NDArray[Any] | None:
    if runs is None:
        return None
    if len(shapes := sorted({run.shape for run in runs})) > 1:
        raise UserError(f"runs have {name} of different shapes: {', '.join(map(str, shapes))}")
    return np.stack(runs)
