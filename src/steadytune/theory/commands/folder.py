"""The folder that a command of `steadytune theory` writes."""

from __future__ import annotations

from pathlib import Path

from steadytune.errors import UserError


def check_folder(out: Path) -> None:
    """Refuse a path that is not a folder, before hours of work."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out must name a folder")
