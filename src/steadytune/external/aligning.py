"""Alignment of runs: the same examples in the same order, and the same class numbers, in all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.run import ExternalRun
from steadytune.records.arrays import OF_TOKENS

_BY_EXAMPLE = ("logits", "probabilities", "predictions", "labels", "groups", "questions", "token_counts")
_TEXTS_BY_EXAMPLE = ("ids", "texts", "generations", "references")


# Of all examples, the share that some run may lack.
_FEW = 0.1
_NAMED = 5


def align(runs: Sequence[ExternalRun]) -> tuple[list[ExternalRun], list[str]]:
    """Reorder the examples of all runs like the first, by name or otherwise by text.

    Named examples that a run lacks are left aside in all runs, if they are few.

    Raises:
        UserError: Examples are in different orders, and nothing identifies them; or a run lacks many.
    """
    runs, notes = _same_examples(runs)
    for what, keys in _orders(runs):
        having = [at for at, key in enumerate(keys) if key is not None]
        if len(having) < 2:
            continue
        first = keys[having[0]]
        assert first is not None
        others = [at for at in having[1:] if keys[at] != first]
        if any(len(keys[at] or ()) != len(first) or sorted(keys[at] or ()) != sorted(first) for at in others):
            # Different examples are reported when the runs are checked.
            continue
        if not others:
            return list(runs), notes
        if len(set(first)) < len(first):
            raise UserError(
                f"{runs[others[0]].origin}: the rows are in another order than in {runs[having[0]].origin} ({what}), "
                "and nothing identifies every row: add an id column"
            )
        if len(having) < len(runs):
            without = next(run for at, run in enumerate(runs) if at not in having)
            raise UserError(
                f"{runs[others[0]].origin}: the rows are in another order than in {runs[having[0]].origin} ({what}), "
                f"and {without.origin} does not say how its own are ordered"
            )
        place = {name: row for row, name in enumerate(first)}
        moved = list(runs)
        for at in others:
            key = keys[at]
            assert key is not None
            order = np.empty(len(first), dtype=np.int64)
            order[[place[name] for name in key]] = np.arange(len(first))
            moved[at] = select(moved[at], order)
        if what.strip("'") in runs[0].counters and not _tells_order(runs, moved, what):
            continue
        notes.append(
            f"The rows of {len(others)} of {len(runs)} runs were in a different order and have been matched by {what}."
        )
        moved = _same_questions(moved)
        return [replace(run, columns={**run.columns, "matched": [what]}) for run in moved], notes
    return list(runs), notes


def names_in_all(origins: Sequence[str], held: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Return the names of the examples that every run has, in the order of the first, and what to say of others.

    Args:
        origins: The runs, for error messages.
        held: Of each run the names of its examples, all different.

    Raises:
        UserError: A run lacks many.
    """
    sets = [set(names) for names in held]
    every = list(dict.fromkeys(name for names in held for name in names))
    kept = [name for name in held[0] if all(name in one for one in sets)]
    if len(kept) == len(every):
        return kept, []
    lacking = [[name for name in every if name not in one] for one in sets]
    said = [
        f"{origin} lacks {len(names)} of {len(every)} examples ({listed(names)})"
        for origin, names in zip(origins, lacking, strict=True)
        if names
    ]
    if len(every) - len(kept) > _FEW * len(every):
        raise UserError(f"{'; '.join(said[:2])} that other runs have: evaluate all on the same examples")
    return kept, [f"{'; '.join(said)}: these are left aside in all runs."]


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _same_examples(runs: Sequence[ExternalRun]) -> tuple[list[ExternalRun], list[str]]:
    """Return the runs with the examples that every one has, if they name them, each in its own order.

    Raises:
        UserError: A run lacks many, or a part of what is scored together; or its names only count its rows.
    """
    held = [run.ids for run in runs if run.ids is not None and len(set(run.ids)) == len(run.ids) and _fits(run)]
    if len(held) < len(runs) or len(set(map(frozenset, held))) == 1:
        return list(runs), []
    kept, notes = names_in_all([run.origin for run in runs], held)
    known, longest = set(kept), max(map(len, held))
    # Texts are compared row by row, so that they show whether a number means the same example in every run.
    shown = any(all(getattr(run, name) is not None for run in runs) for name in ("texts", "references"))
    moved = []
    for run, names in zip(runs, held, strict=True):
        if len(names) < longest and not shown and _counts(names):
            raise UserError(
                f"{run.origin} lacks {longest - len(names)} of {longest} examples, and its ids only number its rows: "
                "add an id column that says which examples it has"
            )
        chosen = np.array([name in known for name in names])
        if run.questions is not None and set(run.questions[chosen]) & set(run.questions[~chosen]):
            raise UserError(
                f"{notes[0].partition(': ')[0]}, which belong together with others: give all runs all of them"
            )
        part = _renumbered_groups(select(run, np.flatnonzero(chosen)))
        if not chosen.all() and (whole := run.scores.keys() - run.row_scores.keys()):
            part = replace(part, scores={name: part.scores[name] for name in part.row_scores})
            notes.append(f"{run.origin}: {listed(sorted(whole))} is not used, as it also scores those left aside.")
        moved.append(part)
    return moved, notes


