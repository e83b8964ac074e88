"""Drafts: what is known about one run of a file before the others are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.external.columns import Choices, Taken
from steadytune.external.source import Source
from steadytune.kinds import Kind, find_kind


@dataclass
class Single:
    """One number per example that may be the probability of a class.

    Attributes:
        column: Its name.
        values: (N,).
        positive: Its class, if its name or the user says so.
    """

    column: str
    values: NDArray[np.float64]
    positive: str | None


@dataclass
class Draft:
    """What is known about a run before the others are read.

    Attributes:
        source: Its source.
        taken: Assignment of its columns.
        choices: The user's choices.
        regression: Whether the user asked for a regression or a regression metric.
        arrays: Logits, probabilities and predictions.
        columns: What was read -> its columns.
        names: Class names, if labels or columns have any.
        numbered: Whether the file itself numbers its classes.
        single: A column that may be a probability.
        texts: Whether the run consists of generated texts.
        diverged: Whether all its predictions are missing.
        notes: What a reader should know.
    """

    source: Source
    taken: Taken
    choices: Choices
    regression: bool
    arrays: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    names: list[str] | None = None
    numbered: bool = True
    single: Single | None = None
    texts: bool = False
    diverged: bool = False
    kind: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def of(self) -> Kind:
        """The kind of task, as far as known."""
        return find_kind(self.kind)

    def use(self, what: str, *columns: str) -> None:
        """Record what columns were read as."""
        self.columns[what] = list(columns)

    def word(self, name: str) -> str | None:
        """Return a text attribute of a run in an array file, such as its kind; a table has only columns of examples."""
        source, column = self.source, self.taken.fields.get(name)
        if column is None or source.table is not None:
            return None
        self.use(name, column)
        value = source.columns[column]
        return str(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value)

    @property
    def aside(self) -> list[str]:
        """Columns that were not read."""
        used = {column for columns in self.columns.values() for column in columns}
        return [name or "(no name)" for name in self.source.names if name not in used]
