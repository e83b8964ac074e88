"""One run trained elsewhere, and the check that several measured the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.records.arrays import OF_TOKENS, RunArrays, check_same_shapes, check_same_words


@dataclass(frozen=True, eq=False)
class ExternalRun(RunArrays):
    """Contents of a file about one run, arrays and metadata. Missing parts are None.

    Attributes:
        kind: Task kind, or None if the file does not state it.
        scores: Metric -> value; "score" for an unnamed one.
        row_scores: Metric -> (N,), of which `scores` has the mean.
        examples: Digest of the model's inputs and labels, as computed by the recorders.
        seed: The seed that the run was trained with.
        status: "diverged" for a run without outputs, otherwise None.
        reason: Why.
        file: The file's path, which differs from `origin` if a file has several runs.
        task: Name of the task, or "".
        called: What the run is called, or "".
        numbered: Whether the file itself numbers its classes; False if they were named and we numbered them.
        columns: What was read -> its columns or arrays in the file.
        aside: Columns that were not read.
        marks: Unread column -> its cells, if they may identify the examples.
        counters: Those of them with integers, which may also be ranks or lengths.
        notes: What a reader should know about how the file was read.
    """

    kind: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    row_scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    examples: str | None = None
    seed: str | None = None
    status: str | None = None
    reason: str = ""
    file: str = ""
    task: str = ""
    called: str = ""
    numbered: bool = True
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aside: Sequence[str] = ()
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    counters: Sequence[str] = ()
    notes: tuple[str, ...] = ()


_SHARED = (
    *("kind", "label_names", "examples", "ids", "texts", "labels", "groups", "questions", "references"),
    "token_counts",
)
_WHY = "the runs measured other examples"
_OR_ORDER = ", or the same in a different order: then name the column that identifies them (--set id=NAME)"


def check_same_examples(runs: Sequence[ExternalRun]) -> None:
    """Reject runs that differ in their arrays, the sizes of these, or the examples measured.

    Examples are compared by labels, and by names, texts or a digest if both files have them.

    Raises:
        UserError: They differ; names both files and the axis.
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
            *OF_TOKENS,
            "groups",
            "questions",
        ):
            if name == "predictions" and first.outputs is not None and run.outputs is not None:
                continue
            if (getattr(run, name) is None) != (getattr(first, name) is None):
                has, lacks = (first, run) if getattr(run, name) is None else (run, first)
                what = "logits or probabilities" if name == "outputs" else name
                raise UserError(f"{lacks.origin} has no {what}, but {has.origin} does: all runs need the same")
    check_same_shapes(runs)
    check_same_words([run.origin for run in runs], [(run.token_exact, run.token_weights) for run in runs])
    for name in _SHARED:
        holders = [run for run in runs if getattr(run, name) is not None]
        for run in holders[1:]:
            mine, others = (_compared(name, getattr(one, name)) for one in (run, holders[0]))
            if (difference := _difference(mine, others)) is not None:
                order = _OR_ORDER if name == "labels" and run.ids is None and difference.endswith(_WHY) else ""
                raise UserError(f"{run.origin}: {name} differ from those of {holders[0].origin}{difference}{order}")


def _compared(name: str, values: Any) -> Any:
    """Return values as they are compared: of several accepted texts neither order nor repetition matters."""
    if name != "references":
        return values
    sets = [sorted({one} if isinstance(one, str) else set(one)) for one in values]
    return tuple(one[0] if len(one) == 1 else tuple(one) for one in sets)


def _difference(mine: Any, others: Any) -> str | None:
    """Return how two values differ, as the end of an error message, or None."""
    if isinstance(mine, str):
        return None if mine == others else f": {_WHY}"
    if len(mine) != len(others):
        return f": there are {len(mine)}, not {len(others)}"
    wrong = [row for row, (one, other) in enumerate(zip(mine, others, strict=True)) if np.any(one != other)]
    if not wrong:
        return None
    row = wrong[0]
    if isinstance(mine, tuple) and sorted(map(str, mine)) == sorted(map(str, others)):
        return f", first in row {row}: the same in a different order, so sort the rows of all files alike"
    return f", first in row {row} ({_shown(mine[row])}, not {_shown(others[row])}): {_WHY}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
