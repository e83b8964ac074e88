"""Facts about a study's data, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.kinds import KINDS
from steadytune.tasks.base import Examples, Reading, Task
from steadytune.tasks.splits import Splits

_NAMED = 10
_IMBALANCED = 0.8
"""Share of the largest class above which accuracy says little; our choice."""
_BALANCED_METRICS = {
    "entity_f1",
    "matthews",
    "f1",
    "f1_macro",
    "f1_weighted",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
}
CUT = 0.1
"""Share of truncated inputs above which it matters; our choice."""


@dataclass(frozen=True)
class DataFacts:
    """Facts about a task's data, as split by a study.

    Texts that differ only in white space count as the same.

    Attributes:
        task: Name of the task.
        kind: Its kind.
        reading: What was read from its files.
        texts: "text", "text pair", "choice", "prompt".
        metric: The metric of `score`.
        classes: Name of each class.
        examples: Number of training examples, and of measured ones.
        trained: Number of training examples of each class, or of labels where an example has several; a single number
            where answers are no classes.
        measured: The same for the measured examples.
        also_trained: Measured examples that are also training examples.
        groups: Number of groups of measured examples, if known.
        shared_groups: Number of groups that are both measured and trained on.
        two_labels: Distinct texts with more than one label, in either split.
        repeated: Training examples that duplicate an earlier one.
        repeated_measured: Measured examples that do.
        max_length: Number of tokens after which an input is truncated.
        cut_trained: Share of training examples that are truncated; None if unknown.
        cut_measured: Share of measured examples that are.
    """

    task: str
    kind: str
    reading: Reading
    texts: str
    metric: str
    classes: tuple[str, ...]
    examples: tuple[int, int]
    trained: tuple[int, ...]
    measured: tuple[int, ...]
    also_trained: int
    groups: int | None
    shared_groups: int
    two_labels: int
    repeated: int
    repeated_measured: int
    max_length: int | None = None
    cut_trained: float | None = None
    cut_measured: float | None = None

    def cut(self, max_length: int, trained: float | None, measured: float | None) -> DataFacts:
        """Return a copy with the share of truncated inputs."""
        return replace(self, max_length=max_length, cut_trained=trained, cut_measured=measured)

    def lines(self) -> tuple[str, ...]:
        """Return sentences about what was read, followed by probable problems."""
        return (*self.described(), *(f"{self.task}: {title}: {found}" for _, _, title, found in self.problems()))

    def described(self) -> tuple[str, ...]:
        """Return sentences about what was read and what was ignored."""
        columns = ", ".join(self.reading.columns)
        what = f"{self.texts} ({columns})" if columns else self.texts
        label = f"label '{self.reading.label}': " if self.reading.label else ""
        answers = "texts" if KINDS[self.kind].has_texts else "numbers"
        kind = _some([f"'{name}'" for name in self.classes]) if self.classes else answers
        groups = "" if self.groups is None else f" in {self.groups} groups"
        lines = [
            f"{self.task}: {what}; {label}{kind}; {self.examples[0]} for training, {self.examples[1]} measured"
            f"{groups}; score: {self.metric}"
        ]
        if self.reading.left_aside:
            lines.append(f"{self.task}: columns ignored: {_some(self.reading.left_aside)}")
        return (*lines, *(f"{self.task}: {note}" for note in self.reading.notes))

    def problems(self) -> tuple[tuple[str, str, str, str], ...]:
        """Return probable problems: name of the rule, severity, title, and what was found."""
        trained, measured = self.examples
        answers, item = sum(self.measured), KINDS[self.kind].item
        found: list[tuple[str, str, str, str]] = []
        found += [("label-leak", "high", "an input reveals the label", warning) for warning in self.reading.warnings]
        if self.also_trained:
            share = _percent(self.also_trained, measured)
            found.append(
                (
                    "trained-on-measured",
                    "high" if self.also_trained >= 0.05 * measured else "medium",
                    "measured examples are also in the training set",
                    f"{self.also_trained} of the {measured} measured examples ({share}) are also in the training set",
                )
            )
        if self.shared_groups:
            found.append(
                (
                    "shared-groups",
                    "medium",
                    "groups are both trained on and measured",
                    f"{self.shared_groups} of {self.groups} measured groups also have examples in the training set",
                )
            )
        if KINDS[self.kind].shared_classes and np.count_nonzero(self.measured) == 1:
            name = self.classes[int(np.argmax(self.measured))]
            found.append(
                (
                    "one-class",
                    "high",
                    "all measured examples belong to one class",
                    f"all {answers} are '{name}': a constant answer is always right",
                )
            )
        elif KINDS[self.kind].shared_classes and max(self.measured) >= _IMBALANCED * answers:
            name, most = self.classes[int(np.argmax(self.measured))], max(self.measured)
            words = f"{_percent(most, answers)} of the measured {item}s are '{name}'"
            if self.metric == "accuracy":
                words += ", which is the accuracy of that constant answer"
            severity = "low" if self.metric in _BALANCED_METRICS else "medium"
            found.append(("imbalance", severity, "the classes are imbalanced", words))
        absent = [name for name, seen in zip(self.classes, self.trained, strict=False) if not seen]
        if (KINDS[self.kind].shared_classes or KINDS[self.kind].several) and absent:
            found.append(
                ("untrained-class", "medium", "a class has no training examples", f"no example of {_some(absent)}")
            )
        if self.two_labels:
            found.append(
                (
                    "two-labels",
                    "medium" if self.two_labels >= 0.01 * (trained + measured) else "low",
                    "texts with conflicting labels",
                    f"{self.two_labels} texts occur with different labels: no model can get both right",
                )
            )
        if self.repeated + self.repeated_measured:
            found.append(
                (
                    "duplicates",
                    "medium" if self.repeated_measured >= 0.05 * measured else "low",
                    "duplicate examples",
                    f"{self.repeated} of {trained} training examples and {self.repeated_measured} of {measured} "
                    "measured ones are duplicates: there are fewer independent examples than it seems",
                )
            )
        fate = KINDS[self.kind].long_inputs.partition(":")[0]
        if sentence := cut_sentence(self.kind, self.max_length, self.cut_trained, self.cut_measured):
            worst = max(self.cut_trained or 0, self.cut_measured or 0)
            found.append(("cut-inputs", "high" if worst >= 0.5 else "medium", f"inputs are {fate}", sentence))
        return tuple(found)


def cut_sentence(kind: str, max_length: int | None, trained: float | None, measured: float | None) -> str:
    """Return a sentence on the share of truncated inputs, or "" if it is unknown or small."""
    if max_length is None or trained is None or measured is None or max(trained, measured) < CUT:
        return ""
    return (
        f"{100 * trained:.0f} % of the training inputs and {100 * measured:.0f} % of the measured ones exceed "
        f"{max_length} tokens and are {KINDS[kind].long_inputs}"
    )


def data_facts(task: Task, splits: Splits) -> DataFacts:
    """Collect the facts of a task's data for its splits."""
    train, measure = splits.train, splits.measure
    trained, measured = _keys(train), _keys(measure)
    seen = set(trained)
    labels: dict[Any, set[Any]] = {}
    # In a regression, a text rated twice has two scores.
    if KINDS[task.kind].shared_classes:
        for key, label in zip((*trained, *measured), (*train.labels.tolist(), *measure.labels.tolist()), strict=True):
            labels.setdefault(key, set()).add(label)
    groups = None if measure.groups is None else len(np.unique(measure.groups))
    return DataFacts(
        task=task.name if len(task.name) < 60 else Path(task.name).name,
        kind=task.kind,
        reading=task.reading,
        texts=_texts(task),
        metric=task.metric,
        classes=task.label_names,
        examples=(len(train), len(measure)),
        trained=_counts(task, train),
        measured=_counts(task, measure),
        also_trained=sum(key in seen for key in measured),
        groups=groups,
        shared_groups=_shared_groups(task, splits),
        two_labels=sum(len(found) > 1 for found in labels.values()),
        repeated=len(trained) - len(seen),
        repeated_measured=len(measured) - len(set(measured)),
    )


