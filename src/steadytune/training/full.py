"""Full fine-tuning of one RunSpec with the transformers Trainer."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from steadytune.files import Arrays
from steadytune.kinds import KINDS
from steadytune.models.merged import distance_between, weight_terms
from steadytune.models.modules import encoder_of
from steadytune.models.parts import find_parts
from steadytune.models.random_state import spread
from steadytune.models.states import stored
from steadytune.records import RunRecord
from steadytune.stabilizers import Pretraining
from steadytune.study import RunSpec
from steadytune.tasks.metrics import METRICS, evaluate
from steadytune.training.adapters import put_adapter
from steadytune.training.curves import geometry, gradient_norms
from steadytune.training.data import RunData, run_data
from steadytune.training.loading import build_model, is_decoder
from steadytune.training.observed import Asked, observed
from steadytune.training.pretraining import pretraining_context
from steadytune.training.run_record import Diverged, finished
from steadytune.training.shared_candidates import shared_candidates
from steadytune.training.trainer import StableTrainer
from steadytune.training.trimming import trimmed_embeddings

_CHECK_EVERY = 10
_CURVE_POINTS = 40


Look = Callable[["RunTrainer"], tuple[Mapping[str, float], Arrays]]
"""Computes further measurements and arrays from a trained model; it may change the model's weights."""


def train_full(
    spec: RunSpec, cache: Path, progress: Callable[[float], None], look: Look = lambda trainer: ({}, {})
) -> tuple[RunRecord, Arrays]:
    """Train one run and measure it, see `train_once`."""
    return next(train_once([spec], cache, progress, look))


def train_once(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None], look: Look = lambda trainer: ({}, {})
) -> Iterator[tuple[RunRecord, Arrays]]:
    """Train one model, and yield what it leaves as each of some runs; the time of the training is divided by them.

    Args:
        specs: Runs that differ in nothing but their decoding seeds, which no training depends on unless it selects an
            epoch: most often one.
        cache: Folder of what seeds share.
        progress: Called with the share of the training that is done, 0 to 1.
        look: Called with the trainer at the end of each run.

    Raises:
        Diverged: The loss or the logits became NaN or infinite.
    """
    spec = specs[0]
    torch.set_num_threads(spec.training.threads)
    data = run_data(spec)
    candidates = shared_candidates(spec, data, cache)
    started = time.perf_counter()
    trainer = fine_tune(spec, data, cache, progress)
    trained = time.perf_counter()
    measurements = {**trainer.measurements, "distance_from_start": trainer.distance()}
    taken = {
        "setup": trainer.ready - started - trainer.shared_seconds,
        "train": trained - trainer.ready,
        "evaluate": time.perf_counter() - trained,
    }
    taken = {name: seconds / len(specs) for name, seconds in taken.items()}
    for one in specs:
        asked = trainer.asked._replace(
            seed=one.seeds.decoding, position=_position(one, data.task.kind), candidates=candidates
        )
        yield _measured(one, trainer, asked, measurements, taken, look)


def _measured(
    spec: RunSpec,
    trainer: RunTrainer,
    asked: Asked,
    measurements: Mapping[str, float],
    taken: dict[str, float],
    look: Look,
) -> tuple[RunRecord, Arrays]:
    """Return what a trained model leaves as one run, which has taken some seconds before."""
    data, started = trainer.data, time.perf_counter()
    arrays = observed(trainer.model, data.measure, data.collate, asked)
    if (states := arrays.get("representations")) is not None:
        arrays["representations"] = stored(states, spec.training.representation_dtype)
    taken = {**taken, "evaluate": taken["evaluate"] + time.perf_counter() - started}
    further, seen = look(trainer)
    record = finished(
        spec,
        data.task,
        data.splits.measure,
        arrays,
        device=str(asked.device),
        curves=trainer.curves,
        measurements={**measurements, **further},
        timings={**taken, "shared": trainer.shared_seconds, "total": sum(taken.values())},
        told=data.notes(spec.training.max_length),
    )
    return record, {**arrays, **KINDS[data.task.kind].measured(data.splits.measure), **seen}


def _position(spec: RunSpec, kind: str) -> str | None:
    # Representations of leave-one-out runs, of which there may be hundreds, are never compared.
    asked = spec.training.representations if spec.left_out is None else "none"
    if asked == "auto":
        return "last" if KINDS[kind].has_texts or is_decoder(spec.model) else "cls"
    return None if asked == "none" else asked


