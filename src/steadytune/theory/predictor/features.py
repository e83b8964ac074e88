"""Quantities of the pre-trained features of a training set, known before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.seeds import Seeds
from steadytune.study import STANDARD, RunSpec, Training
from steadytune.tasks import load_task
from steadytune.theory.loo.logistic_loo import approximate_leave_one_out
from steadytune.theory.margin.max_margin import directions, max_margin, norms
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features
from steadytune.training.loading import quiet
from steadytune.training.weights import weights_fingerprint

_L2 = 1.0
"""Weight of the penalty relative to the sum of the losses: scikit-learn's C = 1."""


def frozen_spec(spec: RunSpec) -> RunSpec:
    """Return a head-tuning run on the features that a run starts from.

    Runs with the same model, task and training examples share its `id`. The recipe's stabilizers are left out; if the
    run uses the model class's own head, features are means over the tokens.
    """
    training = spec.training
    kept = training.model_dump(
        include={"train_size", "split", "select_checkpoint", "split_seed", "max_length", "precision"}
    )
    pooling = "auto" if training.pooling == "native" else training.pooling
    head = Training.model_validate({**kept, "pooling": pooling, "mode": "head", "threads": training.threads})
    return spec.model_copy(
        update={
            "recipe": STANDARD,
            "training": head.resolved(spec.model),
            "stabilizers": (),
            "seeds": Seeds.all(0).model_copy(update={"data": spec.seeds.data}),
        }
    )


def feature_quantities(
    spec: RunSpec, cache: Path, progress: Callable[[float], None] = lambda share: None
) -> dict[str, float]:
    """Return the margin, B/gamma and the leave-one-out instability of heads on the frozen features of a training set.

    "margin" is gamma of the max-margin head without bias and "norm_over_margin" is B/gamma; both are NaN if the
    classes are not separable. "loo_directions" is the mean distance between the directions of the regularised head (sum
    of the losses + ||W||^2 / 2, no bias) trained with and without an example, by one Newton step per example.

    Args:
        spec: As `frozen_spec` makes it.
        cache: Folder of cached features.
        progress: Called with the share of the examples that is encoded, 0 to 1, if the cache has no features.

    Raises:
        UserError: Model or data are missing or not those of the run, or the task is not a classification; or as
            `max_margin`.
    """
    task = load_task(spec.task)
    if not KINDS[task.kind].one_class:
        raise UserError(f"task '{task.name}' is {KINDS[task.kind].noun}, and a margin needs classes")
    if task.fingerprint != spec.data:
        raise UserError(f"the data of task '{task.name}' differ from those of the runs")
    if weights_fingerprint(spec.model) != spec.weights:
        raise UserError(f"the files of model '{spec.model}' differ from those of the runs")
    data = run_data(spec)
    with quiet():
        features = frozen_features(spec, data, cache, progress).train.double().numpy()
    labels = data.splits.train.labels
    found = max_margin(features, labels)
    gamma = found.gamma if found.separable else math.nan
    heads = approximate_leave_one_out(features, labels, l2=_L2)
    moved = norms(directions(heads.weight) - directions(heads.full.weight[None]))
    return {"margin": gamma, "norm_over_margin": found.largest_norm / gamma, "loo_directions": float(moved.mean())}
