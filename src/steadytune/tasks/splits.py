"""Splits: the examples a run trains on, selects its epoch with, and is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import Training
from steadytune.tasks.base import Examples, Task


@dataclass(frozen=True)
class Splits:
    """The examples a run trains on, selects its epoch with (None by default), and is measured on."""

    train: Examples
    select: Examples | None
    measure: Examples


def split(task: Task, training: Training, data_seed: int = 0) -> Splits:
    """Draw the training subset and the two halves of the validation set: the same for every model and recipe.

    Args:
        task: What to split.
        training: Parameters of the split.
        data_seed: Seed of the training subset; it does not affect the halves.

    Raises:
        UserError: The subset is larger than the training set, or lacks a class, or the whole set is used and cannot be
            redrawn.
    """
    if training.split == "stratified" and KINDS[task.kind].several:
        raise UserError(
            f"training.split: stratified draws examples by their class, and those of task '{task.name}' have several: "
            "use split: random"
        )
    train = task.train if training.train_size is None else _drawn(task, training, training.train_size, data_seed)
    if training.split == "stratified" and training.train_size is None:
        raise UserError("training.split: stratified needs training.train_size, the number of examples to draw")
    if data_seed and len(train) == len(task.train):
        raise UserError(
            f"a data seed draws a new training subset, but all {len(train)} training examples of "
            f"task '{task.name}' are used: set a smaller training.train_size"
        )
    if not training.select_checkpoint:
        return Splits(train, None, task.validation)
    # Examples that the metric reads together, or that the user grouped, stay together.
    groups = task.validation.groups if task.reading.group else task.validation.questions
    if groups is None:
        groups = np.arange(len(task.validation))
    order = np.random.default_rng([training.split_seed, 1]).permutation(np.unique(groups))
    if len(order) < 2:
        raise UserError(
            f"task '{task.name}' has too few validation examples for training.select_checkpoint, which splits them "
            "in half"
        )
    picks = np.isin(groups, order[: len(order) // 2])
    return Splits(train, task.validation.select(np.flatnonzero(picks)), task.validation.select(np.flatnonzero(~picks)))


def _drawn(task: Task, training: Training, size: int, data_seed: int) -> Examples:
    """Draw a training subset that contains every measured class."""
    train = task.train
    if size > len(train):
        raise UserError(
            f"training.train_size is {size}, but task '{task.name}' has only {len(train)} training examples"
        )
    # NumPy pads entropy with zeros, so data seed 0 draws the same as split_seed alone.
    rng = np.random.default_rng([training.split_seed, 0, data_seed])
    drawn = f"the {size} training examples drawn from '{task.name}' by data seed {data_seed}"
    if training.split == "stratified":
        return train.select(_stratified(task, size, rng))
    subset = train.select(rng.permutation(len(train))[:size])
    # Neither targets nor positions of a choice are classes: a model scores each candidate.
    # Of several labels per example some are rare; which of them training lacks is said with the data's other facts.
    if not KINDS[task.kind].one_class:
        return subset
    classes_in = KINDS[task.kind].classes_in
    seen = set(classes_in(subset.labels).tolist())
    unseen = set(classes_in(task.validation.labels).tolist()) - seen
    ways = "raise training.train_size, change training.split_seed"
    if data_seed:
        ways = "raise training.train_size, choose other data seeds"
    if len(seen) < 2:
        raise UserError(f"{drawn} belong to one class: {ways}, or draw from every class with training.split=stratified")
    if unseen:
        missing = ", ".join(f"'{task.label_names[label]}'" for label in sorted(unseen))
        raise UserError(
            f"{drawn} lack the label {missing}: {ways}, or draw from every class with training.split=stratified"
        )
    return subset


def _stratified(task: Task, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw examples of each class in proportion, at least one of each, in random order."""
    if not KINDS[task.kind].has_classes:
        raise UserError(
            f"training.split: stratified draws from each class, but task '{task.name}' is {KINDS[task.kind].noun}"
        )
    labels = task.train.labels
    classes, counts = np.unique(labels, return_counts=True)
    if size < len(classes):
        raise UserError(
            f"training.train_size is {size}, but '{task.name}' has {len(classes)} classes and needs an example of each"
        )
    # Largest-remainder rounding; a class that would be left out takes an example from the most favoured one.
    shares = size * counts / len(labels)
    wanted = np.floor(shares).astype(np.int64)
    for index in np.argsort(wanted - shares, kind="stable")[: size - int(wanted.sum())]:
        wanted[index] += 1
    for index in np.flatnonzero(wanted == 0):
        wanted[np.argmax(np.where(wanted > 1, wanted - shares, -np.inf))] -= 1
        wanted[index] = 1
    picks = [
        rng.permutation(np.flatnonzero(labels == one))[:number] for one, number in zip(classes, wanted, strict=True)
    ]
    return rng.permutation(np.concatenate(picks))
