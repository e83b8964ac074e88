"""Interpretation of outputs: logits or probabilities, their class, rounding, per cent, contradictions, NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steadytune.errors import UserError
from steadytune.external.columns import squashed
from steadytune.external.draft import Draft
from steadytune.external.run import ExternalRun
from steadytune.kinds import DEFAULT, find_kind
from steadytune.records.checks import EXACT, SAME, are_probabilities, check_agreement, rounding

_SURE_ROWS = 5


def settle_singles(drafts: Sequence[Draft]) -> None:
    """Expand single columns of probabilities to two classes, deciding from all runs which class they belong to.

    A column named after a class belongs to it. Otherwise a column below 1/2 anywhere cannot be the probability of the
    predicted class, which with two classes is never below; and predictions show which class lies above 1/2.

    Raises:
        UserError: It is ambiguous, and there is nothing else to measure.
    """
    having = [draft for draft in drafts if draft.single is not None]
    if not having:
        return
    meaning = _meaning(having)
    for draft in having:
        single = draft.single
        assert single is not None
        if meaning is None:
            if "predictions" not in draft.arrays:
                raise UserError(_question(draft, single.column))
            continue
        values = single.values
        if meaning == "predicted":
            chosen = draft.arrays["predictions"] == 1
            draft.notes.append(f"'{single.column}' was read as the probability of the predicted class.")
        else:
            chosen = np.full(len(values), meaning == 1)
            named = f"'{draft.names[meaning == 1]}'" if draft.names else str(meaning)
            draft.notes.append(f"'{single.column}' was read as the probability of class {named} of two classes.")
        first = np.where(chosen, 1 - values, values)
        draft.arrays["probabilities"] = np.stack([first, 1 - first], axis=1)
        draft.use("probabilities", single.column)


def _question(draft: Draft, column: str) -> str:
    names = draft.names or ["0", "1"]
    if len(names) != 2:
        return (
            f"{draft.source.origin}: '{column}' is one probability, but the labels have {len(names)} classes: {names}"
        )
    way = f"--set probability={column}" + (f" --set class={names[1]}" if draft.names else "")
    said = (
        f"{draft.source.origin}: '{column}' may be the probability of class {names[1]} or of the predicted class. "
        f"Give {way} for class {names[1]}, or columns prob_{names[0]} and prob_{names[1]}"
    )
    values = draft.single.values if draft.single is not None else np.zeros(1)
    if np.all(values[np.isfinite(values)] >= 0.5):
        said += (
            ". It is never below 1/2: if it belongs to the predicted class, name that column (--set prediction=NAME)"
        )
    return said


def _meaning(drafts: Sequence[Draft]) -> int | str | None:
    """Return the class of the columns, 0 or 1; "predicted"; or None if ambiguous."""
    named = {draft.single.positive for draft in drafts if draft.single}
    classes = {tuple(draft.names) for draft in drafts if draft.names}
    labels = [draft.arrays[name] for draft in drafts for name in ("labels", "predictions") if name in draft.arrays]
    numbers = {float(one) for array in labels for one in np.unique(array[np.isfinite(array)])}
    if len(classes) > 1 or any(len(names) != 2 for names in classes) or not numbers <= {0.0, 1.0}:
        return None
    if len(named) == 1 and (positive := next(iter(named))) is not None:
        names = next(iter(classes)) if classes else ("0", "1")
        words = [name.casefold() for name in names]
        if positive.casefold() in words:
            return words.index(positive.casefold())
        return int(positive) if positive in ("0", "1") and classes == set() else None
    values = np.concatenate([draft.single.values for draft in drafts if draft.single])
    values_known = np.isfinite(values)
    low = bool((values[values_known] < 0.5).any())
    if all("predictions" in draft.arrays for draft in drafts):
        predicted = np.concatenate([draft.arrays["predictions"] for draft in drafts])
        if len(predicted) != len(values):
            return None
        fits: list[int | str] = [
            at for at in (0, 1) if np.all(np.where(predicted == at, values >= 0.5, values <= 0.5)[values_known])
        ]
        if not low:
            fits.append("predicted")
        return fits[0] if len(fits) == 1 else None
    # Class names that are words have no order that would show which one is meant.
    return 1 if low and not classes and _is_probability(drafts) else None


def _is_probability(drafts: Sequence[Draft]) -> bool:
    """Return whether the name implies a probability, which "score" does not; `y_score` is scikit-learn's name."""
    return all(
        squashed(draft.single.column) == "yscore" or "score" not in draft.single.column.lower()
        for draft in drafts
        if draft.single
    )