def _renumbered_groups(run: ExternalRun) -> ExternalRun:
    """Number what is left of groups and questions anew: a run that lacks one had not counted it."""
    changes: dict[str, Any] = {}
    for name in ("groups", "questions"):
        values = getattr(run, name)
        # Any others are refused when the runs are checked.
        if values is not None and values.ndim == 1 and values.dtype.kind in "iu":
            changes[name] = np.unique(values, return_inverse=True)[1]
    return replace(run, **changes)


def _same_questions(runs: Sequence[ExternalRun]) -> list[ExternalRun]:
    """Give questions without names, numbered in each run's own order, the numbers of the first run."""
    first = runs[0].questions

    def same(own: NDArray[Any] | None) -> bool:
        if own is None or first is None or not own.ndim == first.ndim == 1 or len(own) != len(first):
            return False
        pairs = set(zip(own.tolist(), first.tolist(), strict=True))
        return len(pairs) == len(set(own.tolist())) == len(set(first.tolist()))

    return [replace(run, questions=first) if same(run.questions) else run for run in runs]


def _fits(run: ExternalRun) -> bool:
    """Return whether everything of examples has as many rows as there are names; what has not is refused later."""
    held = [getattr(run, name) for name in (*_BY_EXAMPLE, *_TEXTS_BY_EXAMPLE)]
    return all(len(values) == len(run.ids or ()) for values in held if isinstance(values, tuple) or np.ndim(values))


def _counts(names: Sequence[str]) -> bool:
    """Return whether names are 0, 1, 2 and so on, or 1, 2, 3, or such a number and the place of a word after it."""
    numbers = [first for first, _ in groupby(name.partition(" / ")[0] for name in names)]
    return any(numbers == [str(start + at) for at in range(len(numbers))] for start in (0, 1))


def _tells_order(runs: Sequence[ExternalRun], moved: Sequence[ExternalRun], what: str) -> bool:
    """Decide from the labels whether integers identify the examples or are merely their positions in each run.

    Raises:
        UserError: The labels do not decide.
    """
    as_is, by_number = _same_labels(runs), _same_labels(moved)
    if as_is is not None and as_is != by_number:
        return not as_is
    if as_is is False:
        return False
    name = what.strip("'")
    raise UserError(
        f"{runs[0].origin}: {what} holds the same numbers in all runs, but in a different order. Does it identify "
        f"the examples (--set id={name}), or are the rows in the same order (--set ignore={name})?"
    )


def _same_labels(runs: Sequence[ExternalRun]) -> bool | None:
    """Return whether all runs have the same labels row by row; None if they have none."""
    labels = [run.labels for run in runs if run.labels is not None]
    if len(labels) < len(runs):
        return None
    return all(np.array_equal(one, labels[0], equal_nan=one.dtype.kind == "f") for one in labels)


def _orders(runs: Sequence[ExternalRun]) -> list[tuple[str, list[tuple[str, ...] | None]]]:
    """Return what may identify the examples, best first: their names, texts, and columns that were not read."""

    def named(field: str) -> str:
        columns = next((run.columns[field] for run in runs if field in run.columns), [field])
        return " and ".join(f"'{column}'" if column else "a column without a name" for column in columns)

    def tuples(field: str) -> list[tuple[str, ...] | None]:
        return [None if (held := getattr(run, field)) is None else tuple(map(str, held)) for run in runs]

    ids = tuples("ids")
    # Duplicate names within a run are rejected elsewhere.
    orders = [(named("ids"), ids)] if all(one is None or len(set(one)) == len(one) for one in ids) else []
    if any(one is not None for one in ids):
        return orders
    shared = [name for name in runs[0].marks if all(name in run.marks for run in runs)]
    same = [name for name in shared if len({tuple(sorted(run.marks[name])) for run in runs}) == 1]
    texts = tuples("texts")
    if all(texts):
        orders.append((named("texts"), texts))
    orders += [(f"'{name}'", [tuple(run.marks[name]) for run in runs]) for name in same]

    def rank(order: tuple[str, list[tuple[str, ...] | None]]) -> tuple[bool, bool]:
        # Columns that identify every row come first, numbers last.
        return order[0].strip("'") in runs[0].counters, len(set(order[1][0] or ())) < len(order[1][0] or ())

    return sorted(orders, key=rank)


