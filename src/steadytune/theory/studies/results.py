"""Storage for the results of jobs that are not runs: one JSON file each, in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.files import claimed, read_content, write_text


class Results:
    """A folder of results, each stored under an id; a store of jobs, see `steadytune.sweep.job`.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _file(self, one: str) -> Path:
        return self.path / f"{one}.json"

    def __contains__(self, one: str) -> bool:
        return self._file(one).exists()

    @contextmanager
    def claim(self, one: str) -> Iterator[bool]:
        """Hold an id for this process; yields False if another process holds it or has recorded it."""
        with claimed(self.path / f"{one}.lock") as mine:
            yield mine and one not in self

    def write(self, one: str, content: Any) -> None:
        """Record JSON content, which may include NumPy numbers; float64 values are read back exactly."""
        write_text(self._file(one), json.dumps(content, default=np.generic.item))

    def read(self, one: str) -> Any:
        """Return what was recorded."""
        return json.loads(read_content(self._file(one)))
