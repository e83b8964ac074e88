"""Recording runs of existing training scripts: a callback for any transformers Trainer, a function for any loop."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from itertools import chain, count, islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import EvalPrediction, Trainer, TrainerCallback

from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.external import record_run
from steadytune.external.batches import Position, check_position, group_numbers, labels_in
from steadytune.external.generating import Words, Writing, check_decoding, decoding_of, draw_words
from steadytune.external.predicting import checked, fields_of, grouped, sentence_rows
from steadytune.external.record import another_run, check_place
from steadytune.kinds import KINDS
from steadytune.models.modules import plain_model, writes
from steadytune.models.padding import say_padding, tokenizer_in
from steadytune.models.random_state import preserved_random_state
from steadytune.records.checks import check_kind

_OUTPUTS = (
    *("logits", "questions", "representations", "kind", "examples", "seed", "status", "reason"),
    *("generations", "references", "token_counts", "target_log_probabilities", "token_choices"),
    *("token_log_probabilities", "token_weights", "token_exact"),
)


class StabilityRecorder(TrainerCallback):
    """Record a run at the end of its training, for `steadytune measure`, with two lines in any script.

        import steadytune as st
        trainer.add_callback(st.StabilityRecorder(trainer, "runs/seed0.safetensors"))

    What is recorded: logits, labels, hidden states in half precision, a digest of the evaluation examples, the seed,
    and the scores of `compute_metrics`. Of a token classifier it is a row for each token whose label is not -100. The
    final model is used, or the best one under `load_best_model_at_end`. Its mode and all random states are preserved. A
    training whose outputs are not finite is recorded as diverged. Values of `compute_metrics` that are not numbers are
    left out.

    Of a language model it is the texts that it generates after the prompts, the references, which are what the labels
    spell, and under teacher forcing the log-probabilities of the target tokens and of candidate words, at which the
    distributions of two runs are compared. These are drawn before the first step, when all runs of a pre-trained model
    are the same: this reads the evaluation set once more, and keeps 3 KB of memory per target token. Its scores are
    computed of the texts, and not by `compute_metrics`.
    Under torchrun only the main process predicts and writes.

    Nothing that goes wrong here ends a training: it is said once, as a warning, with the way to record by hand. When
    training begins, one batch is tried twice and all labels are checked, so that this is said before the first step. If
    the run cannot be written in the end, it is written elsewhere, or without the invalid parts. The trainings of a
    hyperparameter search are not recorded.

    Args:
        trainer: Provides model, collator, batch size and seed.
        path: A .safetensors file; its folder is created.
        eval_dataset: Examples to predict, the same for every run; by default the trainer's. A name, if that has
            several.
        position: Token position of the hidden states: "cls" the first token, "mean" over tokens, "last" for decoders;
            of a language model in the prompt, but "mean" over target tokens. "auto" is "last" for it and "cls" for all
            others, None for no hidden states. Those of tagged tokens are their own, whichever position is named.
        groups: Group of each example, by number or name, such as the passage of a question; or the name of the
            dataset's group column. Examples of a group are resampled together.
        overwrite: Whether the file of another seed may be replaced.
        kind: Name of the kind of task, if the model does not show it: "regression" or "classification" of one output
            and labels 0 and 1, "tokens" or "multilabel" of a model that is not of transformers.
        decoding: How texts are generated; words are drawn with the trainer's seed. By default the trainer's length and
            beams (`generation_max_length`, `generation_num_beams`), or those of the model's generation configuration.

    Raises:
        UserError: There is nothing to predict, the kind or the position is unknown, the path cannot be written or
            contains the run of another seed, groups do not fit the dataset, or the model is split over several
            processes.
    """

    def __init__(
        self,
        trainer: Trainer,
        path: str | Path,
        eval_dataset: Any = None,
        position: Position | None = "auto",
        *,
        groups: Any = None,
        overwrite: bool = False,
        kind: str | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        dataset = trainer.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = trainer.eval_dataset[dataset]
        if dataset is None:
            raise UserError("StabilityRecorder: the trainer has no eval_dataset: pass eval_dataset=...")
        if isinstance(dataset, dict):
            names = ", ".join(map(repr, dataset))
            raise UserError(
                f"StabilityRecorder: the trainer has several eval datasets: choose one with eval_dataset= {names}"
            )
        if isinstance(dataset, IterableDataset) and trainer.args.world_size > 1:
            raise UserError("StabilityRecorder: a streaming dataset is split across processes: use one with a length")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UserError(
                "StabilityRecorder needs the whole model in one process, which FSDP and DeepSpeed do not provide: "
                "pass the logits of trainer.predict to steadytune.record_run"
            )
        check_position(position)
        check_decoding(decoding)
        if kind is not None:
            check_kind("StabilityRecorder", kind)
        self.trainer = trainer
        self.path = Path(path)
        if trainer.is_world_process_zero():
            check_place(self.path)
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{self.path} cannot be written ({error.strerror})") from error
            if not overwrite and (other := another_run(self.path, trainer.args.seed, None)):
                raise UserError(f"StabilityRecorder: {other}")
        self.dataset = dataset
        self.position = position
        self.overwrite = overwrite
        given = _column(dataset, groups) if isinstance(groups, str) else groups
        self.groups = None if given is None else group_numbers(given)
        if self.groups is not None and isinstance(dataset, Sized) and len(self.groups) != len(dataset):
            raise UserError(f"StabilityRecorder: {len(self.groups)} groups for {len(dataset)} examples")
        self.kind = kind
        self.decoding = decoding
        self._words: Words | None = None
        self._said: set[str] = set()
        self._failed = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Try one batch, and check all labels, in the main process."""
        if not state.is_world_process_zero:
            return
        if state.is_hyper_param_search:
            self._say(
                "the trainings of a hyperparameter search are not recorded: train the best one again, with a recorder"
            )
            return
        with self._forgiving():
            # Where a language model reads does not depend on it.
            if not writes(plain_model(self.trainer.model)):
                say_padding(self.trainer.model, self._tokenizer)
            fields = self._run(self._batches(1))
            if "status" in fields and not state.global_step:
                self._say("the model's outputs are not finite before the first step")
            if isinstance(self.dataset, Sized) and "labels" in fields:
                self._check_labels(fields["logits"].shape[1], fields["kind"])
            self._try(fields)
            if "token_counts" in fields:
                self._draw_words(resumed=state.global_step > 0)

    def _draw_words(self, resumed: bool) -> None:
        if resumed:
            self._say(
                "the words at which runs are compared are drawn before the first step, and this training goes on from "
                "a checkpoint: the run is recorded without the distributions there"
            )
            return
        self._words = words = draw_words(self.trainer.model, self._batches())
        if isinstance(self.dataset, Sized) and len(words.counts) != len(self.dataset):
            raise UserError(
                f"the batches have {len(words.counts)} examples, and the dataset has {len(self.dataset)}: there must "
                "be one row for each"
            )

    @property
    def _tokenizer(self) -> Any:
        return tokenizer_in(self.trainer.processing_class, self.trainer.data_collator)

    def _check_labels(self, outputs: int, kind: str) -> None:
        try:
            for batch in self._batches():
                if (labels := labels_in(batch)) is not None:
                    checked(labels, outputs, kind)
        except UserError as error:
            self._say(f"{error}; the run is recorded without labels")

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Say what goes wrong within this context, and how to record by hand, instead of ending the training."""
        try:
            with preserved_random_state():
                yield
        except Exception as error:  # of models, collators and datasets of any make
            if self._failed:
                return
            self._failed = True
            text = " ".join(str(error).split()).removeprefix("StabilityRecorder: ")
            why = text if isinstance(error, UserError) else f"{type(error).__name__}: {text:.200}"
            self._say(
                f"this run cannot be recorded ({why}). The training goes on; when it is over, give the model's outputs "
                "to steadytune.record_run, or model and batches to steadytune.record_model"
            )

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            warnings.warn(f"StabilityRecorder: {message}", stacklevel=2)

    def _try(self, fields: Mapping[str, Any]) -> None:
        """Record one batch and remove the file, so that errors appear before the training rather than after it."""
        trial = self.path.with_name(f".{self.path.stem}-trial.safetensors")
        try:
            record_run(trial, overwrite=True, **fields)
        except UserError as error:
            raise UserError(str(error).replace(str(trial), str(self.path))) from error
        finally:
            with suppress(OSError):
                trial.unlink()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Predict and write, in the main process."""
        if not state.is_world_process_zero or state.is_hyper_param_search:
            return
        with self._forgiving():
            fields, path = self._run(self._batches()), self.path
            other = None if self.overwrite else another_run(path, args.seed, fields["examples"])
            if other:
                # The training is over, and nothing of it may be lost.
                path = _free(path)
                self._say(f"{other}; this run is in {path}")
            self._write(path, fields | {"seed": args.seed} | grouped(fields, self.groups))

    def _write(self, path: Path, fields: Mapping[str, Any]) -> None:
        """Write the run; if that fails, write it elsewhere, and if necessary with its outputs only."""
        outputs = {name: fields[name] for name in _OUTPUTS if name in fields}
        first: Exception | None = None
        for what in (fields, outputs):
            for place in (path, Path.cwd() / path.name, Path(tempfile.gettempdir()) / path.name):
                free = place if place == path else _free(place)
                try:
                    record_run(free, overwrite=True, **what)
                except (UserError, OSError) as error:
                    first = first or error
                    continue
                if first is not None:
                    less = f", with only {', '.join(outputs)}" if what is outputs else ""
                    self._say(f"{first}; this run is in {free}{less}")
                return
        assert first is not None
        raise first

    def _batches(self, limit: int | None = None) -> Iterator[Any]:
        # It knows the collator and the columns of the model, but may sort or split the examples.
        prepared = self.trainer.get_test_dataloader(self.dataset)
        size = self.trainer.args.eval_batch_size
        # A generator, so that the loader does not draw its seed from the global random state.
        yield from islice(DataLoader(prepared.dataset, batch_size=size, collate_fn=prepared.collate_fn), limit)

    def _run(self, batches: Iterator[Any]) -> dict[str, Any]:
        model: nn.Module = self.trainer.model
        first = next(batches, None)
        language = writes(plain_model(model))
        if first is not None and labels_in(first) is None and self.kind is None and not language:
            raise UserError(
                "the batches have no 'labels', so that it is not known what the outputs are: for classes say "
                "kind='classification'"
            )
        arguments = self.trainer.args
        decoding = self.decoding or (decoding_of(model, arguments) if language else None)
        fields = fields_of(
            model,
            batches if first is None else chain([first], batches),
            self.position,
            self.kind,
            writing=Writing(self._tokenizer, decoding, arguments.seed, self._words),
            say=self._say,
        )
        names = getattr(getattr(model, "config", None), "id2label", None) or {}
        of = KINDS[fields["kind"]]
        if (of.shared_classes or of.has_sets) and len(names) == fields["logits"].shape[1]:
            fields["label_names"] = [str(names[number]) for number in sorted(names)]
        if (
            self.trainer.compute_metrics is not None
            and not self.trainer.args.batch_eval_metrics
            and "status" not in fields
            and "labels" in fields
        ):
            try:
                fields["scores"] = self._metrics(fields)
            except Exception as error:  # from a user's function, after a training that must not be lost
                self._say(f"compute_metrics raised {type(error).__name__}: {error}; the run is recorded without scores")
        return fields

    def _metrics(self, fields: Mapping[str, Any]) -> dict[str, float]:
        logits, labels = sentence_rows(fields) if "questions" in fields else (fields["logits"], fields["labels"])
        if self.trainer.preprocess_logits_for_metrics is not None:
            logits = self.trainer.preprocess_logits_for_metrics(torch.as_tensor(logits), torch.as_tensor(labels))
        metrics = self.trainer.compute_metrics(EvalPrediction(predictions=np.asarray(logits), label_ids=labels))
        named = metrics if isinstance(metrics, Mapping) else {"score": metrics}
        numbers = {str(name).removeprefix("eval_"): _number(value) for name, value in named.items()}
        return {name: number for name, number in numbers.items() if number is not None}


