"""One run that was trained elsewhere, and whether several of them measured the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.records.checks import Kind

Texts = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ExternalRun:
    """What a file says of one run: N examples, C classes. What it does not hold is None.

    Attributes:
        origin: The file, as an error names it.
        kind: Task kind, or None where the file does not say.
        logits: (N, C).
        probabilities: (N, C).
        labels: (N,).
        representations: (L, rows, D), on disk where the format allows it.
        scores: Metric -> value; "score" for one without a name.
        label_names: Name of each class.
        ids: N names of the examples.
        texts: N texts that a report may show.
        examples: Digest of the model's inputs and labels, as the recorders make it.
        seed: The seed that the run was trained with.
        generations: N texts.
        references: N texts.
        token_logits: (T, V), see `Cohort`.
        token_counts: (N,).
    """

    origin: str
    kind: Kind | None = None
    logits: NDArray[Any] | None = None
    probabilities: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    representations: NDArray[Any] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    label_names: Texts | None = None
    ids: Texts | None = None
    texts: Texts | None = None
    examples: str | None = None
    seed: str | None = None
    generations: Texts | None = None
    references: Texts | None = None
    token_logits: NDArray[Any] | None = None
    token_counts: NDArray[np.int64] | None = None

    @property
    def outputs(self) -> NDArray[Any] | None:
        """Logits, or else probabilities."""
        return self.probabilities if self.logits is None else self.logits

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | int]:
        """What must be the same in every run, by name: sizes, and how many layers."""
        sizes: dict[str, tuple[int, ...] | int] = {}
        if self.outputs is not None:
            sizes["logits or probabilities of shape"] = self.outputs.shape
        if self.representations is not None:
            sizes["layers of representations:"] = len(self.representations)
        if self.generations is not None:
            sizes["number of generations:"] = len(self.generations)
        if self.token_logits is not None:
            sizes["token_logits of shape"] = self.token_logits.shape
        return sizes


_WHY = "the runs measured other examples"


def check_same_examples(runs: Sequence[ExternalRun]) -> None:
    """Refuse runs of which two differ in what they hold, in its size, or in the examples that they measured.

    Examples are known by their labels, and by names, texts or a digest where two files have them.

    Raises:
        UserError: Naming the file, the one that it differs from, and the axis.
    """
    first = runs[0]
    for run in runs[1:]:
        for name in ("labels", "representations", "generations", "references", "token_logits"):
            if (getattr(run, name) is None) != (getattr(first, name) is None):
                has, lacks = (first, run) if getattr(run, name) is None else (run, first)
                raise UserError(f"{lacks.origin} has no {name}, but {has.origin} has: give all runs the same")
        for what in first.shapes.keys() | run.shapes.keys():
            mine, others = run.shapes.get(what), first.shapes.get(what)
            if mine != others:
                raise UserError(f"{run.origin}: {what} {mine}, but {first.origin} has {others}")
    for name in ("kind", "label_names", "examples", "ids", "texts", "labels", "references", "token_counts"):
        holders = [run for run in runs if getattr(run, name) is not None]
        for run in holders[1:]:
            if (difference := _difference(getattr(run, name), getattr(holders[0], name))) is not None:
                raise UserError(f"{run.origin}: {name} differ from those of {holders[0].origin}{difference}")


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
    if isinstance(mine, tuple) and sorted(mine) == sorted(others):
        return f", first in row {row}: the same in another order, so sort the rows of all files alike"
    return f", first in row {row} ({_shown(mine[row])}, not {_shown(others[row])}): {_WHY}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
