"""Conformance checks of kinds of task, on a few examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.profile import profile
from steadytune.errors import UserError
from steadytune.external import read_runs, record_run
from steadytune.kinds import KINDS, Kind
from steadytune.measures import declared
from steadytune.records import Cohort
from steadytune.tasks import Examples

_RUNS, _EXAMPLES, _CLASSES = 3, 24, 4


def check_kind(
    kind: Kind,
    *,
    logits: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    examples: Examples | None = None,
) -> None:
    """Check that a kind of task meets all requirements.

    - Its facts are complete, and its array methods agree with `answers`.
    - Its runs form a cohort that is measured, and scored by the first metric that can be computed; files of runs state
      their kind. Outputs that are not finite, have one axis, or have no examples are rejected.
    - If it can be trained: batches have one label per example, the criterion has a gradient and is the mean of the
      losses of linear heads, and invalid labels are rejected. If it answers at tokens, those that it ignores do not
      change the criterion.
    - If it is asked for texts: every example becomes a row with labels, however long it is, and a batch has the labels
      of its rows and none at padding.

    Args:
        kind: An instance; it need not belong to an installed package.
        logits: (K, N, C) outputs of two or more runs, if the default of four classes, or one number, does not fit.
        labels: (N,).
        examples: Of a kind that is answered at tokens, if the default of prompts and texts does not fit.

    Raises:
        AssertionError: It breaks a requirement; says which.
    """
    _check_facts(kind)
    known = kind.name in KINDS
    with nullcontext() if known else KINDS.added(kind):
        if logits is None or labels is None:
            logits, labels = _made(kind)
        _check_arrays(kind, logits)
        cohort = _check_cohort(kind, logits, labels)
        if not kind.has_texts:
            _check_refusals(kind, logits, labels)
            _check_files(kind, cohort)
        if kind.trained and kind.has_sets:
            _check_training_of_sets(kind, logits[0], labels)
        elif kind.trained and kind.pooled:
            _check_training(kind, logits[0], labels)
        elif kind.trained and kind.has_classes:
            _check_training_at_tokens(kind, logits[0], labels)
        elif kind.trained:
            for seq2seq in (False, True):
                _check_rows(kind, examples or _prompts(), seq2seq)


def _need(kind: Kind, holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(f"{kind!r}: {what}")


def _check_facts(kind: Kind) -> None:
    _need(kind, isinstance(kind, Kind), "is not an instance of Kind")
    _need(
        kind, kind.name.isidentifier(), f"its name {kind.name!r} is not an identifier, as files and --set kind=... need"
    )
    _need(
        kind,
        kind.answers in ("classes", "numbers", "texts", "sets"),
        f"answers are {kind.answers!r}, not classes, numbers, texts or sets",
    )
    _need(kind, type(kind).__doc__, "has no docstring")
    _need(kind, kind.metrics, "names no metric, so runs have no default score")
    _need(kind, not kind.trained or kind.task_metrics, "can be trained but names no task_metrics")


def _made(kind: Kind) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return outputs (K, N, C) and labels (N,)."""
    rng = np.random.default_rng(0)
    if kind.has_numbers:
        labels = rng.normal(size=_EXAMPLES)
        return (labels + 0.3 * rng.normal(size=(_RUNS, _EXAMPLES)))[..., None], labels
    classes = np.arange(_EXAMPLES) % _CLASSES
    if kind.has_sets:
        sets = (np.arange(_EXAMPLES)[:, None] >> np.arange(_CLASSES)) & 1
        return 3.0 * (2 * sets - 1) + rng.normal(size=(_RUNS, _EXAMPLES, _CLASSES)), sets
    return 2 * np.eye(_CLASSES)[classes] + rng.normal(size=(_RUNS, _EXAMPLES, _CLASSES)), classes


