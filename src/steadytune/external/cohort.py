"""From runs that were trained elsewhere to a cohort: what they are, whether they fit together, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steadytune.errors import UserError, unknown_name
from steadytune.external.read import check, read_run, run_files, run_name
from steadytune.external.run import ExternalRun, check_same_examples
from steadytune.measures.text import chrf
from steadytune.records import Cohort
from steadytune.records.checks import Kind, inferred_kind
from steadytune.tasks.base import Examples
from steadytune.tasks.metrics import METRICS, TARGETS, check_metric, evaluate, majority_score

EXAMPLES = "these examples"
"""Name of the texts of a cohort's examples, where the runs have them."""

_DEFAULT_METRICS: dict[Kind, str] = {
    "classification": "accuracy",
    "choice": "accuracy",
    "regression": "pearson",
    "generation": "exact_match",
}
_TEXT_METRICS = ("exact_match", "chrf")


def read_runs(paths: str | Path | Iterable[str | Path], metric: str | None = None) -> Cohort:
    """Read runs that were trained elsewhere, one file each, into a cohort.

    Args:
        paths: Two or more files .npz, .safetensors, .csv, .tsv, .jsonl or .parquet, or one folder of them.
        metric: What scores the runs: a score that every file holds, or else a metric that follows from predictions and
            labels. Left out, it is the first score that every file holds, or else accuracy (of a regression, Pearson's
            correlation; of texts, the share that equals the reference).

    Raises:
        UserError: A file cannot be read, is not what a run must be, or does not fit the others; names file and axis.
    """
    listed = [paths] if isinstance(paths, (str, Path)) else paths
    return cohort_of([read_run(file) for file in run_files([Path(path) for path in listed])], metric)


def cohort_of(runs: Sequence[ExternalRun], metric: str | None = None) -> Cohort:
    """Make a cohort of two or more runs, as `read_runs` does of files."""
    kind = _kind(runs, metric)
    for run in runs:
        check(run, kind)
    check_same_examples(runs)
    first = runs[0]
    labels = first.labels
    if labels is not None and kind != "regression":
        labels = labels.astype(np.int64)
    metric, scores, majority = _scores(runs, kind, labels, metric)

    def every(name: str) -> Any:
        return None if getattr(first, name) is None else [getattr(run, name) for run in runs]

    as_logits = all(run.logits is not None for run in runs)
    return Cohort(
        scores=scores,
        logits=every("logits") if as_logits else None,
        probabilities=None if as_logits or first.outputs is None else [_probabilities(run) for run in runs],
        predictions=every("predictions"),
        labels=labels,
        groups=first.groups,
        representations=every("representations"),
        seeds=_names(runs),
        failed=None if majority is None else scores <= majority,
        majority_score=majority,
        recipe="these runs",
        metric=metric,
        kind=kind,
        examples=EXAMPLES if texts_of(runs) else "",
        generations=every("generations"),
        references=first.references,
        token_logits=every("token_logits"),
        token_counts=first.token_counts,
    )


def texts_of(runs: Sequence[ExternalRun]) -> dict[str, list[str]]:
    """Return "texts" of the examples and "labels", the names of the classes, as far as a run has them."""
    found = {}
    for key, name in (("texts", "texts"), ("labels", "label_names")):
        held = [getattr(run, name) for run in runs if getattr(run, name) is not None]
        if held:
            found[key] = list(held[0])
    return found


def _names(runs: Sequence[ExternalRun]) -> tuple[str, ...]:
    """Return the seeds if they tell the runs apart, else names of files, as long as needed for that."""
    files = [Path(run.origin) for run in runs]
    for names in ([run.seed or "" for run in runs], list(map(run_name, files))):
        if all(names) and len(set(names)) == len(runs):
            return tuple(names)
    return tuple(map(str, files))


