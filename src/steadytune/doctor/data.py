"""Findings about the data of a study: `tasks.data_facts` detects problems; the advice is here."""

from __future__ import annotations

from steadytune.doctor.findings import UNUSABLE, Finding
from steadytune.doctor.setup import Setup

_ADVICE = {
    "label-leak": (
        "A model that can read the label itself does not need the text, and all runs agree.",
        "remove the column from task.columns, unless it is available when the model is used",
    ),
    "trained-on-measured": (
        "The score on a training example measures memorization, and runs agree on it.",
        "remove these examples from one of the two files",
    ),
    "shared-groups": (
        "Examples of one group are similar: training on part of a group makes the rest easier.",
        "split by group, so that each group is in one file only",
    ),
    "one-class": (
        "A model that always gives the same answer is then perfect, and no measure distinguishes it from a good one.",
        "redraw the validation set with every class in it; a sorted file may have been split in two",
    ),
    "imbalance": (
        "Always predicting the majority class scores high, so collapsed runs look good and alike.",
        "also measure with --set task.metric=f1_macro, matthews or balanced_accuracy",
    ),
    "untrained-class": (
        "No model learns a class that it never sees.",
        "raise training.train_size, or sample every class: training.split=stratified",
    ),
    "two-labels": (
        "Runs differ on such texts whatever the recipe, and none can be right about all of them.",
        "choose one label, or remove these texts",
    ),
    "duplicates": (
        "Duplicates count as independent evidence although they are not: intervals are too narrow.",
        "keep one of each, or name the column that groups related examples: --set task.group=NAME",
    ),
    "cut-inputs": (
        "A model cannot use what it does not read: scores fall, and the loss does not show by how much.",
        "raise training.max_length as far as the model allows",
    ),
}


def data_findings(setup: Setup) -> list[Finding]:
    """Return the known problems with the data of one way of training."""
    if setup.unusable:
        return [
            Finding(
                rule=UNUSABLE,
                severity="high",
                title="the task cannot be used",
                where=setup.where,
                found=setup.unusable,
                why="steadytune run stops here, before anything is trained.",
                source="checked just now",
                advice="fix it first: no finding below has used the data",
            )
        ]
    if setup.data is None:
        return []
    return [
        Finding(
            rule=rule,
            severity=severity,
            title=title,
            where=setup.where,
            found=f"{found} (task {setup.data.task})",
            why=_ADVICE[rule][0],
            source="counted in the files; the thresholds are our own choice",
            advice=_ADVICE[rule][1],
        )
        for rule, severity, title, found in setup.data.problems()
    ]
