"""What a page is made of: sections of blocks, filled alike from a study, from runs trained elsewhere and from theory.

A block is plain data. How it looks is in `page/blocks.html.j2`, one macro for each, found by the class's `macro`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from steadytune.reporting.explore import Data, Flips
from steadytune.reporting.figures import Figure, Look

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal[
    "supported", "mostly supported", "mixed", "no effect", "contradicted", "not supported", "inconclusive", "untested"
]


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        value: What is written large.
        notes: Lines written small under it.
        marked: Whether to highlight it.
    """

    value: str
    notes: tuple[str, ...] = ()
    marked: bool = False


class Panel(NamedTuple):
    """One drawing.

    Attributes:
        key: Names its place in the section.
        title: Above it, or "".
        figure: Plain data, as plotly draws it.
        label: Text alternative for screen readers; defaults to the title.
    """

    key: str
    title: str
    figure: Figure
    label: str = ""


@dataclass(frozen=True)
class Claim:
    """One prediction beside what was measured.

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
        words: What is said.
        about: Of which recipe, written before it, or "".
        recipes: The recipes that it holds for, written behind it, or "".
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
    """A paragraph; `role` is "lead", "caption", "absent" for what is not there, "note", or "" for running text."""

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
    """Names with their values, those of many parameters in a small print."""

    macro = "facts"

    facts: Mapping[str, str]
    small: bool = False


@dataclass(frozen=True)
class Entries(Block):
    """Names with what belongs to them: recipes with their stabilizers, say."""

    macro = "entries"

    entries: Mapping[str, str]


@dataclass(frozen=True)
class Definitions(Block):
    """Terms, what kind of term each is or "", and what they mean."""

    macro = "definitions"

    terms: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Table(Block):
    """A table whose first column names the rows.

    Attributes:
        label: What it shows, for those who do not see it.
        columns: Headings; the first is that of the rows' names.
        rows: The cells of each.
        look: "comparison" for wide tables of numbers, "comparison numbers" for narrow ones, "claims", or "" for texts.
        caption: Below it, or "".
    """

    macro = "table"

    label: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    look: str = "comparison"
    caption: str = ""


@dataclass(frozen=True)
class Figures(Block):
    """One drawing, or several beside one another; `legend` names the recipes that can be hidden in a section."""

    macro = "figures"

    panels: Sequence[Panel]
    caption: str = ""
    beside: bool = False
    legend: Mapping[str, Look] = field(default_factory=dict)


@dataclass(frozen=True)
class Claims(Block):
    """What is predicted, with what was seen."""

    macro = "claims"

    claims: Sequence[Claim]


@dataclass(frozen=True)
class Statements(Block):
    """What is said of each recipe, the first in full; more than a few are folded.

    Attributes:
        statements: Recipe, or "", and what is said.
        anchor: Key of the section that they are about, or "" where there is one.
        name: Of that section.
    """

    macro = "statements"

    statements: Sequence[tuple[str, str]]
    anchor: str = ""
    name: str = ""


@dataclass(frozen=True)
class Distances(Block):
    """The distance between every two runs, a recipe and measure at a time, drawn on demand."""

    macro = "distances"

    recipes: Sequence[Data]
    caption: str = ""


@dataclass(frozen=True)
class Flipping(Block):
    """The examples on which runs disagree, a recipe at a time, drawn on demand and listed with their texts."""

    macro = "flipping"

    recipes: Sequence[Flips]
    drawn: Sequence[Data]


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that a reader unfolds."""

    macro = "folded"

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: Names its parts in the page.
        title: Its heading.
        blocks: What stands in it.
        look: "pair" for what a page is about, "verdict" for what it concludes, or "".
    """

    key: str
    title: str
    blocks: Sequence[Block]
    look: str = "pair"

    def every(self) -> Iterator[Block]:
        """Yield all blocks, those that are folded among them."""
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
        """Return what the page's script draws on demand, or None where the section has no such block."""
        for block in self.every():
            if isinstance(block, kind):
                return list(block.recipes if isinstance(block, Distances) else block.drawn)
        return None


@dataclass(frozen=True)
class Page:
    """A page, with the tables that are written beside it.

    Attributes:
        title: Its heading.
        run: What was run.
        verdict: What it concludes.
        sections: What it is about.
        reading: How to read it.
        tables: Name of a CSV file -> its data frame.
        remark: What to know of these tables, or "".
    """

    title: str
    run: Section
    verdict: Section
    sections: Sequence[Section]
    reading: Section
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
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
