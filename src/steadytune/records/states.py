"""Hidden states of stored runs, each mapped when it is asked for, so that a thousand runs fill no memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.files import Arrays
from steadytune.records.record import RunRecord

_NAME = "representations"

Stamp = tuple[int, ...]


def stamp(file: Path) -> Stamp:
    """Return what changes when a file is replaced or written to; empty if there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class StoredArray:
    """An array in a file that was verified.

    Attributes:
        file: The file.
        seen: Its `stamp` from before it was verified.
        checksum: Its SHA-256.
        dtype: Of the array.
        offset: Where the array starts, in bytes.
        shape: Of the array.
    """

    file: Path
    seen: Stamp
    checksum: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        """Map the array; what is written to it is forgotten with it.

        Raises:
            UserError: The file has been replaced or removed since it was verified.
        """
        if stamp(self.file) != self.seen:
            raise UserError(f"{self.file} changed while it was used: run the same command again")
        return np.memmap(self.file, self.dtype, "c", self.offset, self.shape)


class StoredStates(Sequence[NDArray[Any]]):
    """The hidden states of K stored runs, K arrays (L, rows, D). No memory and no open file is held between uses.

    The checksums of their files say what they are, by which what is computed of them is kept.

    Args:
        runs: Where they are.
        cache: Folder for what is computed of them.
    """

    def __init__(self, runs: Sequence[StoredArray], cache: Path) -> None:
        self._runs, self.cache = tuple(runs), cache

    @property
    def checksums(self) -> list[str]:
        """SHA-256 of each run's file."""
        return [run.checksum for run in self._runs]

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, place: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, place: slice) -> StoredStates: ...

    def __getitem__(self, place: int | slice) -> NDArray[Any] | StoredStates:
        if isinstance(place, slice):
            return StoredStates(self._runs[place], self.cache)
        return self._runs[place].read()


def stored_states(
    records: Sequence[RunRecord], arrays: Sequence[Arrays], stamps: Mapping[str, Stamp], cache: Path
) -> dict[str, StoredStates]:
    """Return the field of a cohort for the states of its runs, in the place of their arrays.

    Args:
        records: Finished runs.
        arrays: What `RunStore.arrays` returned for each.
        stamps: Run -> the `stamp` of its file from before it was verified.
        cache: Folder for what is computed of the states.

    Returns:
        Nothing if not all of the runs have states, or if those are not in their files as they are (bfloat16).
    """
    runs = []
    for record, run in zip(records, arrays, strict=True):
        states = run.get(_NAME)
        if isinstance(states, np.memmap) and states.ndim == 3:
            file, seen = Path(str(states.filename)), stamps[record.spec.id]
            runs.append(StoredArray(file, seen, record.checksums[file.name], states.dtype, states.offset, states.shape))
    return {_NAME: StoredStates(runs, cache)} if runs and len(runs) == len(records) else {}
