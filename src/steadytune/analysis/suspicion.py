"""Runs that are not what they seem: copies of one another, or with the classes in another order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from steadytune.analysis.sentences import capital, listed, named_runs
from steadytune.kinds import KINDS
from steadytune.records import Cohort

# A run whose classes are renamed agrees with the rest nearly as often as they with one another.
_NEARLY = 0.8
# By how many standard errors of a share the renamed classes must agree better than those as they are.
_CLEAR = 5.0
_FEW_WRONG = 5
# With fewer examples of a class than this, on average, a renaming fits by chance.
_FEW_EACH = 5


def suspicious(cohort: Cohort) -> list[str]:
    """Say which runs are copies, and which have their classes in another order; nothing of a cohort without such."""
    return [*_copy_notes(cohort), *_renamed_notes(cohort)]


def copies(cohort: Cohort) -> list[list[int]]:
    """Return groups of runs, by number, that are the same to the last bit, or give the same right and wrong answers.

    Runs of which all outputs are constant, or whose answers alone are known and hold hardly an error, may be equal by
    chance and are not counted.
    """
    groups: dict[bytes, list[int]] = {}
    for run, key in enumerate(fingerprints(cohort)):
        if key is not None:
            groups.setdefault(key, []).append(run)
    return [runs for runs in groups.values() if len(runs) > 1]


def fingerprints(cohort: Cohort) -> list[bytes | None]:
    """Return of each run what another has too only if one is a copy of the other, or None if nothing tells."""
    return [_digest(cohort, run) if _telling(cohort, run) else None for run in range(len(cohort))]


def same_outputs(cohort: Cohort, run: int, other: Cohort, place: int) -> bool:
    """Tell whether two runs have the same outputs or texts to the last bit; of classes alone nobody knows."""
    known = _outputs(cohort, run) or cohort.generations is not None
    return bool(known) and _digest(cohort, run) == _digest(other, place)


def _outputs(cohort: Cohort, run: int) -> list[NDArray[Any]]:
    given = (cohort.probabilities if cohort.logits is None else cohort.logits, cohort.token_logits)
    return [np.asarray(values[run]) for values in given if values is not None]


def _digest(cohort: Cohort, run: int) -> bytes:
    """Return what a run gave as a checksum: outputs, or else texts, classes, states; empty where there is nothing."""
    found = hashlib.blake2b()
    if arrays := _outputs(cohort, run):
        for array in arrays:
            # One file may hold in double precision what another has in single.
            found.update(np.ascontiguousarray(array, dtype=np.float64).data)
        return found.digest()
    if cohort.generations is not None:
        found.update("\0".join(cohort.generations[run]).encode())
        return found.digest()
    states = None if cohort.frozen_encoder else cohort.representations
    given = cohort.predictions if cohort.predictions is not None else states
    if given is None:
        return b""
    found.update(np.ascontiguousarray(given[run]).data)
    # The same states may have heads of their own, and the same classes other outputs: scores that differ tell.
    found.update(np.nan_to_num(cohort.scores[run : run + 1], nan=-np.inf).data)
    return found.digest()


def _telling(cohort: Cohort, run: int) -> bool:
    """Tell whether two runs that gave the same as this one would be copies, and not alike by chance."""
    if arrays := _outputs(cohort, run):
        # One row for all examples is what a collapsed run gives, whatever its seed, once it is rounded.
        return any(np.ptp(array, axis=0).max(initial=0) > 0 for array in arrays)
    if cohort.generations is not None:
        return len(set(cohort.generations[run])) > _FEW_WRONG
    if cohort.predictions is not None:
        answers = cohort.predictions[run]
        wrong = 0 if cohort.labels is None else np.count_nonzero(answers != cohort.labels)
        return bool(wrong >= _FEW_WRONG and np.ptp(answers) > 0)
    return cohort.representations is not None and not cohort.frozen_encoder


def copied_between(cohort: Cohort, other: Cohort) -> list[tuple[int, int]]:
    """Return which runs of two recipes are copies of one another, by number, but for those of one seed.

    At one seed a recipe that changes nothing gives the same outputs, which is no suspicion, see `same_seed`.
    """
    places: dict[bytes, int] = {}
    for place, key in enumerate(fingerprints(other)):
        if key is not None:
            places.setdefault(key, place)
    if not places:
        return []
    found = [(run, places[key]) for run, key in enumerate(fingerprints(cohort)) if key in places]
    return [(run, place) for run, place in found if cohort.seeds[run] != other.seeds[place]]


def describe_copied_between(cohort: Cohort, other: Cohort, pairs: Sequence[tuple[int, int]]) -> str:
    """Say which runs of two recipes are copies of one another; "" of none."""
    if not pairs:
        return ""
    ours, theirs = (
        named_runs(list(dict.fromkeys(side.seeds[pair[at]] for pair in pairs)), side.seeds)
        for at, side in enumerate((cohort, other))
    )
    return (
        f"{ours} of {cohort.recipe} and {theirs} of {other.recipe} are identical: these may be copies. They are no "
        "evidence of a difference or of none, and nothing is tested between the two"
    )


def _copy_notes(cohort: Cohort) -> list[str]:
    found = copies(cohort)
    if not found:
        return []
    who = [named_runs([cohort.seeds[run] for run in runs], cohort.seeds) for runs in found]
    return [
        f"{capital(listed(who))} {'are' if len(found) == 1 else 'are each'} identical: these may be copies of one "
        "run, or the seed changes nothing. They are no evidence of stability, and no measure has an interval."
    ]


def _renamed_notes(cohort: Cohort) -> list[str]:
    predictions = cohort.predictions
    if predictions is None or len(cohort) < 2 or not KINDS[cohort.kind].shared_classes:
        return []
    classes = 1 + int(max(predictions.max(), cohort.labels.max() if cohort.labels is not None else 0))
    if classes < 2 or classes * _FEW_EACH > predictions.shape[1]:
        return []
    notes = []
    for run in range(len(cohort)):
        if (order := _renaming(cohort, predictions, run, classes)) is None:
            continue
        chance = ""
        if cohort.labels is not None:
            accuracy = float((predictions[run] == cohort.labels).mean())
            below = ", far below chance," if accuracy < 1 / classes else ""
            chance = f" As it stands its accuracy is {100 * accuracy:.1f} %{below} and every measure speaks of that."
        inverse = np.argsort(order).tolist()
        example = next(at for at, other in enumerate(inverse) if at != other)
        notes.append(
            f"{capital(named_runs([cohort.seeds[run]], cohort.seeds))} agrees with the others once classes are renamed "
            f"{_spelled(inverse)}: what they call {example} it calls {inverse[example]}.{chance}"
        )
    return notes


def _renaming(cohort: Cohort, predictions: NDArray[np.int64], run: int, classes: int) -> list[int] | None:
    """Return class -> class under which a run agrees with the others, or None if it does as it is or never."""
    others = np.delete(predictions, run, axis=0)
    if len(others) > 1:
        votes = np.stack([(others == at).sum(axis=0) for at in range(classes)])
        right, agreement = votes.argmax(axis=0), float((others == votes.argmax(axis=0)).mean())
    elif cohort.labels is not None:
        # Of two runs the labels tell which of them is turned.
        right = cohort.labels.astype(np.int64)
        agreement = float((others[0] == right).mean())
    else:
        return None
    table = np.zeros((classes, classes))
    np.add.at(table, (predictions[run], right), 1)
    rows, columns = linear_sum_assignment(-table)
    order = columns[np.argsort(rows)].tolist()
    examples = len(right)
    as_is, renamed = np.trace(table) / examples, table[rows, columns].sum() / examples
    clear = renamed - as_is > _CLEAR * np.sqrt(max(renamed * (1 - renamed), 1 / examples) / examples)
    # Classes that a run never gives can be renamed at will, so that of a collapsed run nothing is learnt.
    varied = np.count_nonzero(table.sum(axis=1)) == np.count_nonzero(table.sum(axis=0))
    return order if order != list(range(classes)) and clear and varied and renamed >= _NEARLY * agreement else None


def _spelled(order: Sequence[int]) -> str:
    """Write a permutation in cycles: "0 -> 1 -> 2 -> 0"."""
    cycles, seen = [], set()
    for start in range(len(order)):
        if start in seen or order[start] == start:
            continue
        cycle, at = [start], order[start]
        while at != start:
            cycle.append(at)
            at = order[at]
        seen.update(cycle)
        cycles.append(" -> ".join(map(str, [*cycle, start])))
    return ", ".join(cycles)