def _kind(runs: Sequence[ExternalRun], metric: str | None) -> Kind:
    stated = [run.kind for run in runs if run.kind]
    if stated:
        return stated[0]
    if "generation" in {inferred_kind(run.generations, run.token_logits) for run in runs}:
        return "generation"
    for run in runs:
        if run.logits is None or run.logits.ndim != 2 or run.logits.shape[1] != 1:
            continue
        if metric in METRICS and METRICS[metric].kinds == TARGETS:
            return "regression"
        raise UserError(
            f"{run.origin}: logits must be (examples, two or more classes), not {run.logits.shape}; "
            "for two classes put a column of zeros before them, for a regression give --metric pearson"
        )
    return "classification"


def _scores(
    runs: Sequence[ExternalRun], kind: Kind, labels: NDArray[Any] | None, metric: str | None
) -> tuple[str, NDArray[np.float64], float | None]:
    """Return the metric, the scores, and what always giving one answer scores where that is known."""
    recorded = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
    asked = metric
    metric = metric or next(iter(recorded), _DEFAULT_METRICS[kind])
    if kind == "generation":
        return _text_scores(runs, metric, metric in recorded, asked)
    held = np.array([run.scores[metric] for run in runs]) if metric in recorded else None
    if labels is None or any(run.outputs is None and run.predictions is None for run in runs):
        if held is None and asked:
            raise UserError(f"{runs[0].origin}: no labels and no score '{metric}', so the runs cannot be scored by it")
        return (metric, held, None) if held is not None else ("score", np.full(len(runs), np.nan), None)
    outputs = _outputs(runs, labels)
    examples = Examples(tuple((("", None),) for _ in labels), labels)
    classes = 0 if kind == "regression" else outputs[0].shape[1]
    if held is not None and not (metric in METRICS and METRICS[metric].fits(kind, classes, examples)):
        return metric, held, None
    check_metric(metric, kind, classes, examples)
    computed = np.array([evaluate([metric], kind, output, examples)[metric] for output in outputs])
    if held is not None and not np.allclose(held, computed, rtol=0, atol=1e-6):
        # The score is another one of that name, so what a constant answer gets is unknown.
        return metric, held, None
    return metric, computed, majority_score(metric, kind, examples)


def _outputs(runs: Sequence[ExternalRun], labels: NDArray[Any]) -> list[NDArray[Any]]:
    """Return logits or probabilities (N, C), in the place of which a predicted class alone has all the weight."""
    if all(run.outputs is not None for run in runs):
        return [np.asarray(run.outputs) for run in runs]
    predicted = [np.asarray(run.predictions, dtype=np.int64) for run in runs]
    classes = max(2, 1 + int(labels.max()), *(1 + int(one.max()) for one in predicted))
    return [np.eye(classes)[one] for one in predicted]


def _text_scores(
    runs: Sequence[ExternalRun], metric: str, held: bool, asked: str | None
) -> tuple[str, NDArray[np.float64], None]:
    if held:
        return metric, np.array([run.scores[metric] for run in runs]), None
    if metric not in _TEXT_METRICS:
        raise unknown_name("metric", metric, _TEXT_METRICS)
    missing = [name for name in ("generations", "references") if getattr(runs[0], name) is None]
    if missing:
        if asked:
            raise UserError(
                f"{runs[0].origin}: no {missing[-1]} and no score '{metric}', so the runs cannot be scored by it"
            )
        return "score", np.full(len(runs), np.nan), None
    return metric, np.array([_text_score(metric, run) for run in runs]), None


def _text_score(metric: str, run: ExternalRun) -> float:
    generations, references = run.generations or (), run.references or ()
    if metric == "chrf":
        return float(chrf(generations, references).mean())
    pairs = zip(generations, references, strict=True)
    return float(np.mean([text.strip() == reference.strip() for text, reference in pairs]))


def _probabilities(run: ExternalRun) -> NDArray[np.float64]:
    if run.probabilities is not None:
        return run.probabilities
    return np.asarray(softmax(np.asarray(run.logits, dtype=np.float64), axis=-1))
