"""A task: labelled text with a metric, in the same form whatever its source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steadytune.files import canonical_json, sha256
from steadytune.kinds import KINDS
from steadytune.study import TaskSpec

Segment = tuple[str, str | None]
"""One encoder input: a text, and the second text of a pair or None."""


@dataclass(frozen=True)
class Examples:
    """One split.

    Attributes:
        candidates: For each of N examples its encoder inputs: one, or for a multiple-choice task
            one per choice (the same number for every example).
        labels: (N,) int64 class or choice index, or float64 target of a regression; where an example has several
            answers, (N, labels) int64, or (N,) objects, tuples of classes or of texts.
        questions: (N,) int64 or None. Examples that the metric reads together (the answers to one MultiRC question).
        credit: (N,) float64 or None. Credit that the metric gives for choosing this example (ReCoRD's F1).
        groups: (N,) int64 or None. Examples that are not independent of one another, such as those on one passage.
        parts: For each example what its kind reads in the place of its text, such as its words; or None.
    """

    candidates: tuple[tuple[Segment, ...], ...]
    labels: NDArray[Any]
    questions: NDArray[np.int64] | None = None
    credit: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    parts: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self.candidates)

    @classmethod
    def prompted(
        cls, prompts: Sequence[str], references: Sequence[tuple[str, ...]], parts: tuple[Any, ...] | None = None
    ) -> Examples:
        """Return prompts with the texts that are accepted as their answers, the first of which is trained on."""
        labels = np.fromiter(references, dtype=object, count=len(references))
        return cls(tuple(((prompt, None),) for prompt in prompts), labels, parts=parts)

    def select(self, indices: NDArray[np.int64]) -> Examples:
        """Return the examples at `indices`, in that order."""
        return Examples(
            tuple(self.candidates[i] for i in indices),
            self.labels[indices],
            None if self.questions is None else self.questions[indices],
            None if self.credit is None else self.credit[indices],
            None if self.groups is None else self.groups[indices],
            None if self.parts is None else tuple(self.parts[i] for i in indices),
        )


@dataclass(frozen=True)
class Reading:
    """What was read from a task's files, for display.

    Attributes:
        columns: The columns of the texts.
        label: The column of the labels.
        group: The column that says which examples belong together, named by the user or a passage that is asked about,
            or "".
        left_aside: Columns that were not read.
        notes: How files were read, if that was inferred, and which rows were skipped.
        warnings: Probable mistakes.
    """

    columns: tuple[str, ...] = ()
    label: str = ""
    group: str = ""
    left_aside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Labelled text with a metric.

    Attributes:
        name: As the user wrote it.
        kind: Name of its kind, one that can be trained.
        label_names: Name of each class, or of each choice position for "choice"; empty for a regression.
        metric: The metric of `score`, a name in `metrics.METRICS`.
        extra_metrics: Further official metrics that are also recorded.
        reading: What was read from its files.
        train: Training examples.
        validation: Evaluation examples.
    """

    name: str
    kind: str
    label_names: tuple[str, ...]
    metric: str
    train: Examples
    validation: Examples
    extra_metrics: tuple[str, ...] = ()
    reading: Reading = Reading()

    @property
    def num_outputs(self) -> int:
        """Width of the model's last layer: the classes, or 1 for a regression or a score per candidate."""
        return KINDS[self.kind].outputs(len(self.label_names))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every text, label and the metric: what a run's id covers, wherever the files are."""
        digest = hashlib.sha256(canonical_json([self.kind, self.label_names, self.metric, self.extra_metrics]))
        for split in (self.train, self.validation):
            digest.update(sha256(canonical_json(split.candidates)).encode())
            for array in (split.labels, split.questions, split.credit):
                objects = array is not None and array.dtype == object
                digest.update(b"-" if array is None else canonical_json(array.tolist()) if objects else array.tobytes())
            if split.parts is not None:
                digest.update(canonical_json(split.parts))
        # A benchmark's are not a choice.
        if self.reading.group and self.validation.groups is not None:
            digest.update(self.validation.groups.tobytes())
        return digest.hexdigest()


class TaskSource(Protocol):
    """Source of a named task.

    Attributes:
        name: Name of the task in a study.
    """

    name: str

    def load(self, spec: TaskSpec) -> Task:
        """Return the task, always the same for the same spec; `make_task` assembles one.

        Raises:
            UserError: Its data are unavailable, or an option of the spec does not apply to it.
        """
        ...
