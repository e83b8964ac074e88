"""Recording runs of other people's training scripts: a callback for any transformers Trainer, a call for any loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import EvalPrediction, Trainer, TrainerCallback

from steadytune.errors import UserError
from steadytune.external import record_run
from steadytune.external.record import check_place
from steadytune.training.predicting import Position, check_position, fields_of


class StabilityRecorder(TrainerCallback):
    """Records a run at the end of its training, for `steadytune measure`, in two lines of any script.

        import steadytune as st
        trainer.add_callback(st.StabilityRecorder(trainer, "runs/seed0.safetensors"))

    What is recorded: logits, labels, hidden states in half precision, a digest of the evaluation examples, the seed,
    and what `compute_metrics` says. The model of the end is used, under `load_best_model_at_end` the best one. Its mode
    and all random states stay as they are. One batch is tried as training begins, so that a mistake costs no training.
    Under torchrun the main process alone predicts and writes.

    Args:
        trainer: Gives model, collator, batch size and seed.
        path: A .safetensors file; the folder is made.
        eval_dataset: What to predict, the same for every run; by default the trainer's. A name, if that has several.
        position: Where hidden states are taken: "cls" the first token, "mean" over tokens, "last" for decoders. None
            for no hidden states.

    Raises:
        UserError: There is nothing to predict, the path cannot be written to, the position is unknown, the model lies
            in parts over several processes, or, as training begins, it is no classifier or regression.
    """

    def __init__(
        self, trainer: Trainer, path: str | Path, eval_dataset: Any = None, position: Position | None = "cls"
    ) -> None:
        dataset = trainer.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = trainer.eval_dataset[dataset]
        if dataset is None:
            raise UserError("StabilityRecorder: the trainer has no eval_dataset; give one: eval_dataset=...")
        if isinstance(dataset, dict):
            names = ", ".join(map(repr, dataset))
            raise UserError(
                f"StabilityRecorder: the trainer has several eval datasets; name one: eval_dataset= {names}"
            )
        if isinstance(dataset, IterableDataset) and trainer.args.world_size > 1:
            raise UserError("StabilityRecorder: a stream is split over the processes; give a dataset that has a length")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UserError(
                "StabilityRecorder needs the whole model in one process, which FSDP and DeepSpeed do not have: "
                "give the logits of trainer.predict to steadytune.record_run"
            )
        check_position(position)
        self.trainer = trainer
        self.path = Path(path)
        if trainer.is_world_process_zero():
            check_place(self.path)
        self.dataset = dataset
        self.position = position

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Try one batch."""
        self._run(self._batches(1))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Predict and write, in the main process."""
        if state.is_world_process_zero:
            record_run(self.path, seed=args.seed, **self._run(self._batches()))

    def _batches(self, limit: int | None = None) -> Iterator[Any]:
        # It knows the collator and which columns the model takes, but may sort or split the examples.
        prepared = self.trainer.get_test_dataloader(self.dataset)
        size = self.trainer.args.eval_batch_size
        # A generator, so that the loader draws its random seed where the random state is kept.
        yield from islice(DataLoader(prepared.dataset, batch_size=size, collate_fn=prepared.collate_fn), limit)

    def _run(self, batches: Iterable[Any]) -> dict[str, Any]:
        model: nn.Module = self.trainer.model
        fields = fields_of(model, batches, self.position)
        if "labels" not in fields:
            raise UserError(
                "StabilityRecorder records classifiers and regressions, and the batches hold no 'labels': "
                "give what the model says to steadytune.record_run"
            )
        names = getattr(model.config, "id2label", None) or {}
        if fields["kind"] == "classification" and len(names) == fields["logits"].shape[1]:
            fields["label_names"] = [str(names[number]) for number in sorted(names)]
        if self.trainer.compute_metrics is not None and not self.trainer.args.batch_eval_metrics:
            fields["scores"] = self._metrics(fields)
        return fields

    def _metrics(self, fields: Mapping[str, Any]) -> dict[str, float]:
        logits, labels = fields["logits"], fields["labels"]
        if self.trainer.preprocess_logits_for_metrics is not None:
            logits = self.trainer.preprocess_logits_for_metrics(torch.as_tensor(logits), torch.as_tensor(labels))
        metrics = self.trainer.compute_metrics(EvalPrediction(predictions=np.asarray(logits), label_ids=labels))
        numbers = {name.removeprefix("eval_"): value for name, value in metrics.items() if np.ndim(value) == 0}
        return {name: float(value) for name, value in numbers.items() if np.isfinite(value)}


def record_model(
    path: str | Path,
    model: nn.Module,
    batches: Iterable[Any],
    *,
    position: Position | None = None,
    seed: int | None = None,
    scores: float | Mapping[str, float] | None = None,
) -> Path:
    """Predict with a trained model and write the run into a file, for `steadytune measure`, after any training loop.

        st.record_model("runs/seed0.safetensors", model, loader, seed=0)

    The model's mode and all random states stay as they are. Inputs go to the model's device; wrap the call into
    `torch.autocast` to compute as the training did.

    Args:
        path: A .safetensors file; the folder is made.
        model: Returns logits (b, C), for a regression predictions (b, 1) or (b,): as a tensor, as the first of a tuple,
            or as `logits`.
        batches: In one order for all runs, such as a DataLoader that does not shuffle. A batch is a mapping of keyword
            arguments, with labels under "labels" or "label"; or a tuple of arguments with the labels last; or one
            tensor, without labels.
        position: Where to take the hidden states of a transformers model: "cls", "mean" or "last"; None for none.
        seed: What the run was trained with; names it in tables.
        scores: The run's score, or several by name.

    Raises:
        UserError: The path cannot be written to, the position is unknown, the model is no classifier or regression, or
            the labels are not one per example.
    """
    check_place(Path(path))
    return record_run(path, seed=seed, scores=scores, **fields_of(model, batches, position))
