"""Description of how files were read: files, columns, classes, labels, and what was ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steadytune.external.run import ExternalRun
from steadytune.kinds import DEFAULT, KINDS
from steadytune.records import Cohort
from steadytune.records.arrays import OF_TOKENS

_MANY = 8
_OUTPUTS = (
    "logits",
    "probabilities",
    "predictions",
    "generations",
    "references",
    "representations",
    *OF_TOKENS,
)


def summary(runs: Sequence[ExternalRun], cohort: Cohort) -> dict[str, str]:
    """Return what was read -> its description, such as {"labels": "label: 0 (12), 1 (8)"}."""
    measured = [run for run in runs if run.status is None]
    read = {"task": runs[0].task} if runs[0].task else {}
    read["runs"] = _files(runs)
    if not measured:
        return read
    first = measured[0]
    read["examples"] = _examples(first)
    for name in _OUTPUTS:
        if name in first.columns:
            read[name] = _columns(measured, name)
    if (states := first.representations) is not None:
        read["representations"] = f"{read.get('representations', 'representations')}: {len(states)} layers"
    names = first.label_names
    if cohort.predictions is not None:
        classes = _class_count(cohort)
        shown = list(names) if names is not None else list(map(str, range(classes)))
        read["classes"] = _some(shown) + ("" if names is None or first.numbered else ", by name")
    if cohort.labels is None:
        read["labels"] = "none"
    else:
        read["labels"] = f"{_columns(measured, 'labels')}: {_label_counts(cohort, names)}"
    if cohort.groups is not None:
        name = "groups" if first.groups is not None else "questions"
        read["groups"] = f"{_columns(measured, name)}: {len(np.unique(cohort.groups))}, resampled together"
    read["metric"] = cohort.metric if cohort.scored else "none"
    if cohort.positive is not None:
        read["positive class"] = str(names[int(cohort.positive)] if names is not None else cohort.positive)
    if cohort.kind != DEFAULT:
        read["kind"] = cohort.kind
    aside = list(dict.fromkeys(name for run in measured for name in run.aside))
    if aside:
        read["left aside"] = _some(aside)
    return read


def seed_notes(runs: Sequence[ExternalRun], names: Sequence[str]) -> list[str]:
    """Return notes on runs that record the same seed, which must differ for another reason."""
    seeds = [run.seed for run in runs]
    known = [seed for seed in seeds if seed]
    if len(runs) < 2 or len(set(known)) == len(known):
        return []
    if len(known) == len(runs) and len(set(known)) == 1:
        return [
            f"All {len(runs)} runs record the seed {known[0]}: what differs is not the seed "
            "but something else that was not fixed, such as a head initialised before the seed was set."
        ]
    twice = [seed for seed, count in Counter(known).items() if count > 1]
    listed = [
        f"{' and '.join(name for name, own in zip(names, seeds, strict=True) if own == seed)} (seed {seed})"
        for seed in twice
    ]
    return [f"Runs that record the same seed: {'; '.join(listed)}. They say nothing about other seeds."]


def _files(runs: Sequence[ExternalRun]) -> str:
    files = list(dict.fromkeys(run.file for run in runs))
    suffixes = " and ".join(
        dict.fromkeys(
            "".join(Path(file).suffixes[-2:]) if file.endswith(".gz") else Path(file).suffix for file in files
        )
    )
    lost = sum(run.status is not None for run in runs)
    said = f"{len(runs)}, in {len(files)} {suffixes} file{'' if len(files) == 1 else 's'}"
    return said + (f"; {lost} diverged" if lost else "")


def _examples(run: ExternalRun) -> str:
    sizes = [
        len(values)
        for name in ("predictions", "generations", "labels", "ids", "token_counts")
        if (values := getattr(run, name)) is not None
    ]
    if run.outputs is not None:
        sizes.insert(0, len(run.outputs))
    if not sizes and run.representations is not None:
        sizes = [run.representations.shape[-2]]
    number = f"{sizes[0]}" if sizes else "unknown"
    by = run.columns.get("ids")
    matched = f", matched by {run.columns['matched'][0]}" if "matched" in run.columns else ", by their order"
    return number + (f", identified by {_some([name or '(no name)' for name in by])}" if by else matched)


def _columns(runs: Sequence[ExternalRun], name: str) -> str:
    held = list(dict.fromkeys(_some(list(run.columns[name])) for run in runs if name in run.columns))
    return " or ".join(held) or name


def _class_count(cohort: Cohort) -> int:
    outputs = cohort.logits if cohort.logits is not None else cohort.probabilities
    if outputs is not None:
        return int(outputs.shape[-1])
    predicted = int(np.asarray(cohort.predictions).max())
    return 1 + max(predicted, int(cohort.labels.max()) if cohort.labels is not None else 0)


def _label_counts(cohort: Cohort, names: Sequence[str] | None) -> str:
    labels = np.asarray(cohort.labels)
    if KINDS[cohort.kind].has_sets:
        counts = labels.sum(axis=0).astype(np.int64)
        return _some([f"{one} ({count})" for one, count in zip(names or range(len(counts)), counts, strict=True)])
    if not KINDS[cohort.kind].has_classes:
        return f"{labels.min():g} to {labels.max():g}"
    values, counts = np.unique(labels.astype(np.int64), return_counts=True)
    pairs = [
        f"{names[value] if names is not None and value < len(names) else value} ({count})"
        for value, count in zip(values, counts, strict=True)
    ]
    return _some(pairs)


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:_MANY]) + (f" and {len(items) - _MANY} more" if len(items) > _MANY else "")
