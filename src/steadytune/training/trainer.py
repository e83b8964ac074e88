"""Any transformers Trainer with stabilizers: a replacement for `Trainer` and its subclasses in any script."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from steadytune.errors import UserError
from steadytune.models.compiling import hooks_noticed
from steadytune.models.language import criterion_of
from steadytune.models.padding import say_padding, tokenizer_in
from steadytune.models.random_state import preserved_random_state, spread
from steadytune.stabilizers import Pretraining, Stabilizer, as_stabilizers
from steadytune.training.checkpoint import check_state
from steadytune.training.own_loss import OwnLoss, overriding
from steadytune.training.pretraining import script_context
from steadytune.training.stabilization import Stabilization
from steadytune.training.whole_loss import WholeLoss

Method = TypeVar("Method", bound=Callable[..., Any])


def _with_stabilizers(method: Method) -> Method:
    """Return a method that is the extended trainer's own as long as there are no stabilizers."""

    @wraps(method)
    def chosen(self: StableTrainer, *args: Any, **kwargs: Any) -> Any:
        if self._acts:
            return method(self, *args, **kwargs)
        return getattr(super(StableTrainer, self), method.__name__)(*args, **kwargs)

    return chosen  # type: ignore[return-value]


class StableTrainer(Trainer):
    """`transformers.Trainer` with stabilizers; `stabilized` makes the same of its subclasses.

    Without stabilizers it is the plain trainer, to the bit. With some, the model is equipped on arrival and restored to
    a plain one after `train`, so the saved model is a plain one; checkpoints are saved with the state that the
    stabilizers need to resume. Evaluation preserves the random states, so a training is the same with and without it.

    If no stabilizer reads the model's outputs (`Stabilizer.reads_outputs`), the loss is the trainer's, whatever it is.
    Otherwise it is computed here from the logits, as the mean over the examples of a step, even if accumulated over
    passes of uneven size: a model that computes a different loss itself, for example with class weights, is
    rejected unless `compute_loss_func` defines it. That is called with the logits, the labels and, as
    `num_items_in_batch`, the number of examples of the pass, and must return a mean. One that divides by something
    else, like class weights with reduction="mean", does so pass by pass; a sum divided by `num_items_in_batch`
    accumulates exactly. A subclass that overrides `compute_loss` may call `super().compute_loss`; any other override,
    and that of an extended trainer, is called for the loss of logits and labels, and is rejected if it needs more.

    In generation and token classification, where each token has a label, the tokens that count (whose labels are not
    -100) take the place of the examples in all of this.

    Args:
        stabilizers: Stabilizers to combine, or their names.
        task_kind: Kind of task, one that can be trained; by default taken from the model's configuration.
        kwargs: Arguments of `Trainer`.

    Attributes:
        stabilization: The stabilizers applied to the model; missing if there are none.
        measurements: Their measurements before training.
        shared_seconds: Time that these took.
        always_equips: Whether a subclass computes the loss here even without stabilizers.

    Raises:
        UserError: A stabilizer does not apply here, or the model has no linear last layer.
    """

    always_equips: ClassVar[bool] = False
    _acts = False
    _step_sizes: Sequence[int] = ()
    _whole_step = _prepared = False
    _weight = 1.0
    loss_is_scaled_for_ga: bool | None
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
        self.measurements: dict[str, Any] = {}
        self.shared_seconds = 0.0
        self._gradients: list[Tensor] = []
        super().__init__(*args, **kwargs)
        self._acts = bool(self.stabilizers) or self.always_equips
        if not self._acts:
            return
        self._refuse_what_does_not_work()
        self._whole = not self.always_equips and not any(method.reads_outputs() for method in self.stabilizers)
        self._unstabilized, self._own_loss = self._losses()
        if not self._whole or self.loss_is_scaled_for_ga is None:
            # The loss is a mean over each pass, which `_weight_of` weights.
            self.loss_is_scaled_for_ga = False
        self.args = _with_arguments(self.args, self.stabilizers)
        self.add_callback(_Hooks(self))
        # Other callbacks use the model when training ends: a recorder, or a logger that uploads it.
        self.callback_handler.callbacks.insert(0, _Finish(self))
        self.equip(self.model)

    def _refuse_what_does_not_work(self) -> None:
        if self.args.n_gpu > 1:
            raise UserError(
                "stabilizers support one GPU per process: start the script with torchrun, or hide the other GPUs"
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

    def _losses(self) -> tuple[Callable[..., Any], OwnLoss | None]:
        """Return the loss without stabilizers, and what makes it one of logits and labels unless it is the default.

        An override of `compute_loss` that does not call this class's is replaced by the stabilized one.
        """
        own, given = overriding(self, StableTrainer), self.compute_loss_func is not None
        if own is not None:
            if given and not self._whole:
                raise UserError("compute_loss is overridden and compute_loss_func is given: use only one of them")
            self.__dict__["compute_loss"] = partial(StableTrainer.compute_loss, self)
        loss: Callable[..., Any] = own or super().compute_loss
        if self._whole or not self.stabilizers or getattr(loss, "__func__", None) is Trainer.compute_loss:
            return loss, None
        return loss, OwnLoss(loss, self._default_loss, lambda: self.stabilization.kind)

    def _default_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        kit = self.stabilization
        return criterion_of(kit.model, kit.kind, self.args.label_smoothing_factor)(logits, labels)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Create a model as `Trainer` does, and equip it."""
        model: nn.Module = super().call_model_init(trial)
        if self._acts:
            self.equip(model)
        return model

    def equip(self, model: nn.Module) -> None:
        """Equip a new model with the stabilizers, in place."""
        say_padding(model, tokenizer_in(self.processing_class, self.data_collator))
        options: dict[str, Any] = {
            "kind": self.task_kind,
            "seed": spread("heads", self.args.seed),
            "noise_seed": self.noise_seed,
            "pretraining": self.pretraining,
            "adapt": self.adapt,
            "average": partial(self.accelerator.reduce, reduction="mean"),
            "arguments_are_set": True,
            "float32_masters": self.is_fsdp_enabled or self.is_deepspeed_enabled,
        }
        if self._whole:
            self.stabilization = WholeLoss(model, self.stabilizers, self._unstabilized, **options)
        else:
            given = self._given_loss if self.compute_loss_func is not None else None
            self.stabilization = Stabilization(
                model,
                self.stabilizers,
                criterion=self._own_loss or given,
                label_smoothing=self.args.label_smoothing_factor,
                **options,
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
        return script_context(model, self.train_dataset, self.processing_class, self.args)

    @_with_stabilizers
    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create the optimizer as `Trainer` does, then let the stabilizers regroup its weights or replace it."""
        given = self.optimizer
        super().create_optimizer(model)
        if given is None:
            self.optimizer = self.stabilization.prepare_optimizer(self.optimizer)
            self._prepared = True
        made: torch.optim.Optimizer = self.optimizer
        return made

    @_with_stabilizers
    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of the batch, changed by the stabilizers in training."""
        if isinstance(self.stabilization, WholeLoss):
            loss, outputs = self._whole_loss(self.stabilization, model, inputs, return_outputs, num_items_in_batch)
        else:
            loss, outputs = self._loss_of_logits(model, inputs)
        if model.training and self._weight != 1:
            loss = loss * self._weight
        if model.training and loss.requires_grad:
            # The return value may be unused: its gradient shows its weight.
            loss.register_hook(self._gradients.append)
        return (loss, outputs) if return_outputs else loss

    def _whole_loss(
        self, whole: WholeLoss, model: nn.Module, inputs: dict[str, Any], return_outputs: bool, items: Any
    ) -> tuple[Tensor, Any]:
        asked = {"return_outputs": True} if return_outputs else {}
        asked |= {} if items is None else {"num_items_in_batch": items}

        def compute() -> tuple[Tensor, Any]:
            result = self._unstabilized(model, inputs, **asked)
            return result if return_outputs else (result, None)

        if not model.training:
            return compute()
        # A loss that is not scaled the Trainer divides by the number of passes, with all that was added to it.
        return whole.added(compute, 1 / self.current_gradient_accumulation_steps if self.loss_is_scaled_for_ga else 1)

    def _loss_of_logits(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        with self.accelerator.autocast():
            if self._own_loss is not None:
                if not isinstance(model, nn.Module):  # an override that reaches this method in another way
                    raise UserError(
                        f"{type(self).__name__}.compute_loss calls StableTrainer's indirectly, which cannot be "
                        "detected: call super().compute_loss in the method itself"
                    )
                inputs = self._own_loss.inputs(model, inputs)
            loss, outputs = self.stabilization.loss(model, inputs)
        # In models without named outputs, the Trainer looks for the loss in the first place.
        return loss, (loss, *outputs) if isinstance(outputs, tuple) else outputs

    @_with_stabilizers
    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Train on one batch, in one pass or as many as a stabilizer needs."""
        if not self._whole or self._has(("train_step",)):
            # Otherwise the Trainer's step does it once: one that generates its inputs must not do so twice.
            inputs = self._prepare_inputs(inputs)
        plain_step = super().training_step

        def once() -> Tensor:
            passed = len(self._gradients)
            loss: Tensor = plain_step(model, inputs, items)
            if self._has(_IN_THE_LOSS) and not any(bool(gradient != 0) for gradient in self._gradients[passed:]):
                raise UserError(
                    f"{type(self).__name__}.compute_loss bypasses the stabilizers: return what super().compute_loss "
                    "returns, or pass the loss as compute_loss_func"
                )
            return loss

        self._whole_step, (self._weight, items) = True, self._weight_of(inputs, num_items_in_batch)
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

    @_with_stabilizers
    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step as `Trainer` does, and record their number of examples."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if not self._whole:
            self._step_sizes = [self.stabilization.terms(batch["labels"]) for batch in batches if "labels" in batch]
        return batches, items

    def _weight_of(self, inputs: Mapping[str, Any], items: Any) -> tuple[float, Any]:
        """Return the factor of a batch's mean, before division by the number of passes of its step, and what it counts.

        In an uneven last step the passes are then weighted by their examples, as in one large batch; if the loss is the
        trainer's, by the labels that the Trainer counts. It tells the loss the count of the whole step, but not every
        model divides by that, and one that does not would make as many times too large a gradient as there are passes.
        """
        if self._whole:
            passes = self.current_gradient_accumulation_steps
            if items is None or passes == 1 or self.loss_is_scaled_for_ga:
                return 1.0, items
            own = self._get_num_items_in_batch([inputs], self.args.device)
            # A pass without labels to count has no mean: its sum, divided by the whole count, is 0.
            return (float(own * passes / items), own) if own else (1.0, items)
        sizes = self._step_sizes
        if len(set(sizes)) < 2 or "labels" not in inputs:
            return 1.0, items
        return self.stabilization.terms(inputs["labels"]) * len(sizes) / sum(sizes), items

    @_with_stabilizers
    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if not self.stabilization.clips:
            return super()._clip_grad_norm(model)
        self.accelerator.unscale_gradients()
        return self.stabilization.clip(model.parameters())

    @_with_stabilizers
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

    @_with_stabilizers
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `Trainer` does; the random states are preserved, so training continues as without it."""
        with preserved_random_state():
            return super().evaluate(*args, **kwargs)

    @_with_stabilizers
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as `Trainer` does; the random states are preserved."""
        with preserved_random_state():
            return super().predict(*args, **kwargs)

    @_with_stabilizers
    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `Trainer` does, with the weights that would be kept."""
        if not self.stabilization.averages:
            return super().evaluation_loop(*args, **kwargs)
        with self.stabilization.final_weights():
            return super().evaluation_loop(*args, **kwargs)

    @_with_stabilizers
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as `Trainer` does; a checkpoint contains the trained model and the stabilizers' state."""
        if not _internal_call and self.stabilization.equipped:
            with self.stabilization.plain():
                super().save_model(output_dir, _internal_call)
            return
        super().save_model(output_dir, _internal_call)
        if _internal_call and output_dir and self.stabilizers and self.args.should_save:
            self.stabilization.save(Path(output_dir))

    def _load_from_checkpoint(self, checkpoint: str, *args: Any, **kwargs: Any) -> None:
        check_state(Path(checkpoint), self.stabilizers)
        super()._load_from_checkpoint(checkpoint, *args, **kwargs)
        if self.stabilizers:
            self.stabilization.load(Path(checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.stabilizers:
            self.stabilization.load(Path(str(self.state.best_model_checkpoint)))

    @_with_stabilizers
    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `Trainer` does, then restore the plain model.

        Raises:
            UserError: A model passed as `model` has already been trained.
        """
        if self.model_init is None and not self.stabilization.equipped:
            raise UserError(
                f"this {type(self).__name__} has already trained its model: make a new one, or pass model_init"
            )
        with hooks_noticed(self.args.torch_compile):
            return super().train(*args, **kwargs)

    def unequip(self) -> None:
        """Restore the plain model, in place."""
        self.stabilization.unequip()


def stabilized(trainer: type[Any]) -> type[Any]:
    """Return a subclass of a Trainer that takes stabilizers, as `StableTrainer` does; each time the same one.

        trainer = st.stabilized(SFTTrainer)(model, args=args, train_dataset=data, stabilizers=["mixout"])

    Args:
        trainer: `transformers.Trainer` or any subclass, such as `Seq2SeqTrainer`, TRL's or one of your own.

    Returns:
        A subclass of it and of `StableTrainer`. Without stabilizers it does what `trainer` does, to the bit.

    Raises:
        UserError: It is not such a class.
    """
    if not isinstance(trainer, type) or not issubclass(trainer, Trainer):
        raise UserError(
            f"stabilized takes a subclass of transformers.Trainer, such as SFTTrainer, not {trainer!r:.80}; for a loop "
            "of your own there is steadytune.Stabilization"
        )
    if issubclass(trainer, StableTrainer):
        return trainer
    if trainer not in _MADE:
        _MADE[trainer] = type(
            f"Stable{trainer.__name__}", (StableTrainer, trainer), {"__module__": __name__, "__doc__": _DOC}
        )
    return _MADE[trainer]


_MADE: dict[type[Any], type[Any]] = {Trainer: StableTrainer}
_DOC = "A Trainer that also takes `stabilizers=[...]`: see `StableTrainer`, and for its other arguments its last base."
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
