"""Whether a recipe's methods find what they act on in a model, asked before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import nn

from steadytune.errors import UserError
from steadytune.study import RunSpec
from steadytune.tasks import load_task
from steadytune.training.models import build_model, load_tokenizer
from steadytune.training.seeds import preserved_random_state
from steadytune.training.stabilization import Stabilization


def check_methods(specs: Iterable[RunSpec]) -> None:
    """Equip a copy of each model with the methods of each recipe that fine-tunes it.

    What methods do later is not tried: whether there is a language model to re-train, for one.

    Raises:
        UserError: A model cannot be loaded, or a method lacks something in it.
    """
    models: dict[object, nn.Module] = {}
    tried = set()
    for spec in specs:
        methods = [method for method in spec.stabilizers if not method.has("before_training")]
        if spec.training.setting != "full" or not methods:
            continue
        task = load_task(spec.task)
        model_key = (spec.weights, spec.training.pooling, task.kind, task.num_outputs)
        if (model_key, spec.recipe) in tried:
            continue
        tried.add((model_key, spec.recipe))
        if model_key not in models:
            with preserved_random_state():
                models[model_key] = build_model(spec.model, task, spec.training, load_tokenizer(spec.model))
        try:
            Stabilization(copy.deepcopy(models[model_key]), methods, kind=task.kind, arguments_are_set=True)
        except UserError as error:
            raise UserError(f"recipe '{spec.recipe}' on model '{spec.model}': {error}") from error
