"""The logs of one task together: one part, the same examples in one order, and what there is to measure.

Logs of the runs say of every example what it is and how it was asked. Another example under the same name is an error;
another prompt is said. Examples that a run lacks are left aside by all, if they are few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, unknown_name
from steadytune.external.aligning import listed, names_in_all
from steadytune.external.columns import Choices
from steadytune.external.logs.log import RIGHT, Example, Log
from steadytune.external.logs.places import siblings
from steadytune.external.source import Source
from steadytune.metrics import plain_name
from steadytune.metrics.texts import OTHER_TEXTS

# Names of scores that say whether an answer is right; others, such as of toxicity, may be 1 or 0 as well.
_RIGHT = re.compile(r"acc|match|correct|right|pass|solved", re.IGNORECASE)
_POSITION = re.compile(r"\W*([A-Z]|[a-z]|\d)\W*")


@dataclass(frozen=True, eq=False)
class _Run:
    """A source, its log, and the examples that are measured, in the order of all runs."""

    source: Source
    log: Log
    examples: tuple[Example, ...]

    @property
    def origin(self) -> str:
        return self.source.origin


def tasks_of(sources: Sequence[Source], choices: Choices) -> list[tuple[str, list[Source]]]:
    """Return the sources of each task; of files that are no logs one list, for the task "".

    Raises:
        UserError: The task that the user chose is none of them, or none of several has two runs.
    """
    names = list(dict.fromkeys("" if source.log is None else source.log.task for source in sources))
    if choices.task is not None:
        if choices.task not in names:
            raise unknown_name("task", choices.task, names)
        names = [choices.task]
    parts = [(name, [one for one in sources if (one.log.task if one.log else "") == name]) for name in names]
    if len(parts) == 1:
        return parts
    measured = [(name, held) for name, held in parts if len(held) > 1]
    if not measured:
        raise UserError(
            f"{sources[0].origin} and {len(sources) - 1} more are each the only run of their task: measuring "
            f"instability needs at least two runs of one task with different seeds{of_one_folder(sources)}"
        )
    if alone := [name or "no task" for name, held in parts if len(held) == 1]:
        note = f"Left aside, as only one run has it: {listed(alone)}."
        name, (first, *others) = measured[0]
        measured[0] = name, [replace(first, notes=(*first.notes, note)), *others]
    return measured


def of_one_folder(sources: Sequence[Source]) -> str:
    """Return what to do, as the end of an error, if logs beside these may be the missing runs; otherwise ""."""
    if not any(source.log is not None and siblings(source.path) for source in sources):
        return ""
    return (
        ". Of several logs of one task in one folder only the newest was taken: if they are runs of their own, give "
        "the files"
    )


def settled(sources: Sequence[Source], choices: Choices) -> list[Source]:
    """Turn the logs among sources into arrays; other sources stay as they are.

    Raises:
        UserError: There are several tasks, other files beside logs, or the logs do not fit each other; names the file.
    """
    logs = [source for source in sources if source.log is not None]
    if not logs:
        if choices.task is not None or choices.part is not None:
            raise UserError(
                f"{sources[0].origin} is no log of an evaluation harness, which alone has a task and a filter"
            )
        return list(sources)
    if len(logs) < len(sources):
        other = next(source for source in sources if source.log is None)
        raise UserError(
            f"{other.origin} is no log of an evaluation harness, but {logs[0].origin} is: measure them apart"
        )
    parts = tasks_of(sources, choices)
    if len(parts) > 1:
        raise UserError(
            f"{logs[0].origin} and the others are runs of {len(parts)} tasks ({listed([name for name, _ in parts])}): "
            "choose one with --set task=NAME"
        )
    task, chosen = parts[0]
    runs = [_part(source, choices) for source in chosen]
    _check_facts(runs)
    runs, notes = _same_examples(runs)
    _check_content(runs)
    notes += _prompts(runs)
    forms = {example.form for run in runs for example in run.examples}
    if len(forms) > 1:
        raise UserError(f"{_of_form(runs, forms)}: measure runs that were asked in one way")
    form = forms.pop()
    notes += _own_notes(runs, choices, [source.path for source in sources])
    columns, found = {"choices": _choices, "texts": _texts, "scores": _nothing}[form](runs)
    notes += found
    return [
        replace(
            run.source,
            columns=_common(runs[0], run) | own,
            log=None,
            task=task,
            called=run.log.model,
            notes=(*run.source.notes, *run.log.notes, *notes),
        )
        for run, own in zip(runs, columns, strict=True)
    ]


def _common(first: _Run, run: _Run) -> dict[str, Any]:
    """Return what all forms of runs have: names, texts, groups and scores."""
    found: dict[str, Any] = {"ids": [example.name for example in run.examples]}
    if any(example.shown for example in first.examples):
        found["texts"] = [example.shown for example in first.examples]
    groups = [example.group for example in run.examples]
    if 1 < len(set(groups)) < len(groups):
        found["groups"] = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return found | {f"scores.{name}": np.array(value) for name, value in _scores(run).items()}


def _nothing(runs: Sequence[_Run]) -> tuple[list[dict[str, Any]], list[str]]:
    for run in runs:
        if not _scores(run):
            raise UserError(
                f"{run.origin} holds log-likelihoods of whole texts, and no score that is known: there is nothing to "
                "measure"
            )
    return [{} for _ in runs], ["There are no answers to compare, only scores."]


def _part(source: Source, choices: Choices) -> _Run:
    log = source.log
    assert log is not None
    names = list(log.parts)
    if not names or not any(log.parts.values()):
        raise UserError(f"{source.origin} holds no samples: evaluate again and have them logged")
    name = names[0] if choices.part is None else choices.part
    if name not in names:
        raise UserError(f"{source.origin}: {unknown_name(log.what, name, names)}")
    held = [example.name for example in log.parts[name]]
    if len(set(held)) < len(held):
        twice = next(one for one in held if held.count(one) > 1)
        raise UserError(f"{source.origin}: example {twice} occurs twice: one file must hold one run")
    return _Run(source, log, log.parts[name])


def _own_notes(runs: Sequence[_Run], choices: Choices, paths: Sequence[Any]) -> list[str]:
    """Return what was chosen where there was a choice: a filter, a time, one of several texts."""
    notes = []
    log = runs[0].log
    if len(log.parts) > 1:
        chosen = next(iter(log.parts)) if choices.part is None else choices.part
        others = [f"'{name}'" for name in log.parts if name != chosen]
        notes.append(
            f"The answers are taken by the {log.what} '{chosen}'; there {'is' if len(others) == 1 else 'are'} also "
            f"{listed(others)} (--set filter=NAME)."
        )
    read = {path.resolve() for path in paths}
    if left := [one.name for run in runs for one in siblings(run.source.path) if one.resolve() not in read]:
        notes.append(
            f"Of several logs of one task in one folder the newest is measured; left aside: {listed(left)}. If they "
            "are runs of their own, give the files."
        )
    several = max(example.several for run in runs for example in run.examples)
    if several > 1:
        notes.append(f"Of {several} texts per example the first is measured; the scores are those of all.")
    return notes


def _check_facts(runs: Sequence[_Run]) -> None:
    for name in dict.fromkeys(name for run in runs for name in run.log.facts):
        holders = [run for run in runs if name in run.log.facts]
        for run in holders[1:]:
            mine, others = run.log.facts[name], holders[0].log.facts[name]
            if mine != others:
                raise UserError(
                    f"{run.origin}: {name}: {mine}, but {others} in {holders[0].origin}: what differs is not the seed"
                )


def _same_examples(runs: Sequence[_Run]) -> tuple[list[_Run], list[str]]:
    """Give all runs the examples that every one has, in the order of the first.

    Raises:
        UserError: A run lacks many.
    """
    held = [{example.name: example for example in run.examples} for run in runs]
    kept, notes = names_in_all([run.origin for run in runs], [list(one) for one in held])
    moved = [replace(run, examples=tuple(one[name] for name in kept)) for run, one in zip(runs, held, strict=True)]
    return moved, notes


def _check_content(runs: Sequence[_Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if wrong := _differing(run, first, "content"):
            raise UserError(
                f"{run.origin}: {len(wrong)} of {len(run.examples)} examples are others than those of the same name in "
                f"{first.origin} ({listed(wrong)}): another version of the data, or of the task"
            )
        if wrong := _differing(run, first, "choices"):
            raise UserError(
                f"{run.origin}: the choices of {len(wrong)} examples are others, or in another order, than in "
                f"{first.origin} ({listed(wrong)})"
            )


def _prompts(runs: Sequence[_Run]) -> list[str]:
    """Return a note on examples for which the runs read different prompts."""
    differ = {name for run in runs[1:] for name in _differing(run, runs[0], "prompt")}
    if not differ:
        return []
    return [
        f"The prompts of {len(differ)} of {len(runs[0].examples)} examples differ between runs, such as in their "
        "few-shot examples or template: what is measured includes what that changes."
    ]


def _differing(run: _Run, other: _Run, what: str) -> list[str]:
    """Return the names of the examples of which both logs say something, "content" or the like, but not the same."""
    pairs = (
        (one.name, getattr(one, what), getattr(two, what))
        for one, two in zip(run.examples, other.examples, strict=True)
    )
    return [name for name, mine, others in pairs if mine and others and mine != others]


def _of_form(runs: Sequence[_Run], forms: set[str]) -> str:
    words = {"choices": "chosen answers", "texts": "generated texts", "scores": "scores alone"}
    first, second = sorted(forms)[:2]
    where = {
        form: next(run.origin for run in runs if any(one.form == form for one in run.examples))
        for form in (first, second)
    }
    return f"{where[first]} has {words[first]}, but {where[second]} has {words[second]}"


def _scores(run: _Run) -> dict[str, float]:
    """Return the scores of a run on its examples, as far as every example has them."""
    found = {}
    for name in run.examples[0].scores:
        values = [example.scores[name] for example in run.examples if example.scores.get(name) is not None]
        value = run.log.average(name, values) if len(values) == len(run.examples) else None
        if value is not None and np.isfinite(value):
            found[name] = value
    return found


def _judged(runs: Sequence[_Run]) -> str:
    """Return the name of the score that says of every answer whether it is right, 1 or 0; "" if none does."""
    names = [
        name
        for name in runs[0].examples[0].scores
        if (name in RIGHT or _RIGHT.search(name))
        and all(example.scores.get(name) in (0, 1) for run in runs for example in run.examples)
    ]
    return min(
        names, key=lambda name: (RIGHT.index(name) if name in RIGHT else len(RIGHT), names.index(name)), default=""
    )


def _choices(runs: Sequence[_Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the arrays of runs that chose among given answers."""
    examples = [example for run in runs for example in run.examples]
    names = _class_names(examples)
    shared: dict[str, Any] = {"kind": "choice" if names is None else "classification"}
    if names is not None:
        shared["label_names"] = list(names)
    labels, notes = _labels(runs)
    if labels is not None:
        shared["labels"] = np.array(labels)
    if any(example.outputs is None for example in examples):
        if any(example.chosen == len(example.choices) for example in examples):
            notes.append("No answer, or several, count as one answer of its own, which is wrong.")
        return [
            {**shared, "predictions": np.array([example.predicted for example in run.examples])} for run in runs
        ], notes
    sizes = {len(example.outputs or ()) for example in examples}
    if len(sizes) > 1:
        notes.append(f"Examples have {min(sizes)} to {max(sizes)} choices: those that one lacks have probability 0.")
    outputs = [_padded(run, max(sizes)) for run in runs]
    # A run that diverged has no number at all, and is recognised by that.
    plain = all(np.isfinite(rows).all() or np.isnan(rows).all() for rows in outputs)
    named = "logits" if plain else "probabilities"
    return [{**shared, named: rows if plain else _shares(rows)} for rows in outputs], notes