def arguments(spec: RunSpec, examples: int, folder: str) -> TrainingArguments:
    """Return the Trainer's arguments for a run on `examples` training examples."""
    training = spec.training
    steps = training.epochs * math.ceil(examples / training.batch_size)
    made = TrainingArguments(
        output_dir=folder,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(training.warmup * steps),
        optim="adamw_torch_fused",
        weight_decay=training.weight_decay,
        max_grad_norm=training.clip,
        bf16=training.precision == "bf16",
        use_cpu=not torch.accelerator.is_available(),
        seed=spread("init", spec.seeds.init),
        data_seed=spread("order", spec.seeds.order),
        logging_steps=max(1, steps // _CURVE_POINTS),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        log_level="error",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    # One run uses one device: with several GPUs the Trainer would multiply the batch size.
    made._n_gpu = min(1, made.n_gpu)
    return made


def best_epoch(metric: str, scores: Sequence[float]) -> int:
    """Return the index of the best score by a metric, of which lower may be better: the first of equals."""
    values = np.asarray(scores) * (1 if METRICS[metric].higher_is_better else -1)
    return int(np.argmax(np.where(np.isnan(values), -np.inf, values)))


class RunTrainer(StableTrainer):
    """Trainer that records a run: loss, geometry, best epoch and distance travelled.

    Attributes:
        start: Weights of the encoder when training begins, as `weight_terms` has them.
        trimmed: The word embeddings that are trained without the rows that no example uses; None for whole ones.
        ready: When training was ready to begin, on the clock of `time.perf_counter`.
    """

    # Curves and leaving examples out need the loss of logits in every recipe.
    always_equips = True

    def __init__(
        self,
        spec: RunSpec,
        data: RunData,
        cache: Path,
        progress: Callable[[float], None],
        folder: str,
        model: nn.Module,
    ) -> None:
        self.spec, self.data, self.cache, self.report = spec, data, cache, progress
        self.losses: list[Tensor] = []
        self.task_losses: list[Tensor] = []
        self.shape: list[dict[str, float]] = []
        self.gradients: list[dict[str, float]] = []
        self.epoch_scores: list[float] = []
        self.best: dict[str, Tensor] | None = None
        super().__init__(
            model=model,
            args=arguments(spec, len(data.train), folder),
            train_dataset=data.train,
            data_collator=data.collate,
            stabilizers=spec.stabilizers,
            task_kind=data.task.kind,
            callbacks=[_Watch(self)],
        )
        self.remove_callback(PrinterCallback)
        self.levels = find_parts(model).levels
        self.start = weight_terms(encoder_of(model))
        words = data.train.words.union(data.tokenizer.all_special_ids)
        self.trimmed = trimmed_embeddings(model, words, self.stabilizers)
        self.ready = time.perf_counter()

    def pretraining(self, model: nn.Module) -> Pretraining:
        """Return the input of the hook before training, cached for all runs of the study."""
        return pretraining_context(self.spec, self.data, self.cache, self.args.device.type, self.report)

    def adapt(self, model: nn.Module) -> None:
        """Put the run's adapter on the model."""
        put_adapter(model, self.spec)

    @property
    def noise_seed(self) -> int:
        """Seed of the stabilizers' noise in training, which follows that of dropout."""
        return spread("dropout", self.spec.seeds.dropout)

    @property
    def asked(self) -> Asked:
        """How the model is asked for its outputs."""
        training = self.spec.training
        bf16, seed = training.precision == "bf16", self.spec.seeds.decoding
        return Asked(self.args.device, bf16, decoding=training.decoding, seed=seed)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train on one batch and keep its raw loss, before the Trainer's log filters it.

        In the first step, and whenever the Trainer will log, also keep the gradient's norm at each depth.
        """
        loss: Tensor = super().training_step(*args, **kwargs)
        self.losses.append(loss)
        step = self.state.global_step + 1
        if step == 1 or step % self.args.logging_steps == 0:
            self.gradients.append({"gradient_step": step, **gradient_norms(self.levels)})
        return loss

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss, and the geometry of the batch for each point of the curves.

        Of several passes over one batch the first provides the task loss: later ones are adversarial.
        """
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if model.training and len(self.task_losses) == self.state.global_step:
            assert self.stabilization.task_loss is not None
            self.task_losses.append(self.stabilization.task_loss)
        seen = bool(self.shape) and self.shape[-1]["geometry_step"] == self.state.global_step
        if model.training and not seen and self.state.global_step % self.args.logging_steps == 0:
            features, classes = self.stabilization.encoded_batch()
            if features is not None and classes is not None and len(classes):
                values = geometry(features, classes, self.stabilization.head)
                self.shape.append({"geometry_step": self.state.global_step, **values})
        return result

    def check_losses(self) -> None:
        """Stop the run if a loss since the last check is not finite."""
        recent = torch.stack(self.losses[-_CHECK_EVERY:])
        if not bool(torch.isfinite(recent).all()):
            first = self.state.global_step - len(recent) + int((~torch.isfinite(recent)).nonzero()[0]) + 1
            raise Diverged(f"the training loss was not finite at step {first} of {self.state.max_steps}")

    def pick_epoch(self) -> None:
        """Score the half that selects the epoch, and keep the weights if no previous epoch was better."""
        assert self.data.select is not None
        assert self.data.splits.select is not None
        task = self.data.task
        with self.trimmed.restored() if self.trimmed else nullcontext(), self.stabilization.final_weights():
            arrays = observed(self.model, self.data.select, self.data.collate, self.asked)
            examples, names = self.data.splits.select, task.label_names
            score = evaluate([task.metric], task.kind, arrays, examples, names)[task.metric]
            self.epoch_scores.append(score)
            if best_epoch(task.metric, self.epoch_scores) == len(self.epoch_scores) - 1:
                self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def unequip(self) -> None:
        """Restore all rows of the embeddings, the best epoch if one is selected, then the plain layers."""
        if self.trimmed:
            self.trimmed.restore()
        if self.best is not None:
            self.model.load_state_dict(self.best)
            self.measurements["selected_epoch"] = float(best_epoch(self.data.task.metric, self.epoch_scores) + 1)
        super().unequip()

    def distance(self) -> float:
        """Return the Euclidean distance of the encoder's weights, adapters merged, from the start of fine-tuning."""
        return distance_between(self.start, weight_terms(encoder_of(self.model)))

    @property
    def curves(self) -> dict[str, list[float | None]]:
        """Return the Trainer's log, task loss, gradients by depth, geometry, and the scores that selected the epoch.

        Loss and task loss are means over the steps since the previous point.
        """
        logged = [entry for entry in self.state.log_history if "loss" in entry]
        curves = {name: [entry[name] for entry in logged] for name in ("step", "loss", "grad_norm", "learning_rate")}
        kept_losses = torch.stack(self.task_losses).cpu()
        ends = [entry["step"] for entry in logged]
        curves["task_loss"] = [float(kept_losses[a:b].mean()) for a, b in pairwise([0, *ends])]
        for kept in (self.gradients, self.shape):
            for name in kept[0] if kept else ():
                curves[name] = [values[name] for values in kept]
        if self.epoch_scores:
            curves["epoch"] = list(range(1, len(self.epoch_scores) + 1))
            curves["selection_score"] = list(self.epoch_scores)
        return curves


class _Watch(TrainerCallback):
    def __init__(self, trainer: RunTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # From here on the global random state is used only for dropout.
        set_seed(spread("dropout", self.trainer.spec.seeds.dropout))
        if self.trainer.trimmed:
            self.trainer.trimmed.trim()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.trimmed:
            self.trainer.trimmed.note(self.trainer.optimizer)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.report(state.global_step / (state.max_steps + 1))
        if state.global_step % _CHECK_EVERY == 0 or state.global_step == state.max_steps:
            self.trainer.check_losses()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.data.select is not None:
            self.trainer.pick_epoch()


def fine_tune(spec: RunSpec, data: RunData, cache: Path, progress: Callable[[float], None]) -> RunTrainer:
    """Build the model of a run and train it.

    Args:
        spec: The run.
        data: Its examples.
        cache: Folder of what seeds share.
        progress: Called with the share of the run that is done, 0 to 1.

    Returns:
        The trainer, with the trained model.

    Raises:
        Diverged: The loss became NaN or infinite.
    """
    from steadytune.training.left_out import LeftOutTrainer

    make_trainer = RunTrainer if spec.left_out is None else LeftOutTrainer
    set_seed(spread("init", spec.seeds.init))
    model = build_model(spec.model, data.task, spec.training, data.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(spec, data, cache, progress, folder, model)
        trainer.train()
    return trainer
