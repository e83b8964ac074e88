"""What is computed of stored hidden states, kept beside the runs: distances take minutes, and each command needs them.

An entry is found by what it was computed of: the checksums of the runs' files, everything else that determines the
result, and the code. So an entry is never of other runs, and that of an older version is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.cache import cached_arrays
from steadytune.errors import UserError
from steadytune.files import Arrays, canonical_json, sha256
from steadytune.measures import LayerMeasure
from steadytune.records.states import StoredStates

_CODE = ("steadytune.measures", "steadytune.analysis")


def kept(
    states: Any, measures: Sequence[LayerMeasure], what: str, about: Mapping[str, Any], compute: Callable[[], Arrays]
) -> Arrays:
    """Return what is computed of the states of a cohort, from the folder of its runs if it was computed before.

    Computed anew: what is not of a folder of runs, and measures of other packages, whose code may change unseen. A
    folder that cannot be written keeps nothing.

    Args:
        states: The representations of the cohort.
        measures: The measures computed.
        what: Start of the name of the entry.
        about: Everything else that determines the result, for JSON; arrays as their `digest`.
        compute: Computes the arrays.
    """
    ours = all(measure.distance.__module__.startswith("steadytune.") for measure in measures)
    if not isinstance(states, StoredStates) or not ours:
        return compute()
    key = {
        "runs": states.checksums,
        "measures": [measure.name for measure in measures],
        "about": dict(about),
        "code": _code(),
    }
    found: list[Arrays] = []

    def once() -> tuple[Arrays, dict[str, Any]]:
        found.append(compute())
        return found[0], {}

    try:
        return cached_arrays(states.cache, f"{what}-{sha256(canonical_json(key))[:32]}", once)[0]
    except (OSError, NotImplementedError, UserError):
        # No permission, no locks, or no room.
        return found[0] if found else compute()


def digest(array: NDArray[Any] | None) -> str | None:
    """Return a checksum of an array; None of none."""
    return None if array is None else sha256(np.ascontiguousarray(array).tobytes())


@cache
def _code() -> str:
    """Return a checksum of all that turns states into distances."""
    sources = [
        file.read_bytes()
        for room in _CODE
        for file in sorted(files(room).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".py")
    ]
    return sha256(b"\0".join([*sources, *(version(name).encode() for name in ("steadytune", "numpy"))]))
