"""Leave-one-out stability of head tuning on a real task, with its bound and the influence-function prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.study import RunSpec
from steadytune.theory.loo.head import HeadStability, leave_one_out
from steadytune.theory.loo.influence import HeadInfluence, head_influence
from steadytune.theory.loo.stability import Differences
from steadytune.theory.margin.bound import HeadBound, head_tuning_bound
from steadytune.training.data import run_data
from steadytune.training.features import features_key, frozen_features
from steadytune.training.loading import quiet

QUANTITIES = tuple(field.name for field in fields(Differences))


@dataclass(frozen=True)
class TaskStability:
    """The stability of head tuning on n examples of a task.

    Attributes:
        model: Model name.
        task: Task name.
        recipe: Recipe name.
        n: Training examples.
        rows: (m,) indices of the left-out examples in the training set.
        labels: (m,) their classes.
        exact: The results of leaving each of them out in turn, for several seeds.
        predicted: What influence functions predict for the first seed.
        bound: Bound of the max-margin head, with the direction errors of the first seed.
    """

    model: str
    task: str
    recipe: str
    n: int
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    exact: HeadStability
    predicted: HeadInfluence
    bound: HeadBound

    @property
    def names(self) -> dict[str, Any]:
        """What identifies this training: model, task, recipe and n."""
        return {"model": self.model, "task": self.task, "recipe": self.recipe, "n": self.n}

    @property
    def name(self) -> str:
        """Model, task, recipe and n in one line."""
        return f"{self.model} on {self.task}, {self.recipe}, n = {self.n}"

    def summary(self) -> dict[str, Any]:
        """Return one row: "loo_..." and "seed_..." of every quantity, the bound with its terms, and ranks."""
        means = self.exact.to_frame().to_dict()
        row = {**self.names, "left_out": len(self.rows), "seeds": len(self.exact.seeds)}
        for name in QUANTITIES:
            row |= {f"loo_{name}": means["leave_one_out"][name], f"seed_{name}": means["seed"][name]}
        ranks = self.exact.leave_one_out.of(0).rank_correlations(self.predicted.differences)
        solution = self.bound.solution
        return {
            **row,
            "steps": self.exact.steps,
            "learning_rate": self.exact.learning_rate,
            **{f"influence_rank_{name}": value for name, value in ranks.items()},
            "separable": solution.separable,
            "margin": solution.gamma,
            "norm": solution.largest_norm,
            "norm_over_margin": solution.largest_norm / solution.gamma,
            "direction_bound": self.bound.direction_bound,
            "sharp_direction_bound": float(self.bound.sharp_direction_bound.mean()),
            "descent_bound": self.bound.descent_bound,
        }

    def examples(self) -> list[dict[str, Any]]:
        """Return a row per seed and left-out example; those of the first seed include the predictions."""
        exact, found = self.exact, []
        for (k, seed), (i, example) in product(enumerate(exact.seeds), enumerate(self.rows)):
            row = {**self.names, "seed": seed, "example": int(example), "label": int(self.labels[i])}
            row |= {"loss": float(exact.losses[k, i]), "left_out_loss": float(exact.left_out_losses[k, i])}
            row |= {f"loo_{name}": float(getattr(exact.leave_one_out, name)[k, i]) for name in QUANTITIES}
            if k == 0:
                values = self.predicted.differences
                row |= {f"influence_{name}": float(getattr(values, name)[i]) for name in QUANTITIES}
            found.append({**row, "multiplier": float(self.bound.solution.alpha[i])})
        return found

    def describe(self) -> list[str]:
        """Return sentences: what was compared, and which assumption fails."""
        return [*self.exact.describe(), *self.bound.describe()]


def task_stability(
    spec: RunSpec,
    cache: Path,
    *,
    sizes: Sequence[int] = (),
    seeds: int = 3,
    steps: int = 500,
    learning_rate: float | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> list[TaskStability]:
    """Encode the training set of a task, and study head tuning on subsets of it.

    The subsets are nested, in a random order given by `split_seed`. Heads have no bias, start from weights of the
    model's own initial scale, and are trained by full-batch gradient descent; with `mhloss` there are H of them.
    Features are used unchanged.

    Args:
        spec: A run in mode "head". Of its recipe only what determines the features matters, and the H of `mhloss`;
            its epochs, rates and seeds do not.
        cache: Folder of cached features.
        sizes: Numbers of examples; by default all.
        seeds: Number of seeds.
        steps: Number of gradient-descent steps.
        learning_rate: Learning rate for the mean loss; by default 1 / beta of each subset.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        UserError: The task has no classes, or fewer examples than requested; or as `check_recipes`, `leave_one_out` and
            `max_margin`.
    """
    check_recipes([spec])
    data = run_data(spec)
    if not KINDS[data.task.kind].one_class:
        raise UserError(
            f"leave-one-out compares predicted classes, and task '{data.task.name}' is {KINDS[data.task.kind].noun}"
        )
    labels = data.splits.train.labels
    for size in sizes:
        if not 3 <= size <= len(labels):
            raise UserError(f"size {size}: task '{data.task.name}' has {len(labels)} training examples, from 3 to all")
    encoding = 0.3
    with quiet():
        encoded = frozen_features(spec, data, cache, lambda share: progress(encoding * share))
    features = encoded.train.double().numpy()
    order = np.random.default_rng([spec.training.split_seed, 3]).permutation(len(labels))
    parts = [order[:size] for size in sorted(sizes)] or [np.arange(len(labels))]
    efforts = np.cumsum([0, *(len(part) ** 2 for part in parts)]) / sum(len(part) ** 2 for part in parts)
    found = []
    for k, part in enumerate(parts):

        def report(share: float, k: int = k) -> None:
            done = efforts[k] + share * (efforts[k + 1] - efforts[k])
            progress(encoding + (1 - encoding) * float(done))

        chosen, classes = features[part], labels[part]
        exact = leave_one_out(
            chosen,
            classes,
            seeds=range(seeds),
            steps=steps,
            learning_rate=learning_rate,
            scale=encoded.scale,
            heads=_heads(spec),
            evaluation=encoded.measure.double().numpy(),
            progress=report,
        )
        damping = 1 / (exact.learning_rate * steps)
        predicted = head_influence(chosen, classes, exact.weights[0], damping=damping)
        bound = head_tuning_bound(chosen, classes, weights=exact.weights[0], left_out_weights=exact.left_out_weights[0])
        found.append(TaskStability(*spec.cohort, len(part), part, classes, exact, predicted, bound))
    progress(1.0)
    return found


def check_recipes(specs: Sequence[RunSpec]) -> None:
    """Refuse recipes of which `task_stability` would ignore a part.

    Args:
        specs: A run of each cohort.

    Raises:
        UserError: A recipe has a method other than `mhloss` that acts on the descent; or two recipes of a model and
            task differ only in the descent, which is the same for all.
    """
    found: dict[tuple[object, ...], RunSpec] = {}
    for spec in specs:
        for method in spec.stabilizers:
            if not (method.has("before_training") or isinstance(method, MHLoss)):
                raise UserError(
                    f"theory loo in head tuning uses one descent for all: recipe '{spec.recipe}' has {method.name}, "
                    "which changes the descent. Use --examples for full fine-tuning"
                )
        other = found.setdefault((spec.model, spec.task.name, features_key(spec), _heads(spec)), spec)
        if other.recipe != spec.recipe:
            raise UserError(
                f"theory loo in head tuning uses one descent for all: recipes '{other.recipe}' and '{spec.recipe}' "
                "have the same features and heads, so they are the same training. Remove one, or use --examples"
            )


def _heads(spec: RunSpec) -> int:
    return next((method.heads for method in spec.stabilizers if isinstance(method, MHLoss)), 1)