def _keys(examples: Examples) -> list[tuple[tuple[str | None, ...], ...]]:
    # Passages occur in many examples.
    plain: dict[str | None, str | None] = {None: None}
    for one in examples.candidates:
        for segment in one:
            for text in segment:
                if text is not None and text not in plain:
                    plain[text] = " ".join(text.split())
    return [tuple((plain[first], plain[second]) for first, second in one) for one in examples.candidates]


def _counts(task: Task, examples: Examples) -> tuple[int, ...]:
    if not (KINDS[task.kind].has_classes or KINDS[task.kind].has_sets):
        return (len(examples),)
    classes = KINDS[task.kind].classes_in(examples.labels)
    return tuple(np.bincount(classes, minlength=len(task.label_names)).tolist())


def _texts(task: Task) -> str:
    if KINDS[task.kind].candidates:
        return f"choice of {len(task.label_names)}"
    if KINDS[task.kind].has_texts:
        return "prompt"
    return "text" if task.train.candidates[0][0][1] is None else "text pair"


def _shared_groups(task: Task, splits: Splits) -> int:
    # A benchmark's passage numbers refer to different passages in each split.
    if not task.reading.group or splits.train.groups is None or splits.measure.groups is None:
        return 0
    return len(np.intersect1d(splits.train.groups, splits.measure.groups))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 1 or not part else f"{share:.1g} %"