def _check_arrays(kind: Kind, logits: NDArray[Any]) -> None:
    predictions, probabilities, numbers = kind.predictions(logits), kind.probabilities(logits), kind.numbers(logits)
    sets = kind.sets(logits)
    for name, found, wanted in (
        ("predictions", predictions, kind.has_classes or kind.has_sets),
        ("probabilities", probabilities, kind.has_classes or kind.has_sets),
        ("sets", sets, kind.has_sets),
        ("numbers", numbers, kind.has_numbers),
    ):
        _need(kind, (found is not None) == wanted, f"{name} are {type(found).__name__}, but answers are {kind.answers}")
    for name, one in (("predictions", predictions), ("numbers", numbers)):
        _need(kind, one is None or one.shape == logits.shape[:-1], f"{name} must be one per run and example")
    if sets is not None and predictions is not None and probabilities is not None:
        _need(kind, sets.shape == logits.shape, "sets must have a value for each run, example and label")
        _need(
            kind,
            np.array_equal(sets, np.asarray(kind.sets(probabilities, True))),
            "sets differ by logits and by probabilities",
        )
        same = (sets[0] == sets[1]).all(axis=-1)
        _need(kind, np.array_equal(same, predictions[0] == predictions[1]), "predictions must be equal for equal sets")
        _need(kind, np.array_equal(kind.coded(sets), predictions), "coded and predictions have different numbers")
    elif predictions is not None and probabilities is not None:
        _need(kind, np.allclose(probabilities.sum(axis=-1), 1), "probabilities do not sum to 1")
        agree = np.array_equal(probabilities.argmax(axis=-1), predictions)
        _need(kind, agree, "the predictions are not the most probable classes")


def _check_cohort(kind: Kind, logits: NDArray[Any], labels: NDArray[Any]) -> Cohort:
    given: dict[str, Any] = {"logits": logits, "labels": labels}
    if kind.has_texts:
        words = np.array(["a red house", "two blue birds", "no rain today", "one more time"])
        texts = words[logits.argmax(axis=-1)]
        given = {"generations": texts.tolist(), "references": words[labels].tolist()}
    cohort = Cohort(kind=kind.name, **given)
    _need(kind, cohort.metric in kind.metrics, f"runs are scored by {cohort.metric!r}, which is not one of its metrics")
    _need(kind, np.isfinite(cohort.scores).all(), f"the {cohort.metric} of valid runs is not finite")
    found = profile(cohort, resamples=100)
    measures = [one.name for one in declared("prediction") if one.applies_to(kind.name)]
    for measure in {*measures, *(kind.pair_measures or ())}:
        _need(kind, any(value.measure == measure for value in found.values), f"a profile lacks {measure}")
    known = [measure for measure in measures if not math.isnan(found.last(measure).value)]
    _need(kind, known, "none of its prediction measures has a value")
    return cohort


def _check_refusals(kind: Kind, logits: NDArray[Any], labels: NDArray[Any]) -> None:
    broken = logits.copy()
    broken[1, 2] = np.nan
    for what, outputs in (
        ("that are not finite", broken),
        ("with one axis", logits[..., 0]),
        ("without examples", logits[:, :0]),
    ):
        make = partial(Cohort, kind=kind.name, logits=outputs, labels=labels[: outputs.shape[1]])
        _refused(kind, f"outputs {what}", make)


def _refused(kind: Kind, what: str, tried: Callable[[], Any]) -> None:
    try:
        tried()
    except UserError:
        return
    raise AssertionError(f"{kind!r}: {what} are not rejected")


def _check_files(kind: Kind, cohort: Cohort) -> None:
    assert cohort.logits is not None
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"run-{seed}.safetensors" for seed in cohort.seeds]
        for file, run in zip(files, cohort.logits, strict=True):
            record_run(file, logits=run, labels=cohort.labels, kind=kind.name)
        read = read_runs(files)
    _need(kind, read.kind == kind.name, f"runs recorded as {kind.name} are read as {read.kind}")
    _need(kind, np.array_equal(read.scores, cohort.scores), "recorded runs have different scores when read")


