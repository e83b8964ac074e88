"""Test the theory on frozen features of real tasks: subsamples of each, under every setting, as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import RunSpec
from steadytune.sweep.executors import Executor
from steadytune.tasks import load_task
from steadytune.theory.studies.dataset import DataSet, Indices
from steadytune.theory.studies.table import study_table
from steadytune.theory.studies.varied import ON_FEATURES, Grid, Row
from steadytune.training.data import RunData, run_data
from steadytune.training.features import frozen_features
from steadytune.training.loading import quiet

if TYPE_CHECKING:
    import pandas as pd

SIZES = (50, 100, 200, 400, 800)
_FEWEST = 2
"""Fewest examples of a class: one remains when the other is left out."""
_LEAST = 500
"""Fewest examples to draw subsamples from: these have the classes in about the proportions of the task."""
_ENCODING = 0.2


def feature_study(
    specs: Sequence[RunSpec],
    cache: Path,
    *,
    sizes: Sequence[int] = (),
    draws: int = 2,
    grid: Grid = ON_FEATURES,
    workers: int = 1,
    executor: str | Executor | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """Encode the training set of every task, and study subsamples of it under every setting.

    A subsample has the classes in the proportions of the task, but at least two examples of each. Within a draw the
    smaller ones are subsets of the larger ones. All available examples make one subsample, not several. Features are
    used unchanged; for the initial weights, a scale of 1 is the standard deviation with which the model's architecture
    draws new weights.

    Args:
        specs: A run in mode "head" per task, of one model. Of its recipe only what first trains the encoder matters;
            its seeds do not.
        cache: Folder of cached features.
        sizes: Numbers of examples; a task with fewer gives all it has. By default `SIZES` and all. If sizes are given,
            only as many examples of a task are encoded as all draws of the largest size need, but at least 500.
        draws: Number of subsamples of each size.
        grid: How heads are trained.
        workers: Data sets studied at the same time, each with one thread. The results do not depend on it.
        executor: How the work is run, as for `steadytune.run`.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        As `synthetic_study`; "data_seed" is the draw.

    Raises:
        UserError: A task has no classes, or fewer than two; no task has as many examples as requested; a subsample
            cannot contain two examples of every class; a feature is not finite.
    """
    parts = _parts(specs, sizes, draws)
    total = sum(len(part.data.train) for part in parts)
    data: list[tuple[Row, DataSet]] = []
    done = 0
    for part in parts:
        encoded_before, share = done / total, len(part.data.train) / total

        def report(of_task: float, before: float = encoded_before, share: float = share) -> None:
            progress(_ENCODING * (before + share * of_task))

        with quiet():
            encoded = frozen_features(part.spec, part.data, cache, report)
        features = encoded.train.double().numpy()
        done += len(features)
        for draw in range(draws):
            order = stratified_order(part.labels, [part.spec.training.split_seed, 3, draw])
            for size in part.sizes:
                if draw and size == len(order):
                    continue
                # Shuffled, so that the first examples are not all of one kind.
                chosen = np.random.default_rng([part.spec.training.split_seed, 4, draw]).permutation(order[:size])
                design = {"task": part.data.task.name, "n": size, "d": features.shape[1], "classes": part.classes}
                one = DataSet(features[chosen], part.labels[chosen], draw, encoded.scale)
                data.append(({**design, "data_seed": draw}, one))
    return study_table(
        data,
        grid,
        workers=workers,
        executor=executor,
        progress=lambda share: progress(_ENCODING + (1 - _ENCODING) * share),
    )


def stratified_order(labels: NDArray[np.int64], seed: Sequence[int]) -> Indices:
    """Return an order (n,) of examples in which every prefix has the classes in their proportions.

    Two of each class come first. Then the j-th of the N_c examples of class c comes at (j - 1/2) / N_c, which is the
    apportionment by Sainte-Lague's divisors: no longer prefix has fewer examples of a class.

    Args:
        labels: (n,) classes.
        seed: Determines the order within the classes.
    """
    mixed = np.random.default_rng(seed).permutation(len(labels))
    places = np.empty(len(labels))
    for label in np.unique(labels):
        (members,) = np.nonzero(labels[mixed] == label)
        places[members] = (np.arange(len(members)) + 0.5) / len(members)
        places[members[:_FEWEST]] = -1
    return mixed[np.argsort(places, kind="stable")]


@dataclass(frozen=True)
class _Part:
    """The part of a study on one task: the run with the training set to encode, its data, and the subsample sizes.

    Attributes:
        spec: The run.
        data: Its examples.
        labels: (n,) classes 0..C-1, all with examples.
        sizes: Increasing.
    """

    spec: RunSpec
    data: RunData
    labels: NDArray[np.int64]
    sizes: list[int]

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


def _parts(specs: Sequence[RunSpec], sizes: Sequence[int], draws: int) -> list[_Part]:
    """Check all tasks before any is encoded."""
    if not specs or len({spec.model for spec in specs}) > 1 or len({spec.task.name for spec in specs}) < len(specs):
        raise UserError("the study on features needs different tasks and one model")
    if draws < 1:
        raise UserError(f"draws must be at least 1, not {draws}")
    available = [_available(spec) for spec in specs]
    most = max(available)
    if sizes and max(sizes) > most:
        name = specs[available.index(most)].task.name
        raise UserError(
            f"size {max(sizes)} is too large: of these tasks '{name}' has the most training examples, {most}"
        )
    parts = []
    for given, count in zip(specs, available, strict=True):
        pool = min(count, max(draws * max(sizes), _LEAST)) if sizes else count
        fewer = given.training.model_copy(update={"train_size": pool})
        spec = given.model_copy(update={"training": fewer}) if pool < count else given
        data = run_data(spec)
        wanted = sizes or [*(size for size in SIZES if size < pool), pool]
        labels = np.unique(data.splits.train.labels, return_inverse=True)[1]
        part = _Part(spec, data, labels, sorted({min(size, pool) for size in wanted}))
        _check_classes(part)
        parts.append(part)
    return parts


def _available(spec: RunSpec) -> int:
    task = load_task(spec.task)
    if not KINDS[task.kind].one_class:
        raise UserError(f"the theory is about classes, and task '{task.name}' is {KINDS[task.kind].noun}")
    return spec.training.train_size or len(task.train)


def _check_classes(part: _Part) -> None:
    name, counts = part.data.task.name, np.bincount(part.labels)
    if len(counts) < 2:
        raise UserError(
            f"all {len(part.labels)} training examples of task '{name}' have the same class: at least two are needed"
        )
    if counts.min() < _FEWEST:
        rare = part.data.splits.train.labels[part.labels == counts.argmin()][0]
        raise UserError(
            f"task '{name}' has {counts.min()} example of the label '{part.data.task.label_names[rare]}' among "
            f"{len(part.labels)}: {_FEWEST} of every class are needed, so that one can be left out"
        )
    if part.sizes[0] < _FEWEST * len(counts):
        raise UserError(
            f"size {part.sizes[0]}: a subsample of task '{name}' with its {len(counts)} classes needs at least "
            f"{_FEWEST * len(counts)} examples, {_FEWEST} of each"
        )
