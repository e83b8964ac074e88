"""The parts of a page: sections of blocks, the same for a study, for runs trained elsewhere and for theory.

A block is plain data. Its appearance is defined in `page/blocks.html.j2`, one macro each, found by the class's `macro`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from steadytune.reporting.drawing import Figure
from steadytune.reporting.explore import Data, Flips
from steadytune.reporting.figures import Look

if TYPE_CHECKING:
    import pandas as pd

    from steadytune.reporting.frames import Rows

Verdict = Literal[
    "supported", "mostly supported", "mixed", "no effect", "contradicted", "not supported", "inconclusive", "untested"
]


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        value: The text in normal size.
        notes: Lines in small print below it.
        marked: Whether to highlight it.
    """

    value: str
    notes: tuple[str, ...] = ()
    marked: bool = False


class Panel(NamedTuple):
    """One drawing.

    Attributes:
        key: Identifies its place in the section.
        title: Title above it, or "".
        figure: Plain data for plotly.
        label: Text alternative for screen readers; defaults to the title.
    """

    key: str
    title: str
    figure: Figure
    label: str = ""


@dataclass(frozen=True)
class Claim:
    """One prediction compared with what was measured.

    Attributes:
        prediction: A sentence.
        source: Where it comes from.
        verdict: Whether the data support it.
        measured: Sentences with the numbers.
    """

    prediction: str
    source: str
    verdict: Verdict
    measured: str


class Point(NamedTuple):
    """A sentence of a list.

    Attributes:
        words: The sentence.
        about: The recipe that it concerns, written before it, or "".
        recipes: The recipes for which it holds, written after it, or "".
    """

    words: str
    about: str = ""
    recipes: str = ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Part of a section.

    Attributes:
        title: Heading above it, or "".
    """

    macro: ClassVar[str]

    title: str = ""


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; `role` is "lead", "caption", "absent" for missing content, "note", or "" for running text."""

    macro = "text"

    words: str
    role: str = ""


@dataclass(frozen=True)
class Points(Block):
    """A list of sentences."""

    macro = "points"

    points: Sequence[Point]


@dataclass(frozen=True)
class Facts(Block):
    """Names with their values; `small` for many parameters in small print."""

    macro = "facts"

    facts: Mapping[str, str]
    small: bool = False


@dataclass(frozen=True)
class Entries(Block):
    """Names with descriptions, such as recipes with their stabilizers."""

    macro = "entries"

    entries: Mapping[str, str]


@dataclass(frozen=True)
class Definitions(Block):
    """Terms, the kind of each or "", and their meanings."""

    macro = "definitions"

    terms: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Table(Block):
    """A table whose first column names the rows.

    Attributes:
        label: Text alternative for screen readers.
        columns: Headings; the first is that of the row names.
        rows: The cells of each.
        look: "comparison" for wide tables of numbers, "comparison numbers" for narrow ones, "claims", or "" for texts.
        caption: Text below it, or "".
    """

    macro = "table"

    label: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    look: str = "comparison"
    caption: str = ""


@dataclass(frozen=True)
class Figures(Block):
    """One drawing, or several side by side; `legend` names the recipes that can be hidden in a section."""

    macro = "figures"

    panels: Sequence[Panel]
    caption: str = ""
    beside: bool = False
    legend: Mapping[str, Look] = field(default_factory=dict)


@dataclass(frozen=True)
class Claims(Block):
    """Predictions with their results."""

    macro = "claims"

    claims: Sequence[Claim]


@dataclass(frozen=True)
class Statements(Block):
    """Statements about each recipe, the first in full; more than a few are folded.

    Attributes:
        statements: Recipe, or "", and the statement.
        anchor: Key of the section that they concern, or "" if there is only one.
        name: Name of that section.
    """

    macro = "statements"

    statements: Sequence[tuple[str, str]]
    anchor: str = ""
    name: str = ""


@dataclass(frozen=True)
class Distances(Block):
    """The distances between all pairs of runs, one recipe and measure at a time, drawn on demand."""

    macro = "distances"

    recipes: Sequence[Data]
    caption: str = ""


@dataclass(frozen=True)
class Flipping(Block):
    """The examples on which runs disagree, one recipe at a time, drawn on demand and listed with their texts."""

    macro = "flipping"

    recipes: Sequence[Flips]
    drawn: Sequence[Data]


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that are folded until the reader opens them."""

    macro = "folded"

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: Prefix for the ids of its parts in the page.
        title: Its heading.
        blocks: Its content.
        look: "pair" for main sections, "verdict" for the conclusion, or "".
    """

    key: str
    title: str
    blocks: Sequence[Block]
    look: str = "pair"

    def every(self) -> Iterator[Block]:
        """Yield all blocks, including folded ones."""
        return _every(self.blocks)

    @property
    def claims(self) -> list[Claim]:
        """All its claims."""
        return [claim for block in self.every() if isinstance(block, Claims) for claim in block.claims]

    @property
    def panels(self) -> list[Panel]:
        """All its drawings."""
        return [panel for block in self.every() if isinstance(block, Figures) for panel in block.panels]

    def on_demand(self, kind: type[Distances] | type[Flipping]) -> list[Data] | None:
        """Return the data that the page's script draws on demand, or None if the section has none."""
        for block in self.every():
            if isinstance(block, kind):
                return list(block.recipes if isinstance(block, Distances) else block.drawn)
        return None


@dataclass(frozen=True)
class Page:
    """A page, with the tables written next to it.

    Attributes:
        title: Its heading.
        run: What was run.
        verdict: Its conclusion.
        sections: Its main sections.
        reading: How to read it.
        tables: Name of a CSV file -> its rows, or a data frame.
        remark: A remark on these tables, or "".
    """

    title: str
    run: Section
    verdict: Section
    sections: Sequence[Section]
    reading: Section
    tables: Mapping[str, pd.DataFrame | Rows] = field(default_factory=dict)
    remark: str = ""

    @property
    def parts(self) -> list[Section]:
        """All sections, in their order."""
        return [self.run, self.verdict, *self.sections, self.reading]


def _every(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from _every(block.blocks)
