"""The console of all commands. Apart from `terminal.py`, so that `steadytune --help` need not load rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment

from steadytune.terminal.lines import printable


class Console(rich.console.Console):
    """A console that prints no character which steers the terminal, but its own."""

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Yield segments of text in which nothing is left that steers a terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
