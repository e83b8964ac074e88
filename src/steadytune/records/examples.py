"""Texts, label names and references of the measured examples, as stored in a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.files import CorruptFile, check_seal, read_json
from steadytune.kinds import KINDS
from steadytune.study import RunSpec

_TEXTS = ("texts", "labels", "data")


def examples_name(spec: RunSpec) -> str:
    """Return the name of the measured examples, which runs share if they share the data and the split."""
    halves = f"-half-{spec.training.split_seed}" if spec.training.select_checkpoint else ""
    return f"{spec.data[:16]}{halves}"


def read_examples(file: Path) -> tuple[dict[str, Any], bool]:
    """Read {"kind", "texts", "labels", "data", "references"}, as `RunStore.write_examples` wrote it.

    Returns:
        The content, and whether it has a checksum.

    Raises:
        CorruptFile: It is missing or damaged.
        UserError: Its kind of task belongs to a package that is not installed.
    """
    try:
        content = read_json(file)
        # Older versions wrote neither a checksum nor facts about the data; references belong to texts alone.
        whole = "sha256" in content
        content = {"data": [], **(check_seal(content) if whole else content)}
        found = {name: content[name] for name in ("kind", *_TEXTS)} | {"references": content.get("references", [])}
    except UserError as error:
        raise CorruptFile(str(error)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{file.name} is not what was written") from error
    lists = [found["references"], *(found[name] for name in _TEXTS)]
    if isinstance(found["references"], list):
        lists[:1] = found["references"]
    if not isinstance(found["kind"], str) or not all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists
    ):
        raise CorruptFile(f"{file.name} is not what was written")
    if found["kind"] not in KINDS:
        # Older versions did not support kinds of other packages.
        unknown = KINDS.unknown(found["kind"])
        raise UserError(f"{file.name}: {unknown}") if whole else CorruptFile(f"{file.name}: {unknown}")
    return found, whole
