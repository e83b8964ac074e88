"""The texts and label names of the examples that runs measure, as a folder of runs keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from steadytune.errors import UserError
from steadytune.files import CorruptFile, check_seal, read_json
from steadytune.records.checks import Kind

_TEXTS = ("texts", "labels", "data")


def read_examples(file: Path) -> tuple[dict[str, Any], bool]:
    """Read {"kind", "texts", "labels", "data"}, as `RunStore.write_examples` wrote it, and whether it has a checksum.

    Raises:
        CorruptFile: It is missing, or not what was written.
    """
    try:
        content = read_json(file)
        # Older versions wrote no checksum, and nothing of the data.
        whole = "sha256" in content
        content = {"data": [], **(check_seal(content) if whole else content)}
        found = {name: content[name] for name in ("kind", *_TEXTS)}
    except UserError as error:
        raise CorruptFile(str(error)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{file.name} is not what was written") from error
    lists = [found[name] for name in _TEXTS]
    if found["kind"] not in get_args(Kind) or not all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists
    ):
        raise CorruptFile(f"{file.name} is not what was written")
    return found, whole
