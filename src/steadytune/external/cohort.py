"""From runs that were trained elsewhere to a cohort: what they are, whether they fit together, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steadytune.errors import UserError, unknown_name
from steadytune.external.aligning import align, drop_unlabelled, orient_states, unify_classes
from steadytune.external.columns import Choices
from steadytune.external.outputs import probabilities_called_logits
from steadytune.external.read import check, read_source, run_files, run_name
from steadytune.external.run import ExternalRun, check_same_examples
from steadytune.external.said import seed_notes, summary
from steadytune.external.source import Source
from steadytune.external.understand import understand
from steadytune.measures.text import chrf, matches
from steadytune.records import Cohort, LostRun
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


def read_runs(
    paths: str | Path | Iterable[str | Path], metric: str | None = None, columns: Mapping[str, str] | None = None
) -> Cohort:
    """Read runs that were trained elsewhere, one file each, into a cohort.

    Args:
        paths: Two or more files .npz, .safetensors, .csv, .tsv, .jsonl or .parquet, or one folder of them; one file of
            several runs, whose column `seed` names them.
        metric: What scores the runs: a score that every file holds, or else a metric that follows from predictions and
            labels. Left out, it is the first score that every file holds, or else accuracy (of a regression, Pearson's
            correlation; of texts, the share that equals the reference).
        columns: Which column is what, where its name does not say: {"group": "passage"}. Keys are "label",
            "prediction", "logits", "probability" (of class 1), "id", "group", "seed", "text", "generation", "reference"
            and "states"; "ignore" for columns to leave aside, "kind" for a task kind, and "axes" for "layers-first" or
            "examples-first" states.

    Raises:
        UserError: A file cannot be read, is not what a run must be, does not fit the others, or may be read in several
            ways; names file and axis, or the setting that tells.
    """
    listed = [paths] if isinstance(paths, (str, Path)) else paths
    choices = Choices.parse(columns or {})
    sources = [read_source(file) for file in run_files([Path(path) for path in listed])]
    return cohort_of(runs_of(sources, choices, metric), metric, choices)


def runs_of(sources: Sequence[Source], choices: Choices | None = None, metric: str | None = None) -> list[ExternalRun]:
    """Give what files hold its meaning.

    Raises:
        UserError: As `read_runs`, or there is one run alone.
    """
    of_targets = metric in METRICS and METRICS[metric].kinds == TARGETS
    runs = understand(sources, choices or Choices(), of_targets)
    if len(runs) < 2:
        raise UserError(f"{runs[0].origin} is one run: instability needs at least two that differ in their seed")
    return runs


def cohort_of(runs: Sequence[ExternalRun], metric: str | None = None, choices: Choices | None = None) -> Cohort:
    """Make a cohort of two or more runs, as `read_runs` does of files."""
    every, names = runs, _names(runs)
    lost = tuple(
        LostRun(name, run.status, run.reason) for name, run in zip(names, every, strict=True) if run.status is not None
    )
    seeds = tuple(name for name, run in zip(names, every, strict=True) if run.status is None)
    runs, notes = _prepared([run for run in every if run.status is None], choices or Choices())
    notes = [*seed_notes(every, names), *_own_notes(every), *notes]
    if not runs:
        nothing = Cohort(scores=np.empty(0), recipe="these runs", lost=lost)
        return replace(nothing, notes=tuple(notes), read=summary(every, nothing))
    kind = _kind(runs, metric)
    if kind != "regression":
        runs, found = drop_unlabelled(runs, kind)
        notes += found
    for run in runs:
        check(run, kind)
    check_same_examples(runs)
    first = runs[0]
    labels = first.labels
    if labels is not None and kind != "regression":
        labels = labels.astype(np.int64)
    metric, scores, majority = _scores(runs, kind, labels, metric)

    def each(name: str) -> Any:
        return None if getattr(first, name) is None else [getattr(run, name) for run in runs]

    as_logits = all(run.logits is not None for run in runs)
    cohort = Cohort(
        scores=scores,
        logits=each("logits") if as_logits else None,
        probabilities=None if as_logits or first.outputs is None else [_probabilities(run) for run in runs],
        predictions=each("predictions") if all(run.predictions is not None for run in runs) else None,
        labels=labels,
        groups=first.groups,
        representations=each("representations"),
        seeds=seeds,
        failed=None if majority is None else scores <= majority,
        majority_score=majority,
        recipe="these runs",
        metric=metric,
        kind=kind,
        lost=lost,
        examples=EXAMPLES if texts_of(runs) else "",
        generations=each("generations"),
        references=first.references,
        token_logits=each("token_logits"),
        token_counts=first.token_counts,
        notes=tuple(dict.fromkeys(notes)),
    )
    object.__setattr__(cohort, "read", summary([*runs, *(run for run in every if run.status is not None)], cohort))
    return cohort


def _prepared(runs: list[ExternalRun], choices: Choices) -> tuple[list[ExternalRun], list[str]]:
    """Give runs one order of examples and one numbering of classes, and outputs and states their meaning."""
    if not runs:
        return [], []
    runs, notes = probabilities_called_logits(runs)
    runs, found = align(runs)
    notes += found
    runs, found = unify_classes(runs)
    notes += found
    turned = [orient_states(run, choices.axes) for run in runs]
    return [run for run, _ in turned], [*notes, *(note for _, said in turned for note in said)]


def _own_notes(runs: Sequence[ExternalRun]) -> list[str]:
    """Return what the reading of single files gave to say, with the file where not all say it."""
    notes = []
    for note in dict.fromkeys(note for run in runs for note in run.notes):
        saying = [run for run in runs if note in run.notes]
        notes.append(note if len(saying) == len(runs) else f"{saying[0].origin}: {note}")
    return notes


def texts_of(runs: Sequence[ExternalRun]) -> dict[str, list[str]]:
    """Return "texts" of the examples and "labels", the names of the classes, as far as a run has them."""
    found = {}
    for key, name in (("texts", "texts"), ("labels", "label_names")):
        held = [getattr(run, name) for run in runs if getattr(run, name) is not None]
        if held:
            found[key] = list(held[0])
    return found


def _names(runs: Sequence[ExternalRun]) -> tuple[str, ...]:
    """Return the seeds if they tell the runs apart, else what in their paths does."""
    files = [Path(run.file or run.origin) for run in runs]
    stems = [run_name(path) for path in files]
    parts = [(*path.parts[:-1], stem) for path, stem in zip(files, stems, strict=True)]
    same = [len(set(at)) == 1 for at in zip(*((*part[::-1],) for part in parts), strict=False)]
    # From the end of the paths back to where they differ, without the parts that all share.
    apart = ["/".join(part for part, shared in zip(one[::-1], same, strict=False) if not shared) for one in parts]
    seeded = [run.seed or "" for run in runs]
    both = [f"{stem} seed {seed}" for stem, seed in zip(stems, seeded, strict=True)]
    for names in (seeded, stems, ["/".join(one.split("/")[::-1]) for one in apart], both):
        if all(names) and len(set(names)) == len(runs):
            return tuple(names)
    return tuple(run.origin for run in runs)


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
    held = [run.outputs for run in runs if run.outputs is not None]
    if len(held) == len(runs):
        return held
    predicted = [np.asarray(run.predictions, dtype=np.int64) for run in runs]
    names = len(runs[0].label_names or ())
    classes = max(2, names, 1 + int(labels.max()), *(1 + int(one.max()) for one in predicted))
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
    return float(matches(generations, references).mean())


def _probabilities(run: ExternalRun) -> NDArray[np.float64]:
    if run.probabilities is not None:
        return run.probabilities
    return np.asarray(softmax(np.asarray(run.logits, dtype=np.float64), axis=-1))
