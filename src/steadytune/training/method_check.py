"""Check, before any training, that a model has what a recipe's adapter and stabilizers act on."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial

from steadytune.errors import UserError
from steadytune.models.random_state import preserved_random_state
from steadytune.stabilizers import Stabilizer
from steadytune.study import RunSpec
from steadytune.tasks import load_task
from steadytune.training.adapters import put_adapter
from steadytune.training.loading import build_model, load_tokenizer, quiet
from steadytune.training.stabilization import Stabilization


def check_methods(specs: Iterable[RunSpec]) -> None:
    """Equip a copy of each model with the adapter and the stabilizers of each recipe that fine-tunes it.

    Later actions of stabilizers are not tried, for example whether there is a language model to retrain.

    Raises:
        UserError: A model cannot be loaded, or lacks something that an adapter or stabilizer needs.
    """
    first: dict[object, dict[str, RunSpec]] = {}
    for spec in specs:
        if spec.training.mode == "full" and (_tried(spec) or spec.training.adapter is not None):
            task = load_task(spec.task)
            model = (spec.weights, spec.training.pooling, task.kind, task.num_outputs)
            first.setdefault(model, {})[spec.recipe] = spec
    for recipes in first.values():
        _check(list(recipes.values()))


def _tried(spec: RunSpec) -> list[Stabilizer]:
    return [method for method in spec.stabilizers if not method.has("before_training")]


def _check(specs: list[RunSpec]) -> None:
    spec, task = specs[0], load_task(specs[0].task)
    with quiet(), preserved_random_state():
        model = build_model(spec.model, task, spec.training, load_tokenizer(spec.model))
    for spec in specs:
        try:
            Stabilization(
                copy.deepcopy(model),
                _tried(spec),
                kind=task.kind,
                adapt=partial(put_adapter, spec=spec),
                arguments_are_set=True,
            )
        except UserError as error:
            raise UserError(f"recipe '{spec.recipe}' on model '{spec.model}': {error}") from error