def probabilities_called_logits(runs: Sequence[ExternalRun]) -> tuple[list[ExternalRun], list[str]]:
    """Treat logits as probabilities if they are in every row of a run: in [0, 1] and summing to 1.

    Raises:
        UserError: Those of only some runs are, and the runs have too few rows to be sure.
    """
    having = [
        run for run in runs if run.logits is not None and run.status is None and not find_kind(run.kind).has_numbers
    ]
    found = [
        run
        for run in having
        if run.probabilities is None and are_probabilities(np.asarray(run.logits), find_kind(run.kind))
    ]
    if not found:
        return list(runs), []
    whose = "every run" if len(found) == len(having) else ", ".join(run.origin for run in found)
    if len(found) < len(having) and min(len(np.asarray(run.logits)) for run in found) < _SURE_ROWS:
        raise UserError(
            f"{whose}: the logits look like probabilities, unlike those of the other runs: use the same kind in all"
        )
    sets = find_kind(found[0].kind).has_sets
    note = (
        f"The logits of {whose} lie between 0 and 1{'' if sets else ' and sum to 1 in every row'}: they were taken as "
        f"probabilities, without another {'sigmoid' if sets else 'softmax'}."
    )
    return [
        replace(run, logits=None, probabilities=np.asarray(run.logits, dtype=np.float64))
        if any(run is one for one in found)
        else run
        for run in runs
    ], [note]


def settle_probabilities(run: ExternalRun) -> tuple[ExternalRun, list[str]]:
    """Normalise probabilities that are in per cent or rounded, and drop them if logits contain the same.

    Raises:
        UserError: Logits and probabilities contradict each other; names the first row.
    """
    values, notes = run.probabilities, []
    if values is None or values.ndim != 2 or run.status is not None or not np.isfinite(values).all():
        return run, []
    values = np.asarray(values, dtype=np.float64)
    if find_kind(run.kind).has_sets:
        return run, []
    sums = values.sum(axis=1)
    if (values >= 0).all() and len(values) and (np.abs(sums - 100) <= max(0.5, 100 * rounding(values / 100))).all():
        values, sums = values / 100, sums / 100
        notes.append("The probabilities are in per cent (rows sum to 100) and were divided by 100.")
    off = np.abs(sums - 1)
    if (values >= 0).all() and (off > EXACT).any() and (off <= rounding(values)).all():
        values = values / sums[:, None]
        notes.append(
            f"The probabilities are rounded, with rows summing to {sums.min():.3g} to {sums.max():.3g}: they were "
            "divided by the row sums."
        )
    if notes:
        run = replace(run, probabilities=values)
    # Values that are not probabilities are rejected as such.
    if run.logits is not None and (values >= 0).all() and (np.abs(values.sum(axis=1) - 1) <= SAME).all():
        try:
            check_agreement(run.logits, values, find_kind(run.kind or DEFAULT))
        except ValueError as error:
            raise UserError(f"{run.origin}: {error} (--set ignore=NAME,NAME)") from None
    return run, notes


def diverged(run: ExternalRun) -> bool:
    """Return whether all of a run's outputs are NaN or infinite, as with diverged weights."""
    outputs = run.outputs
    return outputs is not None and outputs.dtype.kind == "f" and outputs.size > 0 and not np.isfinite(outputs).any()