def select(run: ExternalRun, rows: NDArray[np.int64]) -> ExternalRun:
    """Return the examples of a run at `rows`, in that order.

    Raises:
        UserError: Its arrays of tokens do not have as many rows as it has tokens, or its states not those of examples.
    """
    changes: dict[str, Any] = {}
    if given := [name for name in (*OF_TOKENS, "token_weights") if getattr(run, name) is not None]:
        counts = np.zeros(0, np.int64) if run.token_counts is None else np.asarray(run.token_counts)
        if any(len(getattr(run, name)) != counts.sum() for name in given) or (counts < 0).any():
            raise UserError(f"{run.origin}: token_counts must sum to the rows of {given[0]}")
        starts = np.cumsum(counts) - counts
        tokens = np.concatenate([np.arange(starts[row], starts[row] + counts[row]) for row in rows]).astype(np.int64)
        changes = {name: getattr(run, name)[tokens] for name in given}
    for name in _BY_EXAMPLE:
        if (values := getattr(run, name)) is not None:
            changes[name] = values[rows]
    for name in _TEXTS_BY_EXAMPLE:
        if (texts := getattr(run, name)) is not None:
            changes[name] = tuple(texts[row] for row in rows)
    if run.row_scores:
        moved = {name: values[rows] for name, values in run.row_scores.items()}
        means = {name: float(values.mean()) for name, values in moved.items() if len(rows)}
        changes |= {"row_scores": moved, "scores": {**run.scores, **means}}
    if (states := run.representations) is not None and states.ndim == 3:
        examples = size(run)
        if examples and states.shape[1] % examples:
            raise UserError(f"{run.origin}: representations of shape {states.shape} are not of {examples} examples")
        each = states.shape[1] // examples if examples else 1
        chosen = (rows[:, None] * each + np.arange(each)).reshape(-1)
        changes["representations"] = states[:, chosen]
    return replace(run, **changes, marks={})


def size(run: ExternalRun) -> int:
    """Return the number of examples of a run, 0 if it has only representations."""
    for name in (*_BY_EXAMPLE, *_TEXTS_BY_EXAMPLE):
        if (values := getattr(run, name)) is not None:
            return len(values)
    return 0


def drop_unlabelled(runs: Sequence[ExternalRun]) -> tuple[list[ExternalRun], list[str]]:
    """Remove the examples without a label, the same ones from all runs.

    Raises:
        UserError: Runs differ in which examples have a label.
    """
    unlabelled = [_unlabelled(run) for run in runs]
    if not any(rows is not None and rows.any() for rows in unlabelled):
        return list(runs), []
    first = unlabelled[0]
    for run, rows in zip(runs, unlabelled, strict=True):
        if rows is None or first is None or not np.array_equal(rows, first):
            raise UserError(f"{run.origin}: different examples are labelled than in {runs[0].origin}")
    assert first is not None
    kept = np.flatnonzero(~first)
    note = f"{len(first) - len(kept)} of {len(first)} examples have no label and were left out."
    return [select(run, kept) for run in runs], [note]


def _unlabelled(run: ExternalRun) -> NDArray[np.bool_] | None:
    if run.labels is None or run.labels.ndim != 1 or run.labels.dtype.kind != "f":
        return None
    return np.asarray(np.isnan(run.labels))


def unify_classes(runs: Sequence[ExternalRun]) -> tuple[list[ExternalRun], list[str]]:
    """Give all runs the same class numbers: by name, or by labels if some files number their classes.

    Raises:
        UserError: The runs have different classes, or the classes of one cannot be matched to those of another.
    """
    named = [run for run in runs if run.label_names is not None]
    if not named:
        return list(runs), []
    hard = all(run.outputs is None for run in runs)
    if hard and not any(run.numbered for run in named):
        names = tuple(sorted({name for run in named for name in run.label_names or ()}))
    else:
        names = tuple(named[0].label_names or ())
    notes: list[str] = []
    unified = []
    for run in runs:
        if run.label_names is None:
            if all(other.numbered for other in named):
                unified.append(run)
            else:
                unified.append(_by_labels(run, named[0], names))
                notes.append(f"{run.origin} numbers its classes: they were matched to the names by the labels.")
        elif tuple(run.label_names) == names:
            unified.append(run)
        elif not set(run.label_names) <= set(names) or (not hard and set(run.label_names) != set(names)):
            raise UserError(
                f"{run.origin}: the classes {', '.join(run.label_names)} are not those of {named[0].origin}: "
                f"{', '.join(names)}"
            )
        else:
            new = np.array([names.index(name) for name in run.label_names])
            unified.append(_renumbered(run, new, names))
            if run.numbered:
                _check_renamed(run, unified[-1], named[0], names)
                notes.append(f"{run.origin} has the classes in a different order: they were matched by name.")
    return unified, list(dict.fromkeys(notes))