def _check_training(kind: Kind, logits: NDArray[Any], labels: NDArray[Any]) -> None:
    import torch

    n, classes = len(labels), logits.shape[1]
    each = classes if kind.candidates else 1
    rows = {"input_ids": torch.arange(n * each * 2).view(n * each, 2)}
    batch = kind.batch(rows, labels.tolist())
    targets = batch["labels"]
    _need(kind, len(targets) == n, f"a batch of {n} examples has {len(targets)} labels")
    _need(kind, len(batch["input_ids"]) == n, f"a batch of {n} examples has {len(batch['input_ids'])} inputs")
    outputs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    highest = kind.check_batch_labels(targets)
    _need(kind, highest is None or highest < classes, f"the largest label of {classes} classes is {highest}")
    _need(kind, kind.fits_labels(outputs, targets), "fits_labels is false for outputs and their own labels")
    loss = kind.criterion()(outputs, targets)
    _need(kind, loss.dim() == 0 and bool(loss.isfinite()), f"the loss of a batch is {loss}, not one finite number")
    (slope,) = torch.autograd.grad(loss, outputs)
    _need(kind, bool(slope.isfinite().all()) and bool(slope.abs().sum() > 0), "its criterion has no gradient")
    width = kind.outputs(classes)
    by_row = outputs.reshape(1, n * each, 1, width)
    losses = kind.head_losses(by_row, targets[None], "softmax")
    _need(
        kind, losses.shape == (1, n, 1), f"head losses have shape {tuple(losses.shape)}, not one per example and head"
    )
    same = bool(torch.isclose(losses.mean(), loss.to(losses.dtype)))
    _need(kind, same, "the criterion is not the mean of head_losses")
    rows_of = kind.row_classes(outputs, targets)
    if rows_of is not None:
        _need(kind, len(rows_of) == n * each, f"{n * each} rows have {len(rows_of)} classes")
        most = int(rows_of.max())
        _need(
            kind,
            most < kind.count_row_classes(by_row[0, :, 0]),
            f"class {most} of a row is not included in count_row_classes",
        )
    wrong = targets.clone()
    wrong[0] = -1 if kind.has_classes else math.nan
    _refused(kind, "invalid labels", lambda: kind.check_batch_labels(wrong))


def _prompts() -> Examples:
    """Return prompts of different lengths, each with two accepted texts."""
    words = ["a red house", "two blue birds", "no rain today", "one more time"]
    prompts = [f"{'Say: ' * number}{text}" for number, text in enumerate(words)]
    return Examples.prompted(prompts, [(text, text.upper()) for text in words])


def _check_rows(kind: Kind, examples: Examples, seq2seq: bool) -> None:
    from steadytune.kinds.encoding import IGNORED
    from steadytune.testing.models import letter_tokenizer

    tokenizer = letter_tokenizer(start=True, end=True)

    def asked(rows: Any) -> list[list[int]]:
        batch = kind.collate(rows, tokenizer)
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
        fits = batch["labels"].dim() == 2 and len(set(map(len, shapes.values()))) == 1
        _need(kind, fits and {shape[0] for shape in shapes.values()} == {len(rows)}, f"a batch has shapes {shapes}")
        return [[one for one in labels if one != IGNORED] for labels in batch["labels"].tolist()]

    for limit in (100, 8):
        rows, over = kind.encode(examples, tokenizer, limit, seq2seq)
        _need(kind, len(rows) == len(examples), f"{len(examples)} examples have {len(rows)} rows")
        longest = max(len(inputs["input_ids"]) for row in rows for inputs in row["inputs"])
        _need(kind, longest <= limit, f"an input has {longest} tokens, although at most {limit} are asked for")
        _need(kind, over is None or over.shape == (len(examples),), "over must say of every example if it is cut")
        _need(kind, over is None or bool(over.any()) == (limit == 8), f"at most {limit} tokens: over is {over}")
        together = asked(rows)
        _need(kind, all(together) or limit == 8, "an example is not asked for anything")
        _need(kind, together == [asked([row])[0] for row in rows], "the labels of a row depend on its batch")
        _check_criterion(kind, kind.collate(rows, tokenizer)["labels"])


