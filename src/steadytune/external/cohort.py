"""From runs trained elsewhere to a cohort: their meaning, consistency and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, check_path, door
from steadytune.external.aligning import align, drop_unlabelled, orient_states, unify_classes
from steadytune.external.columns import Choices
from steadytune.external.commands.sweep import is_sweep
from steadytune.external.logs import of_one_folder, plain_stem, settled
from steadytune.external.outputs import probabilities_called_logits
from steadytune.external.read import check, read_source, run_files, run_name
from steadytune.external.run import ExternalRun, check_same_examples
from steadytune.external.said import seed_notes, summary
from steadytune.external.source import Source
from steadytune.external.understand import understand
from steadytune.kinds import DEFAULT, KINDS
from steadytune.metrics import METRICS, Answers, Metric, Scored, score
from steadytune.records import Cohort, LostRun
from steadytune.records.arrays import OF_TOKENS
from steadytune.records.checks import inferred_kind

EXAMPLES = "these examples"
"""Name of the array of a cohort's example texts, if the runs have them."""


@door
def read_runs(
    paths: str | Path | Iterable[str | Path],
    metric: str | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | int | None = None,
) -> Cohort:
    """Read runs trained elsewhere, one file each, into a cohort.

    Args:
        paths: Two or more files .npz, .safetensors, .csv, .tsv, .jsonl, .json or .parquet, or one folder of them; one
            file of several runs, whose column `seed` names them; logs of evaluations by lm-evaluation-harness,
            lighteval or Inspect, or folders of them.
        metric: Score of the runs: one that every file contains, or a metric computed from predictions and
            labels. By default the preferred one of the scores that every file contains, never a loss if there is
            another, or otherwise accuracy (for a regression Pearson's correlation; for texts the share that equals the
            reference). Recorded scores that contradict predictions and labels are reported and not used.
        columns: Meaning of columns whose names do not define it: {"group": "passage"}. Keys are "label",
            "prediction", "logits", "probability" (of class 1), "id", "group", "sentence" (of words), "seed", "text",
            "generation", "reference" and "states"; "ignore" for columns to skip, "kind" for a task kind, "axes" for
            "layers-first" or "examples-first" states, "encoding" of text that is not UTF-8, "class" of a single
            probability, "classes" in the order of their numbers, and "no_label" for the meaning of a label of -1:
            "-1" (none) or "never"; of logs of evaluations "task", if there are several, and "filter" or scorer, by
            which answers are taken.
        positive: Name or number of the positive class of a metric such as F1; by default the second of two classes,
            or if they have names the one chosen by `metrics.positive`.

    Raises:
        UserError: A file cannot be read, is not a valid run, does not fit the others, or is
            ambiguous; names file and axis, or the option to set.
    """
    listed: Any = [paths] if isinstance(paths, (str, Path)) else paths
    if not isinstance(listed, Iterable):
        check_path(listed, "paths")
    listed = list(listed)
    for path in listed:
        check_path(path, "each of the paths")
        if (Path(path) / "study.yaml").is_file():
            raise UserError(f"{path} is the folder of a study: st.compare and st.RunStore read it")
        if is_sweep(path):
            raise UserError(f"{path} holds runs of a command: st.compare and st.CommandStore read it")
    choices = Choices.parse(columns or {})
    sources = [read_source(file, choices.encoding) for file in run_files([Path(path) for path in listed])]
    return cohort_of(runs_of(sources, choices, metric), metric, choices, positive)


def runs_of(sources: Sequence[Source], choices: Choices | None = None, metric: str | None = None) -> list[ExternalRun]:
    """Interpret the contents of files.

    Raises:
        UserError: As `read_runs`, or there is only one run.
    """
    of_targets = metric is not None and metric in METRICS and _of_numbers(METRICS[metric])
    choices = choices or Choices()
    runs = understand(settled(sources, choices), choices, of_targets)
    if len(runs) < 2:
        raise UserError(
            f"{runs[0].origin} is a single run: measuring instability needs at least two runs with different seeds"
            f"{of_one_folder(sources)}"
        )
    return runs


