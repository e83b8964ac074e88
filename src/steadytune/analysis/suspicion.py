"""Detect suspicious runs: duplicates, or runs with permuted class labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.sentences import capital, listed, named_runs
from steadytune.kinds import KINDS
from steadytune.records import Cohort
from steadytune.seeds import Seeds

# Once its permutation is undone, a run agrees with the rest nearly as often as they agree with each other.
_NEARLY = 0.8
# By how many standard errors of a share the agreement must improve when labels are permuted.
_CLEAR = 5.0
_FEW_WRONG = 5
# With fewer examples per class than this, on average, some permutation fits by chance.
_FEW_EACH = 5


def suspicious(cohort: Cohort) -> list[str]:
    """Describe duplicate runs and runs with permuted class labels; empty if there are none."""
    return [*_copy_notes(cohort), *_renamed_notes(cohort)]


def copies(cohort: Cohort) -> list[list[int]]:
    """Return groups of duplicate runs, by index: identical to the last bit, or with the same right and wrong answers.

    Runs with constant outputs, and runs of which only the answers are known and nearly all are right, may be equal by
    chance and are not counted.
    """
    groups: dict[bytes, list[int]] = {}
    for run, key in enumerate(fingerprints(cohort)):
        if key is not None:
            groups.setdefault(key, []).append(run)
    return [runs for runs in groups.values() if len(runs) > 1]


def fingerprints(cohort: Cohort) -> list[bytes | None]:
    """Return for each run a key that only its duplicates share, or None if duplicates cannot be detected."""
    return [_digest(cohort, run) if _telling(cohort, run) else None for run in range(len(cohort))]


def same_outputs(cohort: Cohort, run: int, other: Cohort, place: int) -> bool:
    """Return whether two runs have the same outputs or texts to the last bit; False if only classes are known."""
    known = _outputs(cohort, run) or cohort.generations is not None
    return bool(known) and _digest(cohort, run) == _digest(other, place)


def _outputs(cohort: Cohort, run: int) -> list[NDArray[Any]]:
    tokens = (getattr(cohort, name) for name in ("token_logits", "token_log_probabilities", "target_log_probabilities"))
    given = (cohort.probabilities if cohort.logits is None else cohort.logits, *tokens)
    return [np.asarray(values[run]) for values in given if values is not None]


def _digest(cohort: Cohort, run: int) -> bytes:
    """Return a checksum of a run's outputs, or else of its texts, classes or states; empty if it has none."""
    found = hashlib.blake2b()
    if arrays := _outputs(cohort, run):
        for array in arrays:
            # The same outputs may be stored in double precision in one file and in single in another.
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
    # Equal states may have different heads, and equal classes different outputs: different scores reveal it.
    found.update(np.nan_to_num(cohort.scores[run : run + 1], nan=-np.inf).data)
    return found.digest()


def _telling(cohort: Cohort, run: int) -> bool:
    """Return whether a run equal to this one must be a duplicate, not equal by chance."""
    if arrays := _outputs(cohort, run):
        # A collapsed run gives the same output for all examples, which is equal for all seeds once rounded.
        return any((array != array[:1]).any() for array in arrays)
    if cohort.generations is not None:
        return len(set(cohort.generations[run])) > _FEW_WRONG
    if cohort.predictions is not None:
        answers = cohort.predictions[run]
        wrong = 0 if cohort.labels is None else np.count_nonzero(answers != KINDS[cohort.kind].coded(cohort.labels))
        return bool(wrong >= _FEW_WRONG and np.ptp(answers) > 0)
    return cohort.representations is not None and not cohort.frozen_encoder


def copied_between(cohort: Cohort, other: Cohort) -> list[tuple[int, int]]:
    """Return which runs of two recipes are duplicates, by index, except pairs with the same seed.

    With the same seed, a recipe that changes nothing gives the same outputs, which is not suspicious; see `same_seed`.
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
    """Describe which runs of two recipes are duplicates of one another; "" if none are."""
    if not pairs:
        return ""
    ours, theirs = (
        named_runs(list(dict.fromkeys(side.seeds[pair[at]] for pair in pairs)), side.seeds)
        for at, side in enumerate((cohort, other))
    )
    return (
        f"{ours} of {cohort.recipe} and {theirs} of {other.recipe} are identical and may be duplicates. They are no "
        "evidence for or against a difference, so the two recipes are not tested"
    )


def _copy_notes(cohort: Cohort) -> list[str]:
    found = copies(cohort)
    if not found:
        return []
    who = [named_runs([cohort.seeds[run] for run in runs], cohort.seeds) for runs in found]
    why = "these may be duplicates of one run, or the seed changes nothing"
    if all(_replicates([cohort.seeds[run] for run in runs]) for runs in found):
        why = "they are replicates of the same seeds, to which hardware and kernels add nothing here"
    return [
        f"{capital(listed(who))} {'are' if len(found) == 1 else 'are each'} identical: {why}. They are no evidence of "
        "stability, and no measure has an interval."
    ]


def _replicates(names: Sequence[str]) -> bool:
    """Return whether runs have the same seeds and different replicates, judging by their names."""
    seeds = [Seeds.from_label(name) for name in names]
    known = [one for one in seeds if one is not None]
    same = {one.model_copy(update={"replicate": 0}) for one in known}
    return len(known) == len(seeds) and len(same) == 1


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
            below = ", below chance" if accuracy < 1 / classes else ""
            chance = (
                f" With its labels unchanged its accuracy is {100 * accuracy:.1f} %{below}, and so are all measures."
            )
        inverse = np.argsort(order).tolist()
        example = next(at for at, other in enumerate(inverse) if at != other)
        notes.append(
            f"{capital(named_runs([cohort.seeds[run]], cohort.seeds))} agrees with the others once its class labels "
            f"are permuted ({_spelled(inverse)}): what they call {example}, it calls {inverse[example]}.{chance}"
        )
    return notes


def _renaming(cohort: Cohort, predictions: NDArray[np.int64], run: int, classes: int) -> list[int] | None:
    """Return the label permutation under which a run agrees with the others; None if none is needed or none fits."""
    others = np.delete(predictions, run, axis=0)
    if len(others) > 1:
        votes = np.stack([(others == at).sum(axis=0) for at in range(classes)])
        right, agreement = votes.argmax(axis=0), float((others == votes.argmax(axis=0)).mean())
    elif cohort.labels is not None:
        # With two runs, the labels show which of them is permuted.
        right = cohort.labels.astype(np.int64)
        agreement = float((others[0] == right).mean())
    else:
        return None
    table = np.zeros((classes, classes))
    np.add.at(table, (predictions[run], right), 1)
    if (np.diag(table) == table.max(axis=1)).all():
        # No permutation agrees more often.
        return None
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-table)
    order = columns[np.argsort(rows)].tolist()
    examples = len(right)
    as_is, renamed = np.trace(table) / examples, table[rows, columns].sum() / examples
    clear = renamed - as_is > _CLEAR * np.sqrt(max(renamed * (1 - renamed), 1 / examples) / examples)
    # Classes that a run never predicts can be permuted freely, so a collapsed run tells nothing.
    varied = np.count_nonzero(table.sum(axis=1)) == np.count_nonzero(table.sum(axis=0))
    return order if order != list(range(classes)) and clear and varied and renamed >= _NEARLY * agreement else None


def _spelled(order: Sequence[int]) -> str:
    """Format a permutation as cycles: "0 -> 1 -> 2 -> 0"."""
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