def _check_criterion(kind: Kind, labels: Any) -> None:
    """Check the loss of labels (b, T) of tokens."""
    import torch

    highest = kind.check_batch_labels(labels)
    _need(kind, highest == int(labels.max()), f"the largest label is {int(labels.max())}, not {highest}")
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn((*labels.shape, int(labels.max()) + 1), dtype=torch.float64, generator=generator)
    outputs.requires_grad_()
    counted = kind.counted(labels)
    assert counted is not None
    _need(kind, kind.fits_labels(outputs, labels), "fits_labels is false for labels of tokens")
    loss = kind.criterion()(outputs, labels)
    _need(kind, loss.dim() == 0 and bool(loss.isfinite()), f"the loss of a batch is {loss}, not one finite number")
    (slope,) = torch.autograd.grad(loss, outputs)
    moved = slope.abs().sum(-1) > 0
    _need(kind, torch.equal(moved, counted), "the loss does not depend on exactly the tokens that count")


def _check_training_at_tokens(kind: Kind, logits: NDArray[Any], labels: NDArray[Any]) -> None:
    import torch

    from steadytune.kinds.encoding import IGNORED

    targets = torch.tensor(labels)[None]
    outputs = torch.tensor(logits, dtype=torch.float64)[None].requires_grad_()
    highest = kind.check_batch_labels(targets)
    _need(kind, highest is None or highest < logits.shape[1], f"the largest label of {logits.shape[1]} is {highest}")
    _need(kind, kind.fits_labels(outputs, targets), "fits_labels is false for outputs and their own labels")
    loss = kind.criterion()(outputs, targets)
    _need(kind, loss.dim() == 0 and bool(loss.isfinite()), f"the loss of a batch is {loss}, not one finite number")
    (slope,) = torch.autograd.grad(loss, outputs)
    _need(kind, bool(slope.isfinite().all()) and bool(slope.abs().sum() > 0), "its criterion has no gradient")
    padding = torch.full((1, 2), IGNORED)
    padded = kind.criterion()(torch.cat([outputs, outputs[:, :2]], dim=1), torch.cat([targets, padding], dim=1))
    _need(kind, bool(torch.isclose(padded, loss)), f"tokens with the label {IGNORED} change its criterion")
    _need(kind, kind.check_batch_labels(padding) is not None, f"labels that are all {IGNORED} are rejected")
    wrong = targets.clone()
    wrong[0, 0] = -1
    _refused(kind, "invalid labels", lambda: kind.check_batch_labels(wrong))


def _check_training_of_sets(kind: Kind, logits: NDArray[Any], labels: NDArray[Any]) -> None:
    import torch

    targets = kind.batch({}, labels.tolist())["labels"]
    outputs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    _need(kind, kind.check_batch_labels(targets) is None, "labels of sets have no largest class")
    _need(kind, kind.fits_labels(outputs, targets), "fits_labels is false for outputs and their own labels")
    loss = kind.criterion()(outputs, targets)
    _need(kind, loss.dim() == 0 and bool(loss.isfinite()), f"the loss of a batch is {loss}, not one finite number")
    (slope,) = torch.autograd.grad(loss, outputs)
    _need(kind, bool((slope.sign() == torch.where(targets > 0, -1, 1)).all()), "its criterion does not ask for labels")
    wrong = targets.clone()
    wrong[0, 0] = 0.5
    _refused(kind, "labels that are neither 0 nor 1", lambda: kind.check_batch_labels(wrong))
