"""Findings about the data of a study: `tasks.data_facts` knows what is wrong with it, what to do stands here."""

from __future__ import annotations

from steadytune.doctor.findings import UNUSABLE, Finding
from steadytune.doctor.setup import Setup

_ADVICE = {
    "label-leak": (
        "A model that reads the label's own words needs no text, and all runs agree.",
        "leave the column out of task.columns, unless it is known when the model is used",
    ),
    "trained-on-measured": (
        "The score of an example that was trained on says what is remembered, and runs agree about it.",
        "take these examples out of one of the two files",
    ),
    "shared-groups": (
        "Examples of one group are alike: part of a group that was trained on makes the rest easier.",
        "split by the group, so that each stands in one file",
    ),
    "one-class": (
        "A model that gives the same answer to everything is then perfect, and no measure tells it from a good one.",
        "draw the validation set anew, with every class in it; a sorted file may have been cut in two",
    ),
    "imbalance": (
        "The accuracy of the majority's answer is high, and runs that collapse to it look good and alike.",
        "measure with --set task.metric=f1_macro, matthews or balanced_accuracy as well",
    ),
    "untrained-class": (
        "No model learns a class that it never sees.",
        "raise training.train_size, or draw from each class: training.split=stratified",
    ),
    "two-labels": (
        "Runs differ on such texts whatever they are trained with, and none can be right about all of them.",
        "decide for one label, or leave these texts out",
    ),
    "duplicates": (
        "Copies count as evidence although they are none: intervals come out too narrow.",
        "keep one of each, or name the column that tells which examples belong together: --set task.group=NAME",
    ),
    "cut-inputs": (
        "What a model does not read it cannot use: scores fall, and which ones by how much is not seen in the loss.",
        "raise training.max_length, as far as the model allows",
    ),
}


def data_findings(setup: Setup) -> list[Finding]:
    """Return what is wrong with the data of one way of training, as far as it is known."""
    if setup.unusable:
        return [
            Finding(
                rule=UNUSABLE,
                severity="high",
                title="the task cannot be used",
                where=setup.where,
                found=setup.unusable,
                why="steadytune run stops here, before anything is trained.",
                source="tried just now",
                advice="mend it first: nothing below has seen the data",
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
            source="counted in the files; what counts as much is a choice of ours",
            advice=_ADVICE[rule][1],
        )
        for rule, severity, title, found in setup.data.problems()
    ]
