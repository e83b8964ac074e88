"""Tasks from files: a folder with a train and a validation file, its columns and labels recognised or named."""

from __future__ import annotations

from pathlib import Path

from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Kind, Task
from steadytune.tasks.labels import Encoded, infer_labels, match_labels
from steadytune.tasks.layouts import infer_layout, named_layout
from steadytune.tasks.metrics import METRICS, check_metric
from steadytune.tasks.tables import TRAIN_NAMES, VALIDATION_NAMES, Table, read_split

DEFAULT_METRICS: dict[Kind, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "choice": ("accuracy",),
    "regression": ("pearson", "spearman"),
}


def load_folder(spec: TaskSpec) -> Task:
    """Read a task from the folder `spec.name`.

    Columns are `spec.columns` and `spec.label`, or else recognised by their names and types (`infer_layout`,
    `infer_labels`). A metric for regressions makes a regression of integer labels.

    Raises:
        UserError: Something is missing or cannot be parsed, at a file and line that the message names.
    """
    folder = Path(spec.name).expanduser()
    return task_from_tables(spec, read_split(folder, TRAIN_NAMES), read_split(folder, VALIDATION_NAMES))


def task_from_tables(
    spec: TaskSpec,
    train: Table,
    validation: Table,
    names: tuple[str, ...] | None = None,
    metrics: tuple[str, ...] | None = None,
) -> Task:
    """Turn the rows of two splits into a task.

    Args:
        spec: What the user said.
        train: Training rows.
        validation: Evaluation rows.
        names: The classes of a known benchmark, () for a regression; None to find them in the rows.
        metrics: Its metrics, the main one first; None for the kind's default.

    Raises:
        UserError: As `load_folder`.
    """
    layout = named_layout(spec.columns, spec.label) if spec.columns is not None else infer_layout(train, spec.label)
    known = layout.choices or names
    labels: Encoded
    if known is None:
        wanted = spec.metric in METRICS and "regression" in METRICS[spec.metric].kinds
        labels = infer_labels(train, validation, spec.label, regression=wanted)
    else:
        labels = match_labels(train, validation, spec.label, known)
    kind: Kind = "choice" if layout.choices else "classification" if labels[0] else "regression"
    return make_task(
        spec,
        labels[0],
        metrics or DEFAULT_METRICS[kind],
        kind=kind,
        train=Examples(layout.candidates(train), labels[1]),
        validation=Examples(layout.candidates(validation), labels[2]),
    )


def make_task(
    spec: TaskSpec,
    names: tuple[str, ...],
    metrics: tuple[str, ...],
    *,
    kind: Kind,
    train: Examples,
    validation: Examples,
) -> Task:
    """Assemble a task; a metric that the user chose goes before the official ones, which are still recorded.

    Raises:
        UserError: The chosen metric is unknown or not defined for the task.
    """
    if spec.metric is not None:
        check_metric(spec.metric, kind, len(names), validation)
    chosen = spec.metric or metrics[0]
    return Task(
        name=spec.name,
        kind=kind,
        label_names=names,
        metric=chosen,
        train=train,
        validation=validation,
        extra_metrics=tuple(name for name in metrics if name != chosen),
    )
