"""What is computed once and read ever after: arrays and what goes with them, under a lock and against checksums."""

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
    """Return arrays and the numbers beside them from a folder, computed if they are not there or not what was written.

    Args:
        folder: Of the cache; it is made.
        name: Of what is cached, with the key that tells it from others; the files are called by it.
        compute: Gives the arrays and the numbers, which JSON can hold.

    Raises:
        OSError: The folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored, about = folder / f"{name}.safetensors", folder / f"{name}.json"
    with FileLock(folder / f"{name}.lock"):
        try:
            content = check_seal(read_json(about))
            return read_arrays(stored, content["arrays"]), content["about"]
        except (OSError, ValueError, KeyError, CorruptFile):
            arrays, numbers = compute()
            # JSON has no NaN: what is undefined is null.
            about_them = json.loads(json.dumps(numbers), parse_constant=lambda _: None)
            content = {"arrays": write_arrays(stored, arrays), "about": about_them}
            write_text(about, json.dumps(sealed(content)))
            return arrays, numbers
