"""Conformance checks of stabilizers, on tiny generated models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, TrainingArguments

from steadytune.errors import UserError
from steadytune.stabilizers import Stabilizer
from steadytune.testing.models import batch, rows, rows_for, tiny_classifier, tiny_model
from steadytune.training.stabilization import Stabilization
from steadytune.training.trainer import StableTrainer
from steadytune.training.trimming import trimmed_embeddings

State = dict[str, Tensor]
Rows = Sequence[Mapping[str, Any]]


def check_stabilizer(
    method: Stabilizer,
    *,
    off: Stabilizer | None = None,
    differentiable: Stabilizer | None = None,
    by_batch: bool = False,
    noise: bool = False,
    needs_dropout: bool = False,
    architecture: str = "bert",
) -> None:
    """Check that a stabilizer meets all requirements, in trainings of a few steps on a classification with two classes.

    If it serves generation or token classification, it also learns these, and changes no bit at strength 0; of what it
    does not serve it says so.

    - Its facts are complete: a name, a docstring with source and cost, parameters that survive being written to a
      recipe, and a reason if it does not support mode "head".
    - It trains, has an effect, and leaves a plain model that can be saved and loaded.
    - At strength 0 no bit changes.
    - The same seeds give the same bits, even in a training resumed from a checkpoint.
    - Accumulating small batches gives the gradient of a large one.
    - If it does not look at the weights of embeddings, a training without the rows of unused words has the same bits.
    - It works under bfloat16 autocast.
    - Its gradient is that of its loss.
    - It keeps no state of a training.

    Args:
        method: With parameters strong enough to have a visible effect in a few steps.
        off: With parameters for which it must change nothing; None if it has no strength.
        differentiable: With parameters for which the gradient is that of the loss; None if it never is.
        by_batch: Whether it acts batch by batch, so that accumulated small ones cannot equal a large one.
        noise: Whether it draws noise, which is the only reason for a difference.
        needs_dropout: Whether it acts on dropout and has no effect without it.
        architecture: A name in `testing.models.ALL`, if others do not suit the stabilizer; with gradients in
            every weight, so not with adapters.

    Raises:
        AssertionError: It breaks a requirement; says which.
        UserError: It rejects that architecture.
    """
    tried = _Tried(method, architecture, needs_dropout)
    _check_facts(method)
    _check_learning(tried)
    if off is not None:
        _check_off(tried, off)
    _check_seeds(tried)
    _check_resumed(tried)
    _check_trimmed(tried)
    if noise:
        _check_noise(tried)
    elif not by_batch:
        _check_accumulation(tried)
    _check_bfloat16(tried)
    if differentiable is not None:
        _check_gradient(_Tried(differentiable, architecture, needs_dropout))
    for other in OF_KINDS:
        check_training(method, other, off=off, needs_dropout=needs_dropout)
    kept = [name for name, value in vars(method).items() if isinstance(value, Tensor)]
    tried.need(not kept, f"stores training tensors in {', '.join(kept)}: keep them in its Run")


OF_KINDS = ("bart:generation", "bert:tokens")
"""One model of each further kind of task that a stabilizer may serve; with dropout, and biases."""


def check_training(
    method: Stabilizer, architecture: str, *, off: Stabilizer | None = None, needs_dropout: bool = False
) -> None:
    """Check on one architecture that a stabilizer trains in a few steps, has an effect, and leaves a plain model.

    On a model for another kind of task than classification it must learn a few examples, or reject the kind of task,
    and at strength 0 change no bit.

    Args:
        method: As in `check_stabilizer`.
        architecture: A name in `testing.models.ALL` or `PER_TOKEN`.
        off: As in `check_stabilizer`.
        needs_dropout: As in `check_stabilizer`.

    Raises:
        AssertionError: It does not.
        UserError: It rejects the architecture.
    """
    tried = _Tried(method, architecture, needs_dropout)
    kind = architecture.partition(":")[2]
    if not kind:
        _trained_apart(tried, steps=4)
    elif not method.serves(kind):
        _check_refused(tried)
    else:
        before = _task_loss(tried.model(), tried.examples)
        model = _trained_apart(tried, steps=12)
        tried.need(_task_loss(model, tried.examples) < 0.9 * before, "the model does not learn 16 examples")
        if off is not None:
            _check_off(tried, off)


def _check_refused(tried: _Tried) -> None:
    try:
        Stabilization(tried.model(), [tried.method])
    except UserError as error:
        tried.need(tried.method.name in str(error), f"does not serve this kind of task, but only says: {error}")
    else:
        tried.need(False, "does not serve this kind of task, but accepts it")


def _trained_apart(tried: _Tried, steps: int) -> Any:
    """Return a model trained with a stabilizer, checking that its weights differ but that it is as plain as before."""
    model = tried.model()
    before = _structure(model)
    _train(model, [tried.method], steps, tried.examples)
    tried.need(outputs(model, tried.examples).isfinite().all(), "training ends with outputs that are not finite")
    tried.need(_structure(model) == before, "it leaves other modules, hooks, frozen or shared weights than it found")
    plain = _plainly_trained(tried.architecture, tried.needs_dropout, steps)
    tried.need(not _same(state(model), plain), "training with it ends with the same weights as training without it")
    return model


def _structure(model: nn.Module) -> dict[str, Any]:
    """Return what a plain model is made of: modules, hooks, weights, and which of them are one."""
    first: dict[int, str] = {}
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "hooks": [
            (name, len(module._forward_hooks), len(module._forward_pre_hooks)) for name, module in model.named_modules()
        ],
        "weights": [
            (name, first.setdefault(id(weight), name), weight.requires_grad)
            for name, weight in model.named_parameters(remove_duplicate=False)
        ],
        "names": list(model.state_dict()),
    }


@dataclass(frozen=True)
class _Tried:
    """A stabilizer and the model that it is tried on."""

    method: Stabilizer
    architecture: str
    needs_dropout: bool

    def model(self, dropout: bool | None = None) -> Any:
        return tiny_model(self.architecture, dropout=self.needs_dropout if dropout is None else dropout)

    @property
    def examples(self) -> Rows:
        return rows_for(self.architecture)

    def need(self, holds: object, what: str) -> None:
        if not holds:
            raise AssertionError(f"{self.method!r} on {self.architecture}: {what}")


def _check_facts(method: Stabilizer) -> None:
    cls = type(method)
    text, name = cls.__doc__ or "", getattr(cls, "name", "")
    wrong = [
        (not name, "has no name"),
        ("Source:" not in text, "its docstring has no 'Source:'"),
        ("Cost" not in text, "its docstring does not state the 'Cost' of a step"),
        (
            "head" not in cls.modes and cls.wrong_mode == Stabilizer.wrong_mode,
            "wrong_mode does not say why it cannot be used in mode 'head'",
        ),
        (
            bool(cls.kinds) and cls.wrong_kind == Stabilizer.wrong_kind,
            "wrong_kind does not say why it supports only some kinds of task",
        ),
        (
            cls.model_validate(method.entry()[name]) != method,
            "its parameters change when written to a recipe and read again",
        ),
    ]
    for is_so, what in wrong:
        if is_so:
            raise AssertionError(f"{method!r}: {what}")


def _check_learning(tried: _Tried) -> None:
    before = _task_loss(tried.model(), tried.examples)
    model = _trained_apart(tried, steps=12)
    tried.need(
        _task_loss(model, tried.examples) < 0.9 * before,
        "the model does not learn a label that two words of each example reveal",
    )
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = _loaded(tried.architecture, folder)
    tried.need(
        torch.equal(outputs(loaded), outputs(model)), "the saved model gives different outputs when loaded again"
    )


def _check_off(tried: _Tried, off: Stabilizer) -> None:
    model = _train(tried.model(dropout=True), [off], 6, tried.examples)
    same = _same(state(model), _plainly_trained(tried.architecture, True, 6))
    tried.need(
        same, f"{off!r} changes bits: at strength 0 its hooks must return at once, with a penalty of None, not 0"
    )


def _check_seeds(tried: _Tried) -> None:
    models = (_train(tried.model(dropout=True), [tried.method], 6, tried.examples) for _ in range(2))
    first, second = map(state, models)
    tried.need(_same(first, second), "two trainings with the same seeds end with different bits")


def _check_resumed(tried: _Tried) -> None:
    with TemporaryDirectory() as folder:
        whole = script(tried.model(dropout=True), [tried.method], folder, save_strategy="steps", save_steps=4)
        whole.train()
        resumed = script(tried.model(dropout=True), [tried.method], folder)
        resumed.train(resume_from_checkpoint=str(Path(folder) / "checkpoint-4"))
    steps = whole.state.global_step, resumed.state.global_step
    tried.need(steps == (8, 8), f"expected 8 steps, but {steps[0]} were taken, and {steps[1]} when resumed")
    same = _same(state(resumed.model), state(whole.model))
    tried.need(same, "a resumed training ends with different bits: keep its tensors in run.state")


def _check_trimmed(tried: _Tried) -> None:
    if tried.method.whole_embeddings:
        return
    models = (_train(tried.model(dropout=True), [tried.method], 6, tried.examples, trims) for trims in (False, True))
    whole, trimmed = map(state, models)
    tried.need(
        _same(trimmed, whole),
        "without the rows of words that no example uses a training ends with different bits: set whole_embeddings",
    )


def _check_accumulation(tried: _Tried) -> None:
    # Plain gradient descent without a global clip: Adam and a clip would hide a gradient of the wrong size.
    replaced = tried.method.arguments()
    optimizer: dict[str, Any] = (
        {} if "optim" in replaced or tried.method.has("optimizer") else {"optim": "sgd", "learning_rate": 0.05}
    )
    trained: list[Tensor] = []
    for size, accumulation in ((8, 1), (2, 4)):
        arguments: dict[str, Any] = {"per_device_train_batch_size": size, **optimizer}
        arguments["gradient_accumulation_steps"] = accumulation
        with TemporaryDirectory() as folder:
            trainer = script(
                tried.model(dropout=False), [tried.method], folder, max_grad_norm=0.0, num_train_epochs=2, **arguments
            )
            trainer.train()
        trained.append(outputs(trainer.model))
    moved = not torch.allclose(trained[0], outputs(tried.model(dropout=False)), atol=1e-2)
    tried.need(moved, "gradient descent hardly changes the model")
    same = torch.allclose(trained[0], trained[1], atol=1e-4)
    tried.need(same, "accumulating four batches of two differs from one of eight: set by_batch or noise")


def _check_noise(tried: _Tried) -> None:
    model, examples = tried.model(dropout=False).double().train(), rows(8)
    kit = Stabilization(model, [tried.method], seed=1)
    move_a_little(model.parameters())

    def gradient(stabilization: Stabilization, size: int) -> Tensor:
        model.zero_grad()
        for n in range(0, 8, size):
            stabilization.backward(model, batch(examples[n : n + size]), share=size / 8)
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    with _same_noise_in_every_row():
        large, small = gradient(kit, 8), gradient(kit, 2)
        kit.finish()
        plain = gradient(Stabilization(model, []), 8)
    same = torch.allclose(large, small, atol=1e-9)
    tried.need(
        same, "with the same noise in every row, four batches of two have a different gradient from one of eight"
    )
    tried.need((large - plain).norm() > 1e-3 * plain.norm(), "its noise hardly changes the gradient")


@contextmanager
def _same_noise_in_every_row() -> Iterator[None]:
    def draw(tensor: Tensor, *given: Any, **named: Any) -> Tensor:
        return tensor.copy_(torch.arange(tensor[0].numel()).cos().view_as(tensor[0]))

    with ExitStack() as stack:
        for name in ("normal_", "uniform_", "bernoulli_"):
            stack.enter_context(patch.object(Tensor, name, draw))
        yield


def _check_bfloat16(tried: _Tried) -> None:
    model = tried.model()
    before, start = _task_loss(model, tried.examples), state(model)
    with TemporaryDirectory() as folder:
        script(model, [tried.method], folder, bf16=True).train()
    tried.need(_task_loss(model, tried.examples) < 0.9 * before, "under bfloat16 autocast the model does not learn")
    single = all(weight.dtype == torch.float32 for weight in model.parameters())
    tried.need(single, "under bfloat16 autocast the weights are no longer float32")
    plain = _plainly_trained_in_bfloat16(tried.architecture, tried.needs_dropout)
    shows = _distance(state(model), plain) > 1e-2 * _distance(plain, start)
    tried.need(shows, "under bfloat16 autocast it has hardly any effect: it is lost in rounding, or too weak")


def _check_gradient(tried: _Tried) -> None:
    model = tried.model().double()
    kit = Stabilization(model, [tried.method], seed=1)
    run = next(iter(kit.runs.values()))
    model.train()
    inputs = batch(rows(6))
    weights = [weight for level in run.parts.levels[-2:] for weight in level]
    move_a_little(weights)
    directions = [torch.randn_like(weight) for weight in weights]

    def loss() -> Tensor:
        torch.manual_seed(3)
        return kit.loss(model, inputs)[0]

    @torch.no_grad()
    def loss_at(shift: float) -> float:
        for weight, start, direction in zip(weights, starts, directions, strict=True):
            weight.copy_(start + shift * direction)
        return loss().item()

    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    starts = [weight.detach().clone() for weight in weights]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
    measured = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    same = abs(slope - measured) <= 1e-5 * abs(measured)
    tried.need(same, f"the slope of its loss is {measured:.6g} by a finite difference and {slope:.6g} by its gradient")


def _train(model: Any, methods: Sequence[Stabilizer], steps: int, examples: Rows, trims: bool = False) -> Any:
    """Train on 16 rows in a plain loop, if asked without the embeddings of words that are not in them."""
    torch.manual_seed(5)
    data = [batch(examples[:8]), batch(examples[8:])]
    kit = Stabilization(model, methods, seed=1)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = kit.prepare_optimizer(torch.optim.AdamW(weights, lr=1e-2))
    words = {word for row in examples for word in row["input_ids"]}
    trimmed = trimmed_embeddings(model, words, methods) if trims else None
    if trimmed:
        trimmed.trim()
    kit.begin(lambda: data, steps)
    model.train()
    for step in range(steps):
        kit.backward(model, data[step % 2])
        kit.before_step(max_norm=1.0)
        if trimmed:
            trimmed.note(optimizer)
        optimizer.step()
        kit.after_step(optimizer)
        optimizer.zero_grad()
    if trimmed:
        trimmed.restore()
    kit.finish()
    return model


def script(
    model: Any, methods: Sequence[Stabilizer], folder: str | Path, examples: Rows | None = None, **changes: Any
) -> StableTrainer:
    """Return a training as run by a user's script.

    Args:
        model: Model to train.
        methods: Stabilizers to apply.
        folder: Folder for checkpoints.
        examples: Examples to train on, by default the 16 rows.
        changes: `TrainingArguments` that differ.
    """
    arguments = {
        "output_dir": str(folder),
        "num_train_epochs": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "log_level": "error",
        "dataloader_pin_memory": False,
        "use_cpu": True,
        **changes,
    }
    data = rows(16) if examples is None else examples
    return StableTrainer(model=model, args=TrainingArguments(**arguments), train_dataset=data, stabilizers=methods)


@lru_cache
def _plainly_trained(architecture: str, dropout: bool, steps: int) -> State:
    """Return the weights after the same training without stabilizers."""
    return state(_train(tiny_model(architecture, dropout=dropout), [], steps, rows_for(architecture)))


@lru_cache
def _plainly_trained_in_bfloat16(architecture: str, dropout: bool) -> State:
    with TemporaryDirectory() as folder:
        trainer = script(tiny_classifier(architecture, dropout=dropout), [], folder, bf16=True)
        trainer.train()
    return state(trainer.model)


def _loaded(architecture: str, folder: str) -> Any:
    if "lora" not in architecture:
        # transformers saves no num_labels of 2, and then reads BART's default of 3.
        return AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=2, attn_implementation="eager", trust_remote_code=False
        )
    from peft import PeftModel

    return PeftModel.from_pretrained(tiny_classifier(architecture.partition("+")[0]), folder, trust_remote_code=False)


@torch.no_grad()
def outputs(model: Any, examples: Rows | None = None) -> Tensor:
    """Return a model's logits of the examples, by default 16 rows, in evaluation mode."""
    logits: Tensor = model.eval()(**batch(rows(16) if examples is None else examples)).logits
    return logits


@torch.no_grad()
def _task_loss(model: Any, examples: Rows) -> float:
    return float(model.eval()(**batch(examples)).loss)


def state(model: Any) -> State:
    """Return a copy of a model's weights."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def move_a_little(weights: Any) -> None:
    """Move weights away from the start, where the pull towards it has zero gradient."""
    torch.manual_seed(0)
    for weight in weights:
        weight.add_(torch.randn_like(weight), alpha=0.01)


def _distance(first: State, second: State) -> float:
    return math.sqrt(sum(float((first[name].float() - second[name].float()).square().sum()) for name in first))


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
