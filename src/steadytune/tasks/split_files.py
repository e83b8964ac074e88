"""The files of a split, found in a folder by name, whole or in parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from steadytune.errors import UserError
from steadytune.files import parse_json, read_content
from steadytune.tasks.tables import SUFFIXES, Format, Table, read_table

TRAIN_NAMES = ("train",)
VALIDATION_NAMES = ("validation", "valid", "val", "dev")
_OTHER_NAMES = ("test",)
_DEPTH = 3
_LOOSE = re.compile(r"\.txt(\.gz)?$", re.IGNORECASE)


def read_split(folder: Path, names: tuple[str, ...], known: Format | None = None) -> Table:
    """Read a split from a folder.

    Args:
        folder: Folder of its file, directly, in `data/`, or in the only sub-folder with such a file: jsonl (or json),
            csv, tsv or parquet, whole or in parts as the hub names them ("train-00000-of-00002.parquet"), gzipped or
            not; or in a folder of the split's name, as `save_to_disk` of Hugging Face datasets writes it.
        names: Possible names of the file, without suffixes.
        known: What is known about the files.

    Raises:
        UserError: There is no such folder or file, or there are several, or it cannot be parsed or has no rows.
    """
    paths = _find(folder, names)
    tables = [read_table(path, known) for path in paths]
    merged = tables[0]
    if len(tables) > 1:
        names_in_all = dict.fromkeys(name for table in tables for name in table.columns)
        columns = {n: [v for t in tables for v in t.columns.get(n, [None] * len(t))] for n in names_in_all}
        notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
        origin = f"{paths[0]} and {len(paths) - 1} more"
        merged = replace(merged, origin=origin, columns=columns, numbers=None, unit="row", notes=notes)
    if not len(merged):
        raise UserError(f"{merged.origin} has no rows")
    return merged


def file_stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return names, times and sizes of the files that a task in a folder may be read from."""
    names = (*TRAIN_NAMES, *VALIDATION_NAMES)
    found = []
    for path in sorted(path for depth in range(1, _DEPTH + 1) for path in folder.glob("/".join("*" * depth))):
        parts = path.relative_to(folder).parts
        if any(part.lower().startswith(names) for part in parts) and path.is_file():
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _find(folder: Path, names: tuple[str, ...]) -> list[Path]:
    if not folder.exists():
        raise UserError(f"no such folder: {folder}")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: a task is a folder with a train and a validation file")
    if found := _in_folder(folder, names):
        return found
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    holders = [(path, found) for path in below if (found := _in_folder(path, names))]
    if len(holders) > 1 and (inner := [(path, found) for path, found in holders if path.name == "data"]):
        holders = inner
    if len(holders) > 1:
        raise UserError(
            f"{folder} has {names[0]} files in {', '.join(path.name for path, _ in holders)}: "
            "give one of these folders as the task"
        )
    if holders:
        return holders[0][1]
    if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        raise UserError(f"{folder} is a single split written by save_to_disk: save the DatasetDict with all splits")
    other = _in_folder(folder, _OTHER_NAMES) if "train" not in names else []
    hint = f"; to measure on {other[0].name}, copy it to validation{''.join(other[0].suffixes)}" if other else ""
    raise UserError(
        f"no {names[0]} file in {folder}: looked for {' or '.join(names)} with one of the suffixes "
        f".{', .'.join(SUFFIXES)} (.gz too){hint}"
    )


def _in_folder(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files of a split in one folder, in order; empty if there are none."""
    pattern = re.compile(
        rf"(?P<split>{'|'.join(map(re.escape, names))})(-(?P<part>\d+)-of-(?P<parts>\d+)(-[0-9a-f]+)?)?\.(?P<format>"
        rf"({'|'.join(SUFFIXES)})(\.gz)?)",
        re.IGNORECASE,
    )
    found = [(match, path) for path in sorted(folder.iterdir()) if (match := pattern.fullmatch(path.name))]
    # A .txt file may be anything, and beside another one it is not read.
    found = [one for one in found if not _LOOSE.search(one[1].name)] or found
    if not found:
        folders = [path for path in sorted(folder.iterdir()) if path.name.lower() in names and path.is_dir()]
        if len(folders) > 1:
            raise UserError(f"{folder} has {', '.join(path.name for path in folders)}: keep one for {names[0]}")
        return list(_saved(folders[0])) if folders else []
    paths = [path for _, path in found]
    if len({(match["split"], match["format"], match["parts"]) for match, _ in found}) > 1:
        raise UserError(f"{folder} has {', '.join(path.name for path in paths)}: keep one of them for {names[0]}")
    if (parts := found[0][0]["parts"]) and int(parts) != len(found):
        raise UserError(f"{folder} has {len(found)} of the {int(parts)} parts of {found[0][0]['split']}")
    return paths


def _saved(folder: Path) -> Iterator[Path]:
    """Return the files in a split's own folder: those that `save_to_disk` lists, or numbered ones of the hub."""
    if not (folder / "state.json").is_file():
        yield from (path for path in sorted(folder.iterdir()) if re.fullmatch(r"\d+\.parquet", path.name))
        return
    try:
        files = parse_json(read_content(folder / "state.json"))["_data_files"]
        # Names only: a state may not point elsewhere.
        paths = [folder / Path(file["filename"]).name for file in files]
        if odd := [path for path in paths if "\0" in path.name]:
            raise ValueError(f"a file named {odd[0].name!r:.60}")
        yield from paths
    except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{folder / 'state.json'} was not written by save_to_disk ({error})") from error
