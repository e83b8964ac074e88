"""Which examples a run trains on, picks its epoch by, and is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steadytune.errors import UserError
from steadytune.study import Training
from steadytune.tasks.base import Examples, Task


@dataclass(frozen=True)
class Splits:
    """What a run trains on, picks its epoch by (None unless asked), and is measured on."""

    train: Examples
    select: Examples | None
    measure: Examples


def split(task: Task, training: Training, data_seed: int = 0) -> Splits:
    """Draw the training subset and the two halves of the validation set: the same for every model and recipe.

    Args:
        task: What to split.
        training: Says how.
        data_seed: Draws another training subset than 0 does; the halves stay as they are.

    Raises:
        UserError: The subset is larger than the training set, or lacks a class, or there is none to draw again.
    """
    train = task.train
    if training.train_size is not None:
        if training.train_size > len(train):
            raise UserError(
                f"training.train_size is {training.train_size}, "
                f"but task '{task.name}' has {len(train)} training examples"
            )
        # NumPy pads entropy with zeros, so that data seed 0 draws what split_seed alone would.
        order = np.random.default_rng([training.split_seed, 0, data_seed]).permutation(len(train))
        train = train.select(order[: training.train_size])
        unseen = set(task.validation.labels.tolist()) - set(train.labels.tolist())
        drawn = f"the {training.train_size} training examples drawn from '{task.name}'"
        drawn += f" by data seed {data_seed}" if data_seed else ""
        if task.kind == "classification" and len(np.unique(train.labels)) < 2:
            raise UserError(f"{drawn} are of one class: raise training.train_size or change training.split_seed")
        if task.kind == "classification" and unseen:
            missing = ", ".join(f"'{task.label_names[label]}'" for label in sorted(unseen))
            raise UserError(
                f"{drawn} never show the label {missing}: raise training.train_size or change training.split_seed"
            )
    if data_seed and len(train) == len(task.train):
        raise UserError(
            f"a data seed draws the training subset again, but all {len(train)} training examples of "
            f"task '{task.name}' are used: set training.train_size to fewer"
        )
    if not training.select_checkpoint:
        return Splits(train, None, task.validation)
    # Examples that the metric reads together stay together.
    groups = np.arange(len(task.validation)) if task.validation.groups is None else task.validation.groups
    order = np.random.default_rng([training.split_seed, 1]).permutation(np.unique(groups))
    if len(order) < 2:
        raise UserError(
            f"task '{task.name}' has too few validation examples for training.select_checkpoint: no two halves"
        )
    picks = np.isin(groups, order[: len(order) // 2])
    return Splits(train, task.validation.select(np.flatnonzero(picks)), task.validation.select(np.flatnonzero(~picks)))