def cohort_of(
    runs: Sequence[ExternalRun],
    metric: str | None = None,
    choices: Choices | None = None,
    positive: str | int | None = None,
) -> Cohort:
    """Make a cohort from two or more runs, as `read_runs` does from files."""
    every, names = runs, run_names(runs)
    lost = tuple(
        LostRun(name, run.status, run.reason) for name, run in zip(names, every, strict=True) if run.status is not None
    )
    seeds = tuple(name for name, run in zip(names, every, strict=True) if run.status is None)
    runs, notes = _prepared([run for run in every if run.status is None], choices or Choices())
    notes = [*seed_notes(every, names), *_own_notes(every), *notes]
    if not runs:
        nothing = Cohort(scores=np.empty(0), task=every[0].task, recipe="these runs", lost=lost)
        return replace(nothing, notes=tuple(notes), read=summary(every, nothing))
    kind = _kind(runs, metric)
    runs, found = drop_unlabelled(runs)
    notes += found
    for run in runs:
        check(run, kind)
    check_same_examples(runs)
    first = runs[0]
    labels = first.labels
    if labels is not None:
        labels = KINDS[kind].kept_labels(labels)

    def each(name: str) -> Any:
        return None if getattr(first, name) is None else [getattr(run, name) for run in runs]

    as_logits = all(run.logits is not None for run in runs)
    outputs: dict[str, Any] = {
        "logits": each("logits") if as_logits else None,
        "probabilities": None if as_logits or first.outputs is None else [_probabilities(run, kind) for run in runs],
        "predictions": each("predictions") if all(run.predictions is not None for run in runs) else None,
    }
    label_names = texts_of(runs).get("labels")
    scored = _scored(runs, kind, labels, outputs, metric, positive, label_names)
    cohort = Cohort(
        scores=scored.values,
        **outputs,
        labels=labels,
        groups=first.groups,
        questions=first.questions,
        representations=each("representations"),
        seeds=seeds,
        failed=scored.failed,
        majority_score=scored.constant,
        task=first.task,
        recipe="these runs",
        metric=scored.metric,
        kind=kind,
        lost=lost,
        examples=examples_name(first.task) if texts_of(runs) else "",
        generations=each("generations"),
        references=first.references,
        **{name: each(name) for name in OF_TOKENS},
        token_weights=first.token_weights,
        token_exact=first.token_exact,
        token_counts=first.token_counts,
        notes=tuple(dict.fromkeys((*notes, *scored.notes))),
        positive=scored.positive,
        label_names=label_names,
    )
    object.__setattr__(cohort, "read", summary([*runs, *(run for run in every if run.status is not None)], cohort))
    return cohort


def _scored(
    runs: Sequence[ExternalRun],
    kind: str,
    labels: NDArray[Any] | None,
    outputs: Mapping[str, Any],
    metric: str | None,
    positive: str | int | None,
    label_names: Sequence[str] | None,
) -> Scored:
    """Score runs from their recorded scores and their outputs."""
    stacked = {name: None if value is None else np.stack(value) for name, value in outputs.items()}
    targets = [run.target_log_probabilities for run in runs if run.target_log_probabilities is not None]
    answers = Answers(
        kind=kind,
        logits=stacked["logits"],
        given_probabilities=stacked["probabilities"],
        given_predictions=stacked["predictions"],
        labels=labels,
        texts=None if runs[0].generations is None else [run.generations or () for run in runs],
        references=runs[0].references,
        target_log_probabilities=targets or None,
        token_counts=runs[0].token_counts,
        questions=runs[0].questions,
        label_names=None if label_names is None else tuple(label_names),
    )
    shared = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
    held = {name: [run.scores[name] for run in runs] for name in shared}
    names = [run.origin for run in runs]
    return score(answers, names, held, metric=metric, positive=positive, label_names=label_names)


