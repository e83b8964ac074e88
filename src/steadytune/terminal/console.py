"""The console of all commands; a separate module so that `steadytune --help` does not load rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment

from steadytune.terminal.lines import printable


class Console(rich.console.Console):
    """A console that prints no terminal control characters except its own."""

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Yield segments without control characters in their text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