def _check_renamed(run: ExternalRun, moved: ExternalRun, first: ExternalRun, names: Sequence[str]) -> None:
    if moved.labels is None or first.labels is None or len(moved.labels) != len(first.labels):
        return
    if not np.array_equal(moved.labels, first.labels, equal_nan=moved.labels.dtype.kind == "f"):
        same = run.labels is not None and np.array_equal(run.labels, first.labels)
        but = ", while the labels are the same numbers" if same else ""
        raise UserError(
            f"{run.origin}: label_names lists the classes in a different order from {first.origin} "
            f"({', '.join(run.label_names or ())}; not {', '.join(names)}){but}: one of the two is wrong"
        )


def _renumbered(
    run: ExternalRun,
    new: NDArray[np.int64],
    names: Sequence[str],
) -> ExternalRun:
    """Renumber class c of a run as new[c]."""
    changes: dict[str, Any] = {"label_names": tuple(names)}
    for name in ("logits", "probabilities", "labels"):
        values = getattr(run, name)
        if values is not None and values.ndim == 2 and values.shape[1] == len(new):
            changes[name] = values[:, np.argsort(new)]
    for name in ("labels", "predictions"):
        if (values := getattr(run, name)) is not None and name not in changes:
            known = np.isfinite(values)
            moved = np.asarray(values, dtype=np.float64).copy()
            moved[known] = new[moved[known].astype(np.int64)]
            changes[name] = moved
    return replace(run, **changes)


def _by_labels(run: ExternalRun, named: ExternalRun, names: Sequence[str]) -> ExternalRun:
    """Match numbered classes to names: the same example has the same label."""
    wrong = (
        f"{run.origin} numbers its classes, but {named.origin} names them ({', '.join(names)}), and the labels do not "
        "show which is which: name the classes in all files, or in none"
    )
    mine, others = run.labels, named.labels
    classes = 0 if run.outputs is None or run.outputs.ndim != 2 else run.outputs.shape[1]
    if mine is None or others is None or len(mine) != len(others) or classes not in (0, len(names)):
        raise UserError(wrong)
    known = np.isfinite(np.asarray(mine, dtype=np.float64)) & np.isfinite(np.asarray(others, dtype=np.float64))
    pairs = {(int(one), int(other)) for one, other in zip(mine[known], others[known], strict=True)}
    match = dict(pairs)
    if len(match) != len(pairs) or len(set(match.values())) != len(pairs) or set(match) != set(range(len(names))):
        raise UserError(wrong)
    new = np.array([match[at] for at in range(len(names))])
    return replace(_renumbered(run, new, names), numbered=False)


def orient_states(run: ExternalRun, axes: str | None) -> tuple[ExternalRun, list[str]]:
    """Transpose representations to (layers, examples, width), as decided by labels, outputs or the user.

    Raises:
        UserError: The order of the axes is ambiguous, and there are more layers than examples.
    """
    states = run.representations
    if states is None or states.ndim != 3 or run.status is not None:
        return run, []
    turned = replace(run, representations=np.swapaxes(states, 0, 1))
    examples = size(run)
    if axes is not None:
        return (turned, []) if axes == "examples-first" else (run, [])
    first, second = states.shape[:2]
    if examples == first == second:
        raise UserError(
            f"{run.origin}: representations of shape {states.shape} have as many layers as examples: choose which axis "
            "comes first with --set axes=layers-first or axes=examples-first"
        )
    if examples and first == examples and second % examples:
        return turned, [f"Representations were read as (examples, layers, width): {first} examples, {second} layers."]
    if not examples and first > second:
        raise UserError(
            f"{run.origin}: representations of shape {states.shape} may be {first} layers of {second} examples, or "
            f"{first} examples with {second} layers: use --set axes=layers-first or axes=examples-first"
        )
    return run, []
