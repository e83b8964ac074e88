"""The bound of full fine-tuning on a real task: its terms, the Taylor check, and measured leave-one-out distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import RunSpec
from steadytune.tasks import load_task
from steadytune.tasks.splits import split
from steadytune.theory.full.bound import full_tuning_bound
from steadytune.theory.full.curvature import MeanLoss, run_loss
from steadytune.theory.full.path import Array, PathTerms, gradient_descent
from steadytune.theory.full.result import FullTuningBound
from steadytune.theory.full.taylor import TaylorCheck, taylor_check
from steadytune.theory.inputs import need_all_weights
from steadytune.training.data import run_data
from steadytune.training.loading import quiet

_BATCH = 16
"""Examples per pass, shortest first: little is padded, and the second derivatives stay small in memory."""
_REACH = 2.0


@dataclass(frozen=True)
class TaskBound:
    """The bound and the measurements of one training by gradient descent on a task.

    Attributes:
        model: Name.
        task: Name.
        recipe: Name.
        bound: The bound with its terms.
        taylor: The loss along w_0 -> w_T, and as far again beyond, compared with its expansion.
        rows: (m,) indices in the training set of the left-out examples.
        distances: (m,) ||w_T - w_T^i|| of these examples.
        sums: (m,) `bound.example_paths` of these examples.
    """

    model: str
    task: str
    recipe: str
    bound: FullTuningBound
    taylor: TaylorCheck
    rows: NDArray[np.int64]
    distances: Array
    sums: Array

    @property
    def names(self) -> dict[str, Any]:
        """The names that identify this training."""
        return {"model": self.model, "task": self.task, "recipe": self.recipe}

    @property
    def name(self) -> str:
        """These names and n in one line."""
        return f"{self.model} on {self.task}, {self.recipe}, n = {self.bound.n}"

    @property
    def instability(self) -> float:
        """Mean of the measured distances: leave-one-out stability, estimated from m examples; NaN if there are none."""
        return float(self.distances.mean()) if len(self.distances) else math.nan

    def summary(self) -> dict[str, Any]:
        """Return one row: every term, the forms of the bound, and the measurements."""
        found, terms = self.bound, self.bound.terms
        named = ("n", "size", "idle", "learning_rate", "steps", "lipschitz", "mean_gradient", "beta", "example_beta")
        row = {**self.names, **{name: getattr(found, name) for name in (*named, "mu", "restricted_mu", "distance")}}
        row |= {"margin": float(terms.margin.max()), "residual": float(terms.residual.max())}
        row |= {f"bound_{name}": value for name, value in found.bound._asdict().items()}
        row |= {"path_sum": found.path, "proved": found.proved}
        row |= {"fails": "; ".join(failure.name for failure in found.failures)}
        row |= {"left_out": len(self.rows), "loo_weights": self.instability}
        return row | {"taylor_limit": self.taylor.limit, "first_loss": terms.loss[0], "last_loss": terms.loss[-1]}

    def path(self) -> list[dict[str, Any]]:
        """Return a row per point of the path."""
        terms = self.bound.terms
        names = [field.name for field in fields(PathTerms) if getattr(terms, field.name).ndim == 1]
        columns = {name: getattr(terms, name).tolist() for name in names}
        return [{**self.names, **{name: columns[name][k] for name in names}} for k in range(len(terms.step))]

    def curve(self) -> list[dict[str, Any]]:
        """Return a row per point of the Taylor check."""
        check = self.taylor
        columns = zip(check.distance, check.loss, check.expansion, check.error, strict=True)
        return [
            {**self.names, **dict(zip(("distance", "loss", "expansion", "error"), values, strict=True))}
            for values in columns
        ]

    def examples(self) -> list[dict[str, Any]]:
        """Return a row per left-out example."""
        columns = zip(self.rows.tolist(), self.distances.tolist(), self.sums.tolist(), strict=True)
        return [
            {**self.names, "example": row, "loo_weights": apart, "path_sum": limit} for row, apart, limit in columns
        ]

    def describe(self) -> list[str]:
        """Return sentences: what was found, and which assumption fails."""
        said = [*self.bound.describe(), self.taylor.describe()]
        if len(self.rows):
            said.append(
                f"Leave-one-out stability, measured: the mean of ||w_T - w_T^i|| over {len(self.rows)} examples is "
                f"{self.instability:.3g}, from {self.distances.min():.3g} to {self.distances.max():.3g}; the sums over "
                f"the path of the same examples are {self.sums.mean():.3g} on average."
            )
        return said


def task_bound(
    spec: RunSpec,
    *,
    steps: int,
    learning_rate: float | None = None,
    points: int = 5,
    products: int = 20,
    left_out: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> TaskBound:
    """Train a run's model by plain gradient descent on all its training examples, and measure the terms of the bound.

    Of the run, only the model, the task, its training set, the pooling and the init seed matter; everything else is as
    the bound assumes: each step sees all examples, without dropout, momentum, decay, warm-up or clipping.

    Args:
        spec: A run of full fine-tuning on a classification task.
        steps: T.
        learning_rate: eta; 1/beta at the start unless given.
        points: Number of points of the path at which terms are measured.
        products: Limit on the Hessian-vector products at each point.
        left_out: m, how many examples to leave out in turn; `split_seed` draws them.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The run is not full fine-tuning on a classification task without stabilizers; it has fewer than three
            training examples, or fewer than `left_out`; or as for `full_tuning_bound`.
    """
    check_run(spec, left_out)
    data = run_data(spec)
    labels = data.splits.train.labels
    # A product costs about as much as three steps.
    whole = steps + 3 * products * points
    share = whole / (whole + left_out * steps)
    with quiet():
        loss = run_loss(spec, _BATCH)
    found = full_tuning_bound(
        loss,
        learning_rate=learning_rate,
        steps=steps,
        points=points,
        products=products,
        progress=lambda done: progress(share * done),
    )
    taylor = taylor_check(loss, found.end, reach=_REACH)
    rows = np.sort(np.random.default_rng([spec.training.split_seed, 2]).permutation(len(labels))[:left_out])
    # The loss has its examples in the order of its batches.
    places = np.argsort(data.train.shortest_first)[rows]
    distances = left_out_distances(
        loss,
        found.end,
        places.tolist(),
        learning_rate=found.learning_rate,
        steps=steps,
        progress=lambda done: progress(share + (1 - share) * done),
    )
    progress(1.0)
    return TaskBound(*spec.cohort, found, taylor, rows, distances, found.example_paths[places])


def left_out_distances(
    loss: MeanLoss,
    end: Tensor,
    places: Sequence[int],
    *,
    learning_rate: float,
    steps: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Array:
    """Repeat the gradient descent without each of some examples, and return the distances between the final weights.

    An example is left out by giving it weight 0: all others keep 1/n, as in the proof of the bound.

    Args:
        loss: The same as for `end`, at w_0.
        end: (P,), w_T with all examples.
        places: Positions of m examples in the order of `loss.examples()`.
        learning_rate: eta.
        steps: T.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        (m,) ||w_T - w_T^i||.

    Raises:
        UserError: A training diverges.
    """
    found = []
    for done, place in enumerate(places):

        def told(share: float, before: int = done) -> None:
            progress((before + share) / len(places))

        (other,) = gradient_descent(loss.without(place), learning_rate, steps, [steps], progress=told)
        found.append(float((other - end).norm()))
    return np.array(found)


def check_run(spec: RunSpec, left_out: int) -> None:
    """Refuse a run that `task_bound` cannot take, before its model is loaded.

    Raises:
        UserError: As for `task_bound`, for faults of the run and of `left_out`.
    """
    name, task = spec.task.name, load_task(spec.task)
    labels = split(task, spec.training, spec.seeds.data).train.labels
    if spec.training.mode != "full":
        raise UserError(f"this bound is for full fine-tuning, not for mode '{spec.training.mode}': use mode 'full'")
    need_all_weights(spec)
    if spec.stabilizers:
        raise UserError(f"the bound is for plain gradient descent, and recipe '{spec.recipe}' has stabilizers")
    if not KINDS[task.kind].one_class:
        raise UserError(f"the bound needs classification losses, and task '{name}' is {KINDS[task.kind].noun}")
    if len(labels) < 3 or len(np.unique(labels)) < 2:
        raise UserError(f"task '{name}' needs at least 3 training examples of at least two classes")
    if not 0 <= left_out <= len(labels):
        raise UserError(f"task '{name}' has {len(labels)} training examples: cannot leave out {left_out}")
