"""What is known of one run of a file before the others are looked at."""

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
        positive: The class that it belongs to, where its name or the user says so.
    """

    column: str
    values: NDArray[np.float64]
    positive: str | None


@dataclass
class Draft:
    """What is known of a run before the others are looked at.

    Attributes:
        source: Where it stands.
        taken: Its columns.
        choices: What the user said.
        regression: The user asked for a regression, or for a metric of one.
        arrays: Logits, probabilities and predictions.
        columns: What was read -> from which columns.
        names: Names of the classes, where labels and columns have any.
        numbered: The file numbers its classes itself.
        single: A column that may be a probability.
        texts: The run is one of generated texts.
        diverged: Its predictions are missing throughout.
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
        """The kind of task, as far as it is known."""
        return find_kind(self.kind)

    def use(self, what: str, *columns: str) -> None:
        """Remember that columns were read as something."""
        self.columns[what] = list(columns)

    def word(self, name: str) -> str | None:
        """Return a word that a file of arrays says of its run, such as its kind; a table has columns of examples."""
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
