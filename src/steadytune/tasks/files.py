"""Tasks from files: a folder with a train and a validation file, with columns and labels inferred or named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS, find_kind
from steadytune.metrics import METRICS
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Reading, Task
from steadytune.tasks.inputs import infer_layout, named_layout, pair_fields, telling
from steadytune.tasks.label_sets import KIND as LABEL_SETS
from steadytune.tasks.label_sets import is_label_sets, read_label_sets, switches_in
from steadytune.tasks.labels import Encoded, infer_labels, labelled, likely_label, match_labels
from steadytune.tasks.layouts import WIC, Layout
from steadytune.tasks.metrics import answers_of, check_metric
from steadytune.tasks.official import group_numbers, nested_benchmark, renamed, unnested
from steadytune.tasks.prompts import GENERATION, PASSAGE, Form, examples_of, find_form, passages, without_unanswered
from steadytune.tasks.split_files import TRAIN_NAMES, VALIDATION_NAMES, read_split
from steadytune.tasks.table import Table
from steadytune.tasks.tables import Format
from steadytune.tasks.tagged import KIND as TAGGED
from steadytune.tasks.tagged import is_tagged, read_tagged


def load_folder(spec: TaskSpec) -> Task:
    """Read a task from the folder `spec.name`.

    Columns are `spec.columns` and `spec.label`, or inferred from their names (`infer_layout`, `infer_labels`). A
    regression metric turns integer labels into a regression.

    Raises:
        UserError: Something is missing or cannot be parsed; names the file and line.
    """
    folder = Path(spec.name).expanduser()
    train, validation = (read_split(folder, names, known_format(spec)) for names in (TRAIN_NAMES, VALIDATION_NAMES))
    if spec.columns is None and (benchmark := nested_benchmark(train)) is not None:
        raise UserError(
            f"{train.origin} nests questions in passages, as {benchmark} is distributed: "
            f"use --task {benchmark} --set task.path={spec.name}"
        )
    if (found := find_form(spec, train, validation)) is not None:
        return _generated(spec, *found)
    inferred = TAGGED if is_tagged(spec, train) else LABEL_SETS if is_label_sets(spec, train) else ""
    makers = {TAGGED: tagged_task, LABEL_SETS: label_set_task}
    task = makers.get(spec.kind or inferred, task_from_tables)(spec, train, validation)
    if spec.kind not in (None, task.kind):
        raise UserError(
            f"{train.origin}: task.kind is '{spec.kind}', but its columns are those of {KINDS[task.kind].noun}"
        )
    return task


def tagged_task(spec: TaskSpec, train: Table, validation: Table) -> Task:
    """Make a task of sentences of tagged words; entities are scored if the tags mark any.

    Raises:
        UserError: As `read_tagged`.
    """
    _check_no_classes(spec)
    (words, tags), names, tables, examples = read_tagged(spec, train, validation)
    groups = groups_of(spec, tables[0], tables[1])
    splits = [replace(one, groups=group) for one, group in zip(examples, groups, strict=True)]
    shape = answers_of(TAGGED, None, splits[1], len(names), names)
    return make_task(
        spec,
        names,
        tuple(name for name in KINDS[TAGGED].task_metrics if METRICS[name].missing(shape) is None),
        kind=TAGGED,
        train=splits[0],
        validation=splits[1],
        reading=reading_of(spec, (words,), tables[0], tables[1], (tags,)),
    )


def label_set_task(spec: TaskSpec, train: Table, validation: Table) -> Task:
    """Make a task of texts with sets of labels.

    Raises:
        UserError: As `read_label_sets`, or the texts cannot be found.
    """
    _check_no_classes(spec)
    found = read_label_sets(spec, train, validation)
    texts = replace(train, columns={name: one for name, one in train.columns.items() if name not in found.columns})
    layout = infer_layout(texts, "") if spec.columns is None else named_layout(spec.columns, spec.label)
    if told := [name for name in layout.fields if name in found.columns]:
        raise UserError(f"task.columns: '{told[0]}' is a label, not a text")
    groups = groups_of(spec, train, validation)
    splits = [
        Examples(layout.candidates(table), labels, groups=group)
        for table, labels, group in zip((train, validation), found.splits, groups, strict=True)
    ]
    return make_task(
        spec,
        found.names,
        KINDS[LABEL_SETS].task_metrics,
        kind=LABEL_SETS,
        train=splits[0],
        validation=splits[1],
        reading=reading_of(spec, layout.fields, train, validation, found.columns),
    )


def _check_no_classes(spec: TaskSpec) -> None:
    """Reject settings that are about one class per example."""
    for name in ("positive", "no_label"):
        if getattr(spec, name) is not None:
            raise UserError(f"task.{name} is for tasks with one class per example, which '{spec.name}' is not")


def _generated(spec: TaskSpec, form: Form, *splits: Table) -> Task:
    """Turn the rows of two splits into a task whose answers are texts."""
    if spec.positive is not None:
        raise UserError(f"task.positive chooses between two classes, but {spec.name} asks for texts")
    tables = [without_unanswered(table, form, spec.no_label) for table in splits]
    named = spec.model_copy(update={"label": form.completion})
    groups = groups_of(named, *tables)
    if spec.group is None and (groups := passages(form, tables))[0] is not None:
        named = named.model_copy(update={"group": PASSAGE})
    examples = []
    for place, numbers in enumerate(groups):
        found, notes = examples_of(form, tables[place])
        tables[place] = replace(tables[place], notes=(*tables[place].notes, *notes))
        examples.append(replace(found, groups=numbers))
    return make_task(
        spec,
        (),
        KINDS[GENERATION].task_metrics,
        kind=GENERATION,
        train=examples[0],
        validation=examples[1],
        reading=reading_of(named, form.prompt, tables[0], tables[1]),
    )


def known_format(spec: TaskSpec) -> Format:
    """Return what the user specified about the files."""
    return Format(spec.encoding, "task.encoding")


def task_from_tables(
    spec: TaskSpec,
    train: Table,
    validation: Table,
    names: tuple[str, ...] | None = None,
    metrics: tuple[str, ...] | None = None,
    fields: tuple[str, ...] | None = None,
) -> Task:
    """Turn the rows of two splits into a task.

    Args:
        spec: The user's specification.
        train: Training rows.
        validation: Evaluation rows.
        names: The classes of a known benchmark, () for a regression; None to find them in the rows.
        metrics: Its metrics, the main one first; None for the kind's default.
        fields: The columns of its layout.

    Raises:
        UserError: As `load_folder`.
    """
    train, validation = (_recased(unnested(table), spec) for table in (train, validation))
    if spec.label not in train.columns and len(switches := switches_in(train)) > 1:
        raise UserError(
            f"{train.origin} has no column '{spec.label}', but {', '.join(switches)} hold 0 and 1: if an example has "
            f"any number of these labels, use --set task.labels='[{', '.join(switches)}]', or name one with task.label"
        )
    train.column(spec.label, f"task.label={likely_label(train)}")
    layout = infer_layout(train, spec.label) if spec.columns is None else named_layout(spec.columns, spec.label)
    if spec.columns is None and fields is not None:
        _check_fields(spec, layout, fields, train)
    known = layout.choices or names
    metric = METRICS[spec.metric] if spec.metric is not None else None
    wanted = metric is not None and any(KINDS[one].has_numbers for one in metric.kinds)
    wanted = wanted or find_kind(spec.kind).has_numbers
    train, validation = labelled(
        train, validation, spec.label, spec.no_label, () if known is None and wanted else known
    )
    labels: Encoded
    if known is None:
        labels = infer_labels(train, validation, spec.label, regression=wanted)
    else:
        labels = match_labels(train, validation, spec.label, known)
    labels = _with_positive(spec, labels, own=known is None)
    groups = groups_of(spec, train, validation)
    kind = "choice" if layout.choices else "classification" if labels[0] else "regression"
    return make_task(
        spec,
        labels[0],
        metrics or KINDS[kind].task_metrics,
        kind=kind,
        train=Examples(layout.candidates(train), labels[1], groups=groups[0]),
        validation=Examples(layout.candidates(validation), labels[2], groups=groups[1]),
        reading=reading_of(spec, layout.fields, train, validation),
    )


def _with_positive(spec: TaskSpec, labels: Encoded, own: bool) -> Encoded:
    """Number two classes so that the positive one is class 1."""
    names, *splits = labels
    if spec.positive is None:
        return labels
    if not own or len(names) != 2:
        what = "its classes are fixed by the benchmark" if not own else f"it has {len(names)} classes"
        raise UserError(f"task.positive chooses between two classes of your own data, but for {spec.name} {what}")
    if spec.positive not in names:
        raise unknown_name("class", spec.positive, names)
    return labels if spec.positive == names[1] else (names[::-1], 1 - splits[0], 1 - splits[1])


def _recased(table: Table, spec: TaskSpec) -> Table:
    """Rename columns whose known names are spelled in a different case."""
    wanted = {spec.label, *(pair_fields(table.columns) if spec.columns is None else ())} - {spec.group}
    lower: dict[str, list[str]] = {}
    for name in table.columns:
        lower.setdefault(name.lower(), []).append(name)
    found = {name: lower.get(name.lower(), []) for name in wanted}
    return renamed(table, {names[0]: name for name, names in found.items() if len(names) == 1})


def _check_fields(spec: TaskSpec, layout: Layout, fields: tuple[str, ...], train: Table) -> None:
    """Reject columns found for a benchmark if they are fewer or more than its own."""
    # The spans of WSC may already be in a second text.
    if len(layout.fields) != (3 if fields == WIC.fields else min(len(fields), 2)):
        raise UserError(
            f"{train.origin}: an example of {spec.name} consists of {', '.join(fields)}, but only "
            f"{', '.join(layout.fields)} was found among {', '.join(train.columns)}: rename the columns, or name one "
            "or two with --set task.columns"
        )


def groups_of(spec: TaskSpec, train: Table, validation: Table) -> list[NDArray[np.int64] | None]:
    """Return the group number of each row in both splits, if the user named a group column."""
    if spec.group is None:
        return [None, None]
    if spec.group == spec.label:
        raise UserError(
            f"task.group is '{spec.group}', the label: it must name a column that says which examples belong together"
        )
    return [np.array(numbers, dtype=np.int64) for numbers in group_numbers(train, validation, spec.group)]


def reading_of(
    spec: TaskSpec, fields: tuple[str, ...], train: Table, validation: Table, labels: tuple[str, ...] = ()
) -> Reading:
    """Describe what was read from two tables; `labels` are the columns of the labels if they were found."""
    labels = labels or (spec.label,)
    used = {*fields, *labels, spec.group, ""}
    notes = [f"{Path(table.origin).name}: {note}" for table in (train, validation) for note in table.notes]
    told = telling(train, [field for field in fields if field in train.columns], labels[0])
    warnings = [f"input column '{field}' reveals the label: a model needs nothing else to be right" for field in told]
    return Reading(
        columns=fields,
        label=", ".join(labels),
        group=spec.group or "",
        left_aside=tuple(name for name in train.columns if name not in used),
        notes=tuple(dict.fromkeys(notes)),
        warnings=tuple(warnings),
    )


def make_task(
    spec: TaskSpec,
    names: tuple[str, ...],
    metrics: tuple[str, ...],
    *,
    kind: str,
    train: Examples,
    validation: Examples,
    reading: Reading | None = None,
) -> Task:
    """Assemble a task; a metric chosen by the user precedes the official ones, which are still recorded.

    Raises:
        UserError: The chosen metric is unknown or not defined for the task, or a group divides a question.
    """
    for split in (train, validation):
        if split.groups is not None and split.questions is not None:
            pairs = np.unique(np.stack([split.questions, split.groups]), axis=1)
            if pairs.shape[1] > len(np.unique(split.questions)):
                raise UserError(
                    f"task.group is '{spec.group}', which divides examples that {metrics[0]} reads together: "
                    "name a column that is the same for all of them"
                )
    if spec.metric is not None:
        check_metric(spec.metric, kind, len(names), validation, names)
    chosen = spec.metric or metrics[0]
    return Task(
        name=spec.name,
        kind=kind,
        label_names=names,
        metric=chosen,
        train=train,
        validation=validation,
        extra_metrics=tuple(name for name in metrics if name != chosen),
        reading=reading or Reading(),
    )
