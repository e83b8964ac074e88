"""Cache of arrays and their metadata: computed once under a lock, verified by checksum when read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from steadytune.files import Arrays, CorruptFile, check_seal, read_arrays, read_json, sealed, write_arrays, write_text


def cached_arrays(
    folder: Path, name: str, compute: Callable[[], tuple[Arrays, dict[str, Any]]]
) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays and their metadata from a folder, computing them if they are missing or damaged.

    Args:
        folder: Folder of the cache; created if missing.
        name: Name of the entry, including its key; the files are named after it.
        compute: Returns the arrays and the metadata, which must be JSON-serialisable.

    Raises:
        OSError: The folder cannot be created or written.
    """
    stored, about = folder / f"{name}.safetensors", folder / f"{name}.json"
    # Without the lock, so that a folder can be read that cannot be written.
    if (found := _read(stored, about)) is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        if (found := _read(stored, about)) is not None:
            return found
        arrays, numbers = compute()
        # JSON has no NaN: undefined values are null.
        about_them = json.loads(json.dumps(numbers), parse_constant=lambda _: None)
        content = {"arrays": write_arrays(stored, arrays), "about": about_them}
        write_text(about, json.dumps(sealed(content)))
        return arrays, numbers


def _read(stored: Path, about: Path) -> tuple[Arrays, dict[str, Any]] | None:
    """Return an entry; None if it is missing, damaged or half replaced."""
    try:
        content = check_seal(read_json(about))
        return read_arrays(stored, content["arrays"]), content["about"]
    except (OSError, ValueError, KeyError, CorruptFile):
        return None
