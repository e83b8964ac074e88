"""The transformers Trainer with stabilizers: a replacement for `Trainer` in any script."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from steadytune.errors import UserError
from steadytune.files import canonical_json, sha256
from steadytune.models.language import criterion_of, unanswered
from steadytune.models.modules import encoder_of
from steadytune.models.padding import say_padding, tokenizer_in
from steadytune.models.random_state import preserved_random_state, spread
from steadytune.stabilizers import Pretraining, Stabilizer, as_stabilizers
from steadytune.training.checkpoint import check_state
from steadytune.training.own_loss import OwnLoss, overriding
from steadytune.training.stabilization import Stabilization


class StableTrainer(Trainer):
    """`transformers.Trainer` with stabilizers.

    The model is equipped on arrival and restored to a plain one after `train`, so the saved model is a plain one;
    checkpoints are saved with the state that the stabilizers need to resume. Evaluation preserves the
    random states, so a training is the same with and without it.

    The loss is the mean over the examples of a step, even if accumulated over passes of uneven size. It is
    computed here from the logits: a model that computes a different loss itself, for example with class weights, is
    rejected unless `compute_loss_func` defines it. That is called with the logits, the labels and, as
    `num_items_in_batch`, the number of examples of the pass, and must return a mean. One that divides by something
    else, like class weights with reduction="mean", does so pass by pass; a sum divided by `num_items_in_batch`
    accumulates exactly. A subclass that overrides `compute_loss` may call `super().compute_loss`; any other override is
    called for the loss of logits and labels, and is rejected if it needs more.

    In generation and token classification, where each token has a label, the tokens that count (whose labels are not
    -100) take the place of the examples in all of this.

    Args:
        stabilizers: Stabilizers to combine, or their names.
        task_kind: Kind of task, one that can be trained; by default taken from the model's configuration.
        kwargs: Arguments of `Trainer`.

    Attributes:
        stabilization: The stabilizers applied to the model.
        measurements: Their measurements before training.
        shared_seconds: Time that these took.

    Raises:
        UserError: A stabilizer does not apply here, or the model has no linear last layer.
    """

    loss_is_scaled_for_ga = False
    _step_sizes: Sequence[int] = ()
    _whole_step = _prepared = False
    _weight = 1.0
    args: TrainingArguments
    optimizer: Any
    stabilization: Stabilization

    def __init__(
        self, *args: Any, stabilizers: Sequence[Stabilizer] = (), task_kind: str | None = None, **kwargs: Any
    ) -> None:
        try:
            self.stabilizers = as_stabilizers(stabilizers)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.task_kind = task_kind
        self._complete = False
        self._gradients: list[Tensor] = []
        super().__init__(*args, **kwargs)
        self._complete = True
        self._refuse_what_does_not_work()
        self._own_loss = self._overriding_loss()
        self.args = _with_arguments(self.args, self.stabilizers)
        self.add_callback(_Hooks(self))
        # Other callbacks use the model when training ends: a recorder, or a logger that uploads it.
        self.callback_handler.callbacks.insert(0, _Finish(self))
        self.equip(self.model)

    def _refuse_what_does_not_work(self) -> None:
        if self.args.n_gpu > 1:
            raise UserError(
                "StableTrainer supports one GPU per process: start it with torchrun, or hide the other GPUs"
            )
        if self.stabilizers and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise UserError("stabilizers need whole weights, which FSDP and DeepSpeed split: use torchrun without them")
        if self.args.neftune_noise_alpha is not None and any(method.name == "neftune" for method in self.stabilizers):
            raise UserError("neftune_noise_alpha and the stabilizer neftune add the same noise: use one of them")
        changing = [method.name for method in self.stabilizers if any(map(method.has, _CHANGE_THE_OPTIMIZER))]
        if self.optimizer is not None and changing:
            raise UserError(f"{changing[0]} changes the optimizer's weights or parameter groups: leave out optimizers")

    @property
    def noise_seed(self) -> int:
        """Seed of the stabilizers' noise in training."""
        return int(self.args.seed)

    def _overriding_loss(self) -> OwnLoss | None:
        """Return the loss of a subclass that overrides `compute_loss`, and replace it by the stabilized one."""
        own = overriding(self, StableTrainer) if self.stabilizers else None
        if own is None:
            return None
        if self.compute_loss_func is not None:
            raise UserError("compute_loss is overridden and compute_loss_func is given: use only one of them")
        self.__dict__["compute_loss"] = partial(StableTrainer.compute_loss, self)
        return OwnLoss(own, self._default_loss, lambda: self.stabilization.kind)

    def _default_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        kit = self.stabilization
        return criterion_of(kit.model, kit.kind, self.args.label_smoothing_factor)(logits, labels)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Create a model as `Trainer` does, and equip it."""
        model: nn.Module = super().call_model_init(trial)
        if self._complete:
            self.equip(model)
        return model

    def equip(self, model: nn.Module) -> None:
        """Equip a new model with the stabilizers, in place."""
        say_padding(model, tokenizer_in(self.processing_class, self.data_collator))
        self.stabilization = Stabilization(
            model,
            self.stabilizers,
            kind=self.task_kind,
            seed=spread("heads", self.args.seed),
            noise_seed=self.noise_seed,
            criterion=self._given_loss if self.compute_loss_func is not None else self._own_loss,
            label_smoothing=self.args.label_smoothing_factor,
            pretraining=self.pretraining,
            adapt=self.adapt,
            average=partial(self.accelerator.reduce, reduction="mean"),
            arguments_are_set=True,
            float32_masters=self.is_fsdp_enabled or self.is_deepspeed_enabled,
        )
        self.measurements = self.stabilization.measurements
        self.shared_seconds = self.stabilization.shared_seconds

    def _given_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        # A sum divided by this number is a mean, and with class weights one that accumulates over passes.
        terms = self.stabilization.terms(labels)
        outputs, count = SequenceClassifierOutput(logits=logits), torch.tensor(terms, device=labels.device)
        loss: Tensor = self.compute_loss_func(outputs, labels, num_items_in_batch=count)
        return loss

    def adapt(self, model: nn.Module) -> None:
        """Change a new model before it is equipped, in place: recorded runs put adapters on it."""

    def pretraining(self, model: nn.Module) -> Pretraining:
        """Return the input of the hook before training; in a script, from the training set and the output folder."""
        rows, source = self.train_dataset, str(getattr(model.config, "_name_or_path", ""))
        if self.processing_class is None or not source:
            raise UserError(
                "surt continues pre-training: it needs a model from a checkpoint, and its tokenizer as processing_class"
            )
        if rows is None or not hasattr(rows, "__len__") or any("input_ids" not in row for row in rows):
            raise UserError("surt reads the training texts: use a train_dataset with a length and 'input_ids'")
        inputs = [ids for row in rows if len(ids := unanswered(model, row))]
        weights = encoder_of(model).state_dict().values()
        state = sha256(b"".join(weight.detach().float().cpu().numpy().tobytes() for weight in weights))
        return Pretraining(
            source=Path(source),
            inputs=inputs,
            tokenizer=self.processing_class,
            batch_size=self.args.train_batch_size,
            device=self.args.device.type,
            cache=Path(self.args.output_dir) / "steadytune-cache",
            key=sha256(canonical_json([state, self.args.train_batch_size, [list(map(int, ids)) for ids in inputs]])),
            progress=lambda share: None,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create the optimizer as `Trainer` does, then let the stabilizers regroup its weights or replace it."""
        given = self.optimizer
        super().create_optimizer(model)
        if given is None:
            self.optimizer = self.stabilization.prepare_optimizer(self.optimizer)
            self._prepared = True
        made: torch.optim.Optimizer = self.optimizer
        return made

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean task loss of the batch, changed by the stabilizers in training."""
        with self.accelerator.autocast():
            if self._own_loss is not None:
                if not isinstance(model, nn.Module):  # an override that reaches this method in another way
                    raise UserError(
                        f"{type(self).__name__}.compute_loss calls StableTrainer's indirectly, which cannot be "
                        "detected: call super().compute_loss in the method itself"
                    )
                inputs = self._own_loss.inputs(model, inputs)
            loss, outputs = self.stabilization.loss(model, inputs)
        if model.training and self._weight != 1:
            loss = loss * self._weight
        if model.training and loss.requires_grad:
            # The return value may be unused: its gradient shows its weight.
            loss.register_hook(self._gradients.append)
        if isinstance(outputs, tuple):
            outputs = (loss, *outputs)  # where the Trainer looks for it in models without named outputs
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Train on one batch, in one pass or as many as a stabilizer needs."""
        inputs = self._prepare_inputs(inputs)
        plain_step = super().training_step

        def once() -> Tensor:
            passed = len(self._gradients)
            loss: Tensor = plain_step(model, inputs, num_items_in_batch)
            if self._has(_IN_THE_LOSS) and not any(bool(gradient != 0) for gradient in self._gradients[passed:]):
                raise UserError(
                    f"{type(self).__name__}.compute_loss bypasses the stabilizers: return what super().compute_loss "
                    "returns, or pass the loss as compute_loss_func"
                )
            return loss

        self._whole_step, self._weight = True, self._weight_of(inputs)
        try:
            loss = self.stabilization.passes(once, inputs)
        finally:
            self._weight = 1.0
        if self.accelerator.sync_gradients:
            self.stabilization.after_backward()
        return loss

    def _has(self, hooks: Iterable[str]) -> bool:
        return any(method.has(hook) for method in self.stabilizers for hook in hooks)

    def check_step(self) -> None:
        """Check, before the optimizer's step, that its gradients were computed by the stabilizers.

        Raises:
            UserError: A subclass has a `training_step` that bypasses them.
        """
        missed = (not self._gradients and self._has(_IN_THE_LOSS)) or (not self._whole_step and self._has(_IN_THE_STEP))
        self._gradients.clear()
        self._whole_step = False
        if missed:
            raise UserError(
                f"{type(self).__name__}.training_step bypasses the stabilizers: call super().training_step in it"
            )

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step as `Trainer` does, and record their number of examples."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._step_sizes = [self.stabilization.terms(batch["labels"]) for batch in batches if "labels" in batch]
        return batches, items

    def _weight_of(self, inputs: Mapping[str, Any]) -> float:
        """Return the factor of a batch's mean, before division by the number of passes of its step.

        In an uneven last step the passes are then weighted by their examples, as in one large batch.
        """
        sizes = self._step_sizes
        if len(set(sizes)) < 2 or "labels" not in inputs:
            return 1.0
        return self.stabilization.terms(inputs["labels"]) * len(sizes) / sum(sizes)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if not self.stabilization.clips:
            return super()._clip_grad_norm(model)
        self.accelerator.unscale_gradients()
        return self.stabilization.clip(model.parameters())

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        # With max_grad_norm 0, which concerns the global clip, the Trainer does not call its clipping.
        if grad_norm is None and self.stabilization.clips:
            grad_norm = self._clip_grad_norm(model)
        return super()._get_grad_norm(model, grad_norm=grad_norm)

    def begin(self) -> None:
        """Let the stabilizers read the training set.

        Raises:
            UserError: A subclass creates the optimizer in a way that bypasses them.
        """
        if self._has(_IN_THE_OPTIMIZER) and not self._prepared:
            raise UserError(
                f"{type(self).__name__} creates an optimizer without the stabilizers: call super().create_optimizer in "
                "create_optimizer"
            )
        self.stabilization.begin(self._training_batches, self.state.max_steps, self.state.global_step)

    def _training_batches(self) -> Iterator[Mapping[str, Tensor]]:
        if not hasattr(self.train_dataset, "__len__"):
            raise UserError("a stabilizer reads the whole training set before the first step: use one with a length")
        batches: Iterable[Any] = self.get_train_dataloader()
        for batch in batches:
            inputs = self._prepare_inputs(batch)
            yield inputs if self._own_loss is None else self._own_loss.inputs(self.model, inputs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `Trainer` does; the random states are preserved, so training continues as without it."""
        with preserved_random_state():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as `Trainer` does; the random states are preserved."""
        with preserved_random_state():
            return super().predict(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `Trainer` does, with the weights that would be kept."""
        if not self.stabilization.averages:
            return super().evaluation_loop(*args, **kwargs)
        with self.stabilization.final_weights():
            return super().evaluation_loop(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as `Trainer` does; a checkpoint contains the trained model and the stabilizers' state."""
        if not _internal_call and self.stabilization.equipped:
            with self.stabilization.plain():
                super().save_model(output_dir, _internal_call)
            return
        super().save_model(output_dir, _internal_call)
        if _internal_call and output_dir and self.stabilizers and self.args.should_save:
            self.stabilization.save(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_state(Path(resume_from_checkpoint), self.stabilizers)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.stabilizers:
            self.stabilization.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.stabilizers:
            self.stabilization.load(Path(str(self.state.best_model_checkpoint)))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `Trainer` does, then restore the plain model.

        Raises:
            UserError: A model passed as `model` has already been trained.
        """
        if self.model_init is None and not self.stabilization.equipped:
            raise UserError("this StableTrainer has already trained its model: make a new one, or pass model_init")
        return super().train(*args, **kwargs)

    def unequip(self) -> None:
        """Restore the plain model, in place."""
        self.stabilization.unequip()


_IN_THE_LOSS = ("task_loss", "penalty", "train_step")
_IN_THE_STEP = ("train_step", "after_backward")
_IN_THE_OPTIMIZER = ("parameter_groups", "optimizer")
_CHANGE_THE_OPTIMIZER = ("wrap_head", *_IN_THE_OPTIMIZER)


def _with_arguments(arguments: TrainingArguments, stabilizers: Sequence[Stabilizer]) -> TrainingArguments:
    changes = {name: value for method in stabilizers for name, value in method.arguments().items()}
    if changes:
        arguments = copy.copy(arguments)
        for name, value in changes.items():
            setattr(arguments, name, value)
    return arguments


class _Hooks(TrainerCallback):
    def __init__(self, trainer: StableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.begin()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.check_step()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.trainer.accelerator.optimizer_step_was_skipped:
            self.trainer.stabilization.after_step(self.trainer.optimizer, state.global_step + 1)


class _Finish(TrainerCallback):
    def __init__(self, trainer: StableTrainer) -> None:
        self.trainer = trainer

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.stabilization.keep_final_weights()
        self.trainer.unequip()
