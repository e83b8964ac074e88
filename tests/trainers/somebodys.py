"""Somebody's scripts: a Trainer class, a tiny random model, data; trained plainly, stabilized or recorded."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments, set_seed

import steadytune as st
from steadytune.external import read_run

SWA = st.SWA(start=0.0)
CNGC = st.CNGC(limit=0.001)


@dataclass
class Script:
    """One way of training, whatever it is.

    Attributes:
        model: Makes the model; called under a fixed seed.
        train: Training set.
        held_out: Evaluation set.
        trainer: The Trainer class.
        arguments: Class of its arguments.
        options: Further arguments of the trainer; a function is called with the model.
        settings: Fields of the arguments that differ from those here.
    """

    model: Callable[[], Any]
    train: Any
    held_out: Any
    trainer: type[Any] = Trainer
    arguments: type[Any] = TrainingArguments
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self, cls: type[Any], folder: Path, **options: Any) -> Any:
        set_seed(0)
        settings = {
            "output_dir": str(folder / "out"),
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "learning_rate": 1e-2,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "save_strategy": "no",
            "logging_steps": 1,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            **self.settings,
        }
        given = dict(self.options)
        if "model_init" not in given:
            given["model"] = self.model()
        return cls(
            args=self.arguments(**settings),
            train_dataset=self.train,
            eval_dataset=self.held_out,
            **given,
            **options,
        )


def ending(trainer: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], tuple[float, ...]]:
    """Weights, log and global random state after a training."""
    weights = {name: weight.detach().clone() for name, weight in trainer.model.state_dict().items()}
    timed = ("runtime", "per_second", "total_flos")
    log = [
        {name: value for name, value in entry.items() if not any(word in name for word in timed)}
        for entry in trainer.state.log_history
    ]
    return weights, log, (random.random(), float(np.random.random()), float(torch.rand(())))


def check_plain(script: Script, folder: Path) -> None:
    """Without stabilizers the stabilized class is the plain one: weights, log, random state."""
    ends = []
    for cls in (script.trainer, st.stabilized(script.trainer)):
        trainer = script.make(cls, folder, **({} if cls is script.trainer else {"stabilizers": []}))
        trainer.train()
        ends.append(ending(trainer))
    (weights, log, luck), (same, other_log, other_luck) = ends
    assert weights.keys() == same.keys()
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())
    assert repr(log) == repr(other_log)
    assert luck == other_luck


def check_stabilized(script: Script, folder: Path, *methods: Any, effect: bool = True) -> Any:
    """With stabilizers it trains, they have an effect, and the model is a plain one again."""
    # Evaluation draws from the random state in the plain trainer alone.
    script = replace(script, settings={**script.settings, "eval_strategy": "no"})
    plain = script.make(script.trainer, folder)
    plain.train()
    before = {name: hooks(module) for name, module in plain.model.named_modules()}
    trainer = script.make(st.stabilized(script.trainer), folder, stabilizers=methods)
    trainer.train()
    after = {name: hooks(module) for name, module in trainer.model.named_modules()}
    assert before == after
    assert plain.model.state_dict().keys() == trainer.model.state_dict().keys()
    changed = any(
        not torch.equal(weight, trainer.model.state_dict()[name]) for name, weight in plain.model.state_dict().items()
    )
    assert changed is effect
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())
    return trainer


def hooks(module: Any) -> tuple[type, int, int]:
    return type(module), len(module._forward_pre_hooks), len(module._forward_hooks)


def check_recorded(script: Script, folder: Path, **options: Any) -> tuple[Any, list[str]]:
    """A recorder never ends a training, nor changes it; return what it recorded, or None, and what it said."""
    plain = script.make(script.trainer, folder)
    plain.train()
    weights, log, luck = ending(plain)
    trainer = script.make(script.trainer, folder)
    path = folder / "run.safetensors"
    trainer.add_callback(st.StabilityRecorder(trainer, path, **options))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    same, other_log, other_luck = ending(trainer)
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())
    assert repr(log) == repr(other_log)
    assert luck == other_luck
    said = [str(one.message) for one in caught if "StabilityRecorder" in str(one.message)]
    assert not [name for name in folder.glob(".*") if "trial" in name.name]
    return read_run(path) if path.exists() else None, said