def _free(path: Path) -> Path:
    """Return the path, or a free one beside it if it exists."""
    names = (path.with_stem(f"{path.stem}-{n}") if n else path for n in count())
    return next(name for name in names if not name.exists())


def _column(dataset: Any, name: str) -> Any:
    try:
        return dataset[name]
    except Exception as error:  # from a user's dataset
        raise UserError(
            f"StabilityRecorder: the dataset has no column '{name:.60}': give groups as a list with one entry per "
            "example"
        ) from error


def _number(value: Any) -> float | None:
    """Return a finite number; None for a text, a list, a mapping or anything else."""
    value = value.item() if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim == 0 else value
    return float(value) if isinstance(value, Real | np.number) and np.isfinite(float(value)) else None


def record_model(
    path: str | Path,
    model: nn.Module,
    batches: Iterable[Any],
    *,
    position: Position | None = None,
    seed: int | None = None,
    scores: float | Mapping[str, float] | None = None,
    groups: Any = None,
    tokenizer: Any = None,
    overwrite: bool = False,
    kind: str | None = None,
    decoding: Decoding | None = None,
) -> Path:
    """Predict with a trained model and write the run to a file for `steadytune measure`, after any training loop.

        st.record_model("runs/seed0.safetensors", model, loader, seed=0)

    The model's mode and all random states are preserved. Inputs are moved to the model's device; wrap the call in
    `torch.autocast` to compute as in training.

    Args:
        path: A .safetensors file; its folder is created.
        model: Returns logits (b, C), of tokens (b, T, C), or for a regression predictions (b, 1) or (b,): as a tensor,
            first in a tuple, or as `logits`.
        batches: In the same order for all runs, such as an unshuffled DataLoader. A batch is a mapping of keyword
            arguments, with labels under "labels" or "label"; or a tuple of arguments with the labels last; or one
            tensor, without labels. Those of tokens (b, T) are -100 where a token does not count, of sets (b, C) 0 or 1.
        position: Token position of the hidden states of a transformers model: "cls", "mean" or "last"; None for none.
        seed: Seed of the training; names the run in tables.
        scores: The run's score, or several by name.
        groups: Group of each example, by number or name; see `StabilityRecorder`.
        tokenizer: The one that padded the batches; by default that of the loader's collator, if any. A decoder then
            uses its padding id, and a language model generates texts with it.
        overwrite: Whether the file of another seed, or on other examples, may be replaced.
        kind: Name of the kind of task, see `StabilityRecorder`.
        decoding: How a language model's texts are generated, words being drawn with the seed; by default as in its
            generation configuration. What is recorded of it is what `StabilityRecorder` says, but for candidate words,
            which must be drawn before the training.

    Raises:
        UserError: The file contains another run, the path cannot be written, the position or the kind is unknown, or
            outputs and labels do not fit the kind.
    """
    path = Path(path)
    check_place(path)
    check_decoding(decoding)
    if not overwrite and (other := another_run(path, seed, None)):
        raise UserError(other)
    known = tokenizer_in(tokenizer, batches)
    if not writes(plain_model(model)):
        say_padding(model, known)
    numbers = None if groups is None else group_numbers(groups)
    writing = Writing(known, decoding, seed or 0)
    fields = fields_of(model, batches, position, kind, writing=writing)
    return record_run(path, seed=seed, scores=scores, overwrite=overwrite, **grouped(fields, numbers), **fields)
