"""From runs that were trained elsewhere to a cohort: what they are, whether they fit together, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steadytune.errors import UserError
from steadytune.external.read import check, read_run, run_files, run_name
from steadytune.external.run import ExternalRun, check_same_examples
from steadytune.metrics import METRICS, Answers, Scored, score
from steadytune.records import Cohort
from steadytune.records.checks import Kind, inferred_kind

EXAMPLES = "these examples"
"""Name of the texts of a cohort's examples, where the runs have them."""


def read_runs(
    paths: str | Path | Iterable[str | Path], metric: str | None = None, positive: str | int | None = None
) -> Cohort:
    """Read runs that were trained elsewhere, one file each, into a cohort.

    Args:
        paths: Two or more files .npz, .safetensors, .csv, .tsv, .jsonl or .parquet, or one folder of them.
        metric: What scores the runs: a score that every file holds, or else a metric that follows from predictions and
            labels. Left out, it is the most natural of the scores that every file holds, never a loss where there is
            more, or else accuracy (of a regression, Pearson's correlation; of texts, the share that equals the
            reference). Recorded scores that contradict predictions and labels are said to do so, and not taken.
        positive: Name or number of the class that a metric such as F1 speaks of; by default of two classes the second,
            or where they have names as `metrics.positive` says.

    Raises:
        UserError: A file cannot be read, is not what a run must be, or does not fit the others; names file and axis.
    """
    listed = [paths] if isinstance(paths, (str, Path)) else paths
    return cohort_of([read_run(file) for file in run_files([Path(path) for path in listed])], metric, positive)


def cohort_of(runs: Sequence[ExternalRun], metric: str | None = None, positive: str | int | None = None) -> Cohort:
    """Make a cohort of two or more runs, as `read_runs` does of files."""
    kind = _kind(runs, metric)
    for run in runs:
        check(run, kind)
    check_same_examples(runs)
    first = runs[0]
    labels = first.labels
    if labels is not None and kind != "regression":
        labels = labels.astype(np.int64)

    def every(name: str) -> Any:
        return None if getattr(first, name) is None else [getattr(run, name) for run in runs]

    as_logits = all(run.logits is not None for run in runs)
    outputs: dict[str, Any] = {
        "logits": every("logits") if as_logits else None,
        "probabilities": None if as_logits or first.outputs is None else [_probabilities(run) for run in runs],
        "predictions": every("predictions"),
    }
    label_names = texts_of(runs).get("labels")
    found = _scored(runs, kind, labels, outputs, metric, positive, label_names)
    return Cohort(
        scores=found.values,
        **outputs,
        labels=labels,
        groups=first.groups,
        representations=every("representations"),
        seeds=run_seeds(runs),
        failed=found.failed,
        majority_score=found.constant,
        recipe="these runs",
        metric=found.metric,
        kind=kind,
        examples=EXAMPLES if texts_of(runs) else "",
        generations=every("generations"),
        references=first.references,
        token_logits=every("token_logits"),
        token_counts=first.token_counts,
        notes=found.notes,
        positive=found.positive,
        label_names=label_names,
    )


def _scored(
    runs: Sequence[ExternalRun],
    kind: Kind,
    labels: NDArray[Any] | None,
    outputs: Mapping[str, Any],
    metric: str | None,
    positive: str | int | None,
    label_names: Sequence[str] | None,
) -> Scored:
    """Score runs by what they recorded and by what follows from their outputs."""
    stacked = {name: None if value is None else np.stack(value) for name, value in outputs.items()}
    answers = Answers(
        kind=kind,
        logits=stacked["logits"],
        given_probabilities=stacked["probabilities"],
        given_predictions=stacked["predictions"],
        labels=labels,
        texts=None if runs[0].generations is None else [run.generations or () for run in runs],
        references=runs[0].references,
    )
    shared = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
    held = {name: [run.scores[name] for run in runs] for name in shared}
    names = [run.origin for run in runs]
    return score(answers, names, held, metric=metric, positive=positive, label_names=label_names)


def texts_of(runs: Sequence[ExternalRun]) -> dict[str, list[str]]:
    """Return "texts" of the examples and "labels", the names of the classes, as far as a run has them."""
    found = {}
    for key, name in (("texts", "texts"), ("labels", "label_names")):
        held = [getattr(run, name) for run in runs if getattr(run, name) is not None]
        if held:
            found[key] = list(held[0])
    return found


def run_seeds(runs: Sequence[ExternalRun]) -> tuple[str, ...]:
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
        if metric in METRICS and METRICS[metric].kinds == ("regression",):
            return "regression"
        raise UserError(
            f"{run.origin}: logits must be (examples, two or more classes), not {run.logits.shape}; "
            "for two classes put a column of zeros before them, for a regression give --metric pearson"
        )
    return "classification"


def _probabilities(run: ExternalRun) -> NDArray[np.float64]:
    if run.probabilities is not None:
        return run.probabilities
    return np.asarray(softmax(np.asarray(run.logits, dtype=np.float64), axis=-1))
