"""One way of training as the rules see it, whatever its source."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.files import LARGEST_SETTINGS, read_json
from steadytune.kinds import KINDS
from steadytune.study import Study, TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.data_facts import DataFacts, data_facts
from steadytune.tasks.splits import split
from steadytune.training.data import with_cut
from steadytune.training.weights import half_precision, model_folder

_IGNORE_WARMUP = {"constant", "reduce_lr_on_plateau", "greedy"}
"""Schedules that ignore warm-up; `constant_with_warmup` does not."""
_DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers")


@dataclass(frozen=True)
class Setup:
    """One way of training. None means unknown; rules skip it.

    Attributes:
        where: Display name: a recipe, with task and model if a study has several, or a file.
        stock: Whether these are the arguments of a user's script, which trains with the stock Trainer.
        full: Whether the encoder is trained.
        adapter: Whether by an adapter, with its own weights frozen.
        learning_rate: Peak learning rate.
        warmup: Share of the steps in which the rate rises; None if only their number is known.
        warmup_steps: That number, if given.
        epochs: Passes over the training set; None if only the number of steps is known.
        steps: That number, if given.
        batch_size: Examples per pass.
        accumulation: Passes per step.
        optimizer: Name in `TrainingArguments.optim`.
        label_smoothing: Share of a label spread over all classes.
        hides_nan: Whether the log omits non-finite losses.
        seeds: Number of seeds, or None.
        stabilizers: Names.
        layers: Transformer blocks of the model.
        half: "float16" or "bfloat16" if the checkpoint is stored so.
        kind: Name of the kind of task.
        train_examples: Size of the training set.
        measured_examples: Size of the measured set; None where an example is not answered rightly or wrongly.
        measured_groups: Number of groups these examples form; None if they are ungrouped or the groups are unknown.
        accuracies: Of the recorded runs that finished.
        data: What is known about the task's data.
        unusable: Why the task cannot be trained on, or "".
    """

    where: str
    stock: bool
    learning_rate: float
    full: bool = True
    adapter: bool = False
    warmup: float | None = None
    warmup_steps: int | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 16
    accumulation: int = 1
    optimizer: str = "adamw_torch_fused"
    label_smoothing: float = 0.0
    hides_nan: bool = False
    seeds: int | None = None
    stabilizers: tuple[str, ...] = ()
    layers: int | None = None
    half: str | None = None
    kind: str | None = None
    train_examples: int | None = None
    measured_examples: int | None = None
    measured_groups: int | None = None
    accuracies: tuple[float, ...] = ()
    data: DataFacts | None = None
    unusable: str = ""

    def unsaid(self) -> tuple[str, ...]:
        """Return what is unknown but needed, one phrase each."""
        return tuple(phrase for field, phrase in _UNSAID.items() if getattr(self, field) is None)


_UNSAID = {
    "layers": "the model: its depth, and the precision of its weights",
    "train_examples": "the training set: the number of steps per epoch",
    "warmup": "the warm-up: warmup_steps is a count, and the total number of steps is not given",
    "measured_examples": "the evaluation set: the smallest difference it can detect",
    "seeds": "the seeds: how many runs there will be",
}

Names = tuple[str, str, str]
"""Model, task and recipe."""


def study_setups(
    study: Study, accuracies: Mapping[Names, tuple[float, ...]] | None = None
) -> tuple[dict[Names, Setup], tuple[str, ...]]:
    """Return each way of training in a study, and why anything about it is unknown.

    Args:
        study: What will run, or has run.
        accuracies: Those of recorded runs, which no longer need their task; None if nothing has run.
    """
    unknown: dict[str, None] = {}

    def known(look: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
        try:
            return look(*args)
        except UserError as error:
            if look is _data and accuracies is None:
                return {"unusable": str(error)}
            unknown[str(error)] = None
            return {}

    several = len(study.model) > 1 or len(study.task) > 1
    setups = {}
    for model, task, recipe in itertools.product(study.model, study.task, study.recipes):
        training = study.recipe_training(recipe).resolved(model)
        assert training.learning_rate is not None
        stabilizers = tuple(stabilizer.name for stabilizer in study.recipes[recipe].stabilizers)
        names = (model, task.name, recipe)
        setups[names] = Setup(
            where=" / ".join(names) if several else recipe,
            stock=False,
            learning_rate=training.learning_rate,
            full=training.mode == "full",
            adapter=training.adapter is not None,
            warmup=0.0 if "no_warmup" in stabilizers else training.warmup,
            epochs=training.epochs,
            batch_size=training.batch_size,
            seeds=len(study.seeds),
            stabilizers=stabilizers,
            accuracies=(accuracies or {}).get(names, ()),
            **known(_model, model),
            **known(_data, model, task, training, study.seeds[0].data),
        )
    return setups, tuple(unknown)


def _model(name: str) -> dict[str, Any]:
    config: dict[str, Any] = read_json(model_folder(name) / "config.json")
    config = {**config, **(config.get("text_config") or {})}
    layers = next((config[key] for key in _DEPTHS if isinstance(config.get(key), int)), None)
    return {"layers": layers, "half": half_precision(name)}


def _data(model: str, spec: TaskSpec, training: Training, data_seed: int) -> dict[str, Any]:
    task = load_task(spec)
    splits = split(task, training, data_seed)
    facts = data_facts(task, splits)
    # If the model is not available, the depth is already reported as unknown.
    with suppress(UserError, OSError):
        facts = with_cut(facts, splits, model, training.max_length)
    # An error of this size is known of answers that are right or wrong, one for each example.
    unknown = KINDS[task.kind].has_numbers or KINDS[task.kind].several
    measured = None if unknown else len(splits.measure)
    groups = None if splits.measure.groups is None else len(np.unique(splits.measure.groups))
    return {
        "kind": task.kind,
        "train_examples": len(splits.train),
        "measured_examples": measured,
        "measured_groups": groups,
        "data": facts,
    }


def arguments_setup(path: Path) -> Setup:
    """Read the output of `TrainingArguments.to_json_string` from transformers 4 or 5.

    Raises:
        UserError: The file cannot be read, is not JSON, or is not TrainingArguments.
    """
    try:
        content = read_json(path, LARGEST_SETTINGS)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({' '.join(str(error).split()):.100})") from None
    if not isinstance(content, dict) or not {"learning_rate", "num_train_epochs"} <= set(content):
        raise UserError(f"{path} does not hold TrainingArguments: write it with args.to_json_string()")

    def number(key: str, default: float | None = None, least: float = 0) -> float:
        given = default if content.get(key) is None else content[key]
        try:
            value = math.nan if isinstance(given, bool) or not isinstance(given, (int, float)) else float(given)
        except OverflowError:  # a whole number of more than 308 digits
            value = math.inf
        if not math.isfinite(value):
            raise UserError(f"{path}: {key} should be a number, not {given!r:.60}")
        if value < least:
            raise UserError(f"{path}: {key} should be {least:g} or more, not {given!r:.60}")
        return value

    def word(key: str, default: str) -> str:
        return str(content.get(key) or default)

    # 0 or less means unset.
    steps = int(number("max_steps", -1, -math.inf))
    warmup = number("warmup_steps", 0)
    share: float | None = warmup or number("warmup_ratio", 0)
    if word("lr_scheduler_type", "") in _IGNORE_WARMUP:
        warmup = share = 0.0
    elif warmup >= 1:
        # transformers 5 reads a number below 1 as a share; transformers 4 has `warmup_ratio` for that.
        share = warmup / steps if steps > 0 else None
    return Setup(
        where=path.name,
        stock=True,
        learning_rate=number("learning_rate"),
        warmup=share,
        warmup_steps=int(warmup) if warmup >= 1 else None,
        epochs=None if steps > 0 else number("num_train_epochs"),
        steps=steps if steps > 0 else None,
        batch_size=int(number("per_device_train_batch_size", 8, 1)),
        accumulation=int(number("gradient_accumulation_steps", 1, 1)),
        optimizer=word("optim", "adamw_torch_fused"),
        label_smoothing=number("label_smoothing_factor", 0),
        hides_nan=bool(content.get("logging_nan_inf_filter", True)),
    )
