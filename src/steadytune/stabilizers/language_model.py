"""Continuing a checkpoint's own pre-training objective.

Masked tokens for an encoder, the next token for a decoder, missing spans for an encoder-decoder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from steadytune.errors import UserError
from steadytune.stabilizers.context import Pretraining
from steadytune.stabilizers.denoising import DENOISED, Denoising, damage_of


@dataclass(frozen=True)
class Phase:
    """Passes over the inputs at a peak learning rate."""

    epochs: int
    learning_rate: float


def retrain(
    encoder: nn.Module, context: Pretraining, everything: Phase, new_head: Phase
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train a language model on the inputs, always with the same seed.

    Args:
        encoder: Gives the names of the weights to return.
        context: Checkpoint, inputs and where to compute.
        everything: Training of all weights.
        new_head: Training of the weights that the checkpoint lacks, before that.

    Returns:
        The encoder's new weights, and the first and last epoch's loss and ||w_0 - w_re-trained||.

    Raises:
        UserError: It is unknown how the architecture was pre-trained, or the checkpoint or its tokenizer lacks what
            that takes.
    """
    set_seed(0)
    config: Any = encoder.config
    auto, collator = _objective(config, context.tokenizer)
    model, loading = auto.from_pretrained(
        context.source, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, output_loading_info=True
    )
    base = model.base_model
    if not set(encoder.state_dict()) <= set(base.state_dict()):
        if set(encoder.state_dict()) <= set(model.state_dict()):  # all of a language model
            base = model
        elif auto is AutoModelForSeq2SeqLM:
            base = base.get_encoder()
    prefix = model.base_model_prefix
    new = set(loading["missing_keys"]) - {f"{prefix}.{name}" for name in model.base_model.state_dict()}
    if lacking := sorted(
        name for name in loading["missing_keys"] if "decoder." in name and auto is AutoModelForSeq2SeqLM
    ):
        raise UserError(f"surt: {type(config).__name__} was pre-trained with a decoder, but here it lacks {lacking[0]}")
    # Of a weight with two names, like embeddings that are the last layer as well, only the first: it moves once.
    before = {name: weight.detach().cpu().clone() for name, weight in base.named_parameters()}
    phases = [(new_head, True)] if new and new_head.epochs else []
    phases.append((everything, False))
    losses: list[float] = []
    work, done = sum(phase.epochs for phase, _ in phases), 0
    for seed, (phase, head_alone) in enumerate(phases):
        for parameter in model.parameters():
            parameter.requires_grad_(not head_alone)
        for name, parameter in model.named_parameters():
            if head_alone and name in new:
                parameter.requires_grad_(True)
        share = phase.epochs / work
        # Each phase has different masks: with the same ones, memorisation by the head looks like progress.
        losses = _train(
            model,
            _Inputs(context.inputs),
            collator(seed),
            _arguments(phase, context, seed),
            partial(_report, context, done / work, share),
        )
        done += phase.epochs
    after = {name: tensor.detach().cpu() for name, tensor in base.state_dict().items()}
    moved = sum(float(((after[name] - start).double() ** 2).sum()) for name, start in before.items())
    kept = encoder.state_dict()
    strangers = [name for name in kept if name not in after and "pooler" not in name]
    if strangers:
        raise UserError(
            f"surt: the language model of {type(config).__name__} does not train this encoder's {strangers[0]}"
        )
    state = {name: after.get(name, tensor.detach().cpu()).contiguous() for name, tensor in kept.items()}
    return state, {"surt_loss_first": losses[0], "surt_loss_last": losses[-1], "surt_distance": moved**0.5}


def _objective(config: Any, tokenizer: Any) -> tuple[Any, Callable[[int], Any]]:
    """Return the class of the language model that was pre-trained, and seed -> what makes its batches."""
    name = type(config).__name__
    if getattr(config, "model_type", "") in DENOISED and not getattr(config, "is_decoder", False):
        damage = damage_of(config.model_type, tokenizer)
        return AutoModelForSeq2SeqLM, partial(Denoising, damage, tokenizer)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"surt does not know how {name} was pre-trained: of encoder-decoders it knows {', '.join(sorted(DENOISED))}"
        )
    masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    if not masked and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"surt: {name} has neither a masked nor a causal language model")

    def collator(seed: int) -> Any:
        share = 0.15 if masked else None
        return DataCollatorForLanguageModeling(tokenizer, mlm=masked, mlm_probability=share, seed=seed)

    return AutoModelForMaskedLM if masked else AutoModelForCausalLM, collator


class _Inputs(torch.utils.data.Dataset[dict[str, Sequence[int]]]):
    """Token ids in the form that the language-model collator expects."""

    def __init__(self, inputs: Sequence[Sequence[int]]) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Sequence[int]]:
        return {"input_ids": self.inputs[index]}


class _Progress(TrainerCallback):
    def __init__(self, report: Callable[[float], None]) -> None:
        self.report = report

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.report(state.global_step / state.max_steps)


def _report(context: Pretraining, start: float, share: float, part: float) -> None:
    context.progress(start + share * part)


def _arguments(phase: Phase, context: Pretraining, seed: int) -> dict[str, Any]:
    steps = phase.epochs * -(-len(context.inputs) // context.batch_size)
    return {
        "num_train_epochs": phase.epochs,
        "per_device_train_batch_size": context.batch_size,
        "learning_rate": phase.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": steps // 10,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "seed": seed,
        "use_cpu": context.device == "cpu",
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "log_level": "error",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _train(
    model: nn.Module, inputs: _Inputs, collate: Any, arguments: dict[str, Any], report: Callable[[float], None]
) -> list[float]:
    """Train in place; return the mean loss of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        made = TrainingArguments(output_dir=folder, **arguments)
        # With several GPUs the Trainer would multiply the batch size.
        made._n_gpu = min(1, made.n_gpu)
        trainer = Trainer(
            model=model,
            args=made,
            train_dataset=inputs,
            data_collator=collate,
            callbacks=[_Progress(report)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.cpu()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
