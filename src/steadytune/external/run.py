"""One run that was trained elsewhere, and whether several of them measured the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steadytune.errors import UserError
from steadytune.records.arrays import RunArrays, check_same_shapes


@dataclass(frozen=True, eq=False)
class ExternalRun(RunArrays):
    """What a file says of one run, arrays and the rest. What it does not hold is None.

    Attributes:
        kind: Task kind, or None where the file does not say.
        scores: Metric -> value; "score" for one without a name.
        examples: Digest of the model's inputs and labels, as the recorders make it.
        seed: The seed that the run was trained with.
        status: "diverged" of a run that left no outputs, else None.
        reason: Why.
        file: The file's path, which of a file with several runs is not the whole `origin`.
        numbered: The file numbers its classes itself; False where they were named and we numbered them.
        columns: What was read -> from which columns or arrays of the file.
        aside: Columns that were not read.
        marks: Column that was not read -> its cells, where they may tell the order of the examples.
        counters: Those of them that hold whole numbers, which may as well be ranks or lengths.
        notes: What a reader should know of how the file was read.
    """

    kind: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    examples: str | None = None
    seed: str | None = None
    status: str | None = None
    reason: str = ""
    file: str = ""
    numbered: bool = True
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aside: Sequence[str] = ()
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    counters: Sequence[str] = ()
    notes: tuple[str, ...] = ()


_WHY = "the runs measured other examples"
_OR_ORDER = ", or the same in a different order: then name the column that identifies them (--set id=NAME)"


def check_same_examples(runs: Sequence[ExternalRun]) -> None:
    """Refuse runs of which two differ in what they hold, in its size, or in the examples that they measured.

    Examples are known by their labels, and by names, texts or a digest where two files have them.

    Raises:
        UserError: Naming the file, the one that it differs from, and the axis.
    """
    first = runs[0]
    for run in runs[1:]:
        for name in (
            "outputs",
            "predictions",
            "labels",
            "representations",
            "generations",
            "references",
            "token_logits",
            "groups",
        ):
            if name == "predictions" and first.outputs is not None and run.outputs is not None:
                continue
            if (getattr(run, name) is None) != (getattr(first, name) is None):
                has, lacks = (first, run) if getattr(run, name) is None else (run, first)
                what = "logits or probabilities" if name == "outputs" else name
                raise UserError(f"{lacks.origin} has no {what}, but {has.origin} does: all runs need the same")
    check_same_shapes(runs)
    for name in ("kind", "label_names", "examples", "ids", "texts", "labels", "groups", "references", "token_counts"):
        holders = [run for run in runs if getattr(run, name) is not None]
        for run in holders[1:]:
            if (difference := _difference(getattr(run, name), getattr(holders[0], name))) is not None:
                order = _OR_ORDER if name == "labels" and run.ids is None and difference.endswith(_WHY) else ""
                raise UserError(f"{run.origin}: {name} differ from those of {holders[0].origin}{difference}{order}")


def _difference(mine: Any, others: Any) -> str | None:
    """Return how two values differ, as the end of an error, or None."""
    if isinstance(mine, str):
        return None if mine == others else f": {_WHY}"
    if len(mine) != len(others):
        return f": there are {len(mine)}, not {len(others)}"
    wrong = [row for row, (one, other) in enumerate(zip(mine, others, strict=True)) if one != other]
    if not wrong:
        return None
    row = wrong[0]
    if isinstance(mine, tuple) and sorted(map(str, mine)) == sorted(map(str, others)):
        return f", first in row {row}: the same in a different order, so sort the rows of all files alike"
    return f", first in row {row} ({_shown(mine[row])}, not {_shown(others[row])}): {_WHY}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