def _prepared(runs: list[ExternalRun], choices: Choices) -> tuple[list[ExternalRun], list[str]]:
    """Align examples and classes of runs, and interpret outputs and states."""
    if not runs:
        return [], []
    runs, notes = probabilities_called_logits(runs)
    # First, because states are moved with their examples.
    turned = [orient_states(run, choices.axes) for run in runs]
    runs, found = align([run for run, _ in turned])
    notes += found
    runs, found = unify_classes(runs)
    return runs, [*notes, *found, *(note for _, said in turned for note in said)]


def _own_notes(runs: Sequence[ExternalRun]) -> list[str]:
    """Return the notes from reading the files, with the file's name if not all share a note."""
    notes = []
    for note in dict.fromkeys(note for run in runs for note in run.notes):
        saying = [run for run in runs if note in run.notes]
        notes.append(note if len(saying) == len(runs) else f"{saying[0].origin}: {note}")
    return notes


def examples_name(task: str) -> str:
    """Return the name of the array of example texts of a task, or of runs that name none."""
    return f"{EXAMPLES} of {task}" if task else EXAMPLES


def texts_of(runs: Sequence[ExternalRun]) -> dict[str, list[str]]:
    """Return the examples' "texts" and the class names as "labels", as far as a run has them."""
    found = {}
    for key, name in (("texts", "texts"), ("labels", "label_names")):
        held = [getattr(run, name) for run in runs if getattr(run, name) is not None]
        if held:
            found[key] = list(held[0])
    return found


def texts_by_examples(cohorts: Iterable[Cohort], runs: Sequence[ExternalRun]) -> dict[str, dict[str, list[str]]]:
    """Return the texts and class names of each task's runs, by the `examples` name of its cohorts."""
    return {cohort.examples: texts_of([run for run in runs if run.task == cohort.task]) for cohort in cohorts}


def run_names(runs: Sequence[ExternalRun]) -> tuple[str, ...]:
    """Return the seeds if they are unique, otherwise the parts of the paths that differ."""
    files = [Path(run.file or run.origin) for run in runs]
    full = [run_name(path) for path in files]
    stems = [plain_stem(stem) for stem in full]
    parts = [(*filter(plain_stem, path.parts[:-1]), stem) for path, stem in zip(files, stems, strict=True)]
    same = [len(set(at)) == 1 for at in zip(*((*part[::-1],) for part in parts), strict=False)]
    # From the end of the paths back to where they differ, excluding common parts.
    apart = ["/".join(part for part, shared in zip(one[::-1], same, strict=False) if not shared) for one in parts]
    seeded = [run.seed or "" for run in runs]
    both = [f"{stem} seed {seed}" for stem, seed in zip(full, seeded, strict=True)]
    called = [run.called for run in runs]
    for names in (seeded, called, stems, ["/".join(one.split("/")[::-1]) for one in apart], full, both):
        if all(names) and len(set(names)) == len(runs):
            return tuple(names)
    return tuple(run.origin for run in runs)


def _kind(runs: Sequence[ExternalRun], metric: str | None) -> str:
    stated = [run.kind for run in runs if run.kind]
    if stated:
        return stated[0]
    if told := {inferred_kind(run) for run in runs} - {DEFAULT}:
        return told.pop()
    for run in runs:
        if run.logits is None or run.logits.ndim > 2 or run.logits.shape[1:] not in ((), (1,)):
            continue
        if metric is not None and metric in METRICS and _of_numbers(METRICS[metric]):
            return "regression"
        raise UserError(
            f"{run.origin}: logits must have shape (examples, classes) with two or more classes, not "
            f"{run.logits.shape}; for two classes "
            "prepend a column of zeros or use --set kind=classification; for a regression use "
            "--set kind=regression or --metric pearson"
        )
    return DEFAULT


def _of_numbers(metric: Metric) -> bool:
    return all(KINDS[kind].has_numbers for kind in metric.kinds)


def _probabilities(run: ExternalRun, kind: str) -> NDArray[np.float64] | None:
    return KINDS[kind].probabilities(np.asarray(run.logits)) if run.probabilities is None else run.probabilities