def _padded(run: _Run, width: int) -> NDArray[np.float64]:
    rows = np.full((len(run.examples), width), -np.inf)
    for row, example in zip(rows, run.examples, strict=True):
        given = example.outputs or ()
        row[: len(given)] = given
    return rows


def _shares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        shares = np.exp(rows - rows.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _class_names(examples: Sequence[Example]) -> tuple[str, ...] | None:
    """Return the choices if they are the same in every example, so that they are classes; None for mere positions."""
    first = examples[0].choices
    names = tuple(text.strip() for text in first)
    if any(one.choices != first or one.outputs is None or len(one.outputs) != len(first) for one in examples):
        return None
    if len({name.casefold() for name in names}) < len(names) or not all(names):
        return None
    return None if all(_POSITION.fullmatch(name) for name in names) else names


def _labels(runs: Sequence[_Run]) -> tuple[list[int] | None, list[str]]:
    """Return the right choice of every example.

    It is the first reading of the targets that all runs share and that reproduces the accuracy of every answer.
    """
    stated = runs[0].log.stated
    counted = [name for name in runs[0].examples[0].scores if plain_name(name) == "accuracy" and not stated]
    readings: list[list[int]] = []
    for at in range(max(len(example.golds) for run in runs for example in run.examples)):
        each = [[example.golds[at] for example in run.examples] for run in runs]
        golds = [gold for gold in each[0] if gold is not None]
        if len(golds) == len(each[0]) and all(other == golds for other in each) and golds not in readings:
            readings.append(golds)
    fitting = [golds for golds in readings if all(_reproduced(runs, golds, name) for name in counted)]
    # Two readings that reproduce every answer differ where no run was right.
    if len(fitting) == 1 or (fitting and counted):
        return fitting[0], []
    return None, [
        f"The targets do not say which choice is right{f' so that it reproduces {counted[0]}' if counted else ''}: "
        "there are no labels, and scores are shown as recorded."
    ]


def _reproduced(runs: Sequence[_Run], golds: list[int], name: str) -> bool:
    return all(
        float(example.predicted == gold) == example.scores.get(name)
        for run in runs
        for example, gold in zip(run.examples, golds, strict=True)
    )


def _texts(runs: Sequence[_Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the arrays of runs that generated texts.

    What counts as right is what the harness counted as right: its comparison may ignore case, take a number out of
    the target, or ask a judge. So the accepted texts of an example are its targets and the texts that were counted as
    right, unless one text was counted both ways. Where that is more than the targets, there are others that no run
    wrote, and what a constant text would score is unknown.
    """
    texts = [[(example.text or "").strip() for example in run.examples] for run in runs]
    targets = [[one.strip() for one in example.targets] for example in runs[0].examples]
    judged = "" if any(one.several > 1 for run in runs for one in run.examples) else _judged(runs)
    columns: list[dict[str, Any]] = [
        {"kind": "generation", "generations": [example.text or "" for example in run.examples]} for run in runs
    ]
    if not judged:
        if all(targets) and not any(plain_name(name) == "exact_match" for name in runs[0].examples[0].scores):
            for own_columns in columns:
                own_columns["references"] = [example.targets for example in runs[0].examples]
        return columns, []
    right = [[example.scores[judged] == 1 for example in run.examples] for run in runs]
    accepted: list[tuple[str, ...]] = []
    plain = True
    for at, own in enumerate(targets):
        counted: dict[bool, set[str]] = {True: set(), False: set()}
        for said, is_right in zip(texts, right, strict=True):
            counted[is_right[at]].add(said[at])
        plain = plain and bool(own) and counted[True] <= set(own) and not counted[False] & set(own)
        kept = dict.fromkeys([*(one for one in own if one not in counted[False]), *sorted(counted[True])])
        if counted[True] & counted[False]:
            return columns, [
                f"{judged} is shown as recorded: the texts that it counts as right cannot be told from the others, so "
                "its intervals are over runs alone."
            ]
        accepted.append((*kept, OTHER_TEXTS))
    for run, own_columns in zip(runs, columns, strict=True):
        own_columns["references"] = accepted if not plain else [tuple(example.targets) for example in runs[0].examples]
        if judged != "exact_match":
            own_columns["scores.exact_match"] = np.array(np.mean([one.scores[judged] == 1 for one in run.examples]))
    if plain:
        return columns, []
    return columns, [
        f"A text is right if {runs[0].log.maker} counted it as right ({judged}), which is more than being equal to "
        "the target." + ("" if judged == "exact_match" else f" The score exact_match is this {judged}.")
    ]
