"""Where evaluation harnesses leave their logs: names of files, and which of a folder's files are the runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from steadytune.errors import UserError

_STAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_SAMPLES = re.compile(rf"samples_(?P<task>.+)_(?P<time>{_STAMP})\.jsonl(?:\.gz)?")
_DETAILS = re.compile(rf"details_(?P<task>.+)_(?P<time>{_STAMP})\.parquet")
# Inspect writes a time zone, and the name of the task in its own spelling.
_INSPECT = re.compile(rf"(?P<time>{_STAMP}[-+]\d\d-\d\d)_(?P<task>.+)_[^_]+\.(?:eval|json)|.+\.eval")
_RESULTS = re.compile(rf"results_{_STAMP}\.json")
_ONLY_STAMP = re.compile(_STAMP)
# OUT/seed/details/organisation/model/time/details_...
_DEEPEST = 6
_MOST_FOLDERS = 20_000

_RESULTS_ALONE = (
    "holds results without samples: evaluate again with --log_samples (lm-evaluation-harness) or --save-details "
    "(lighteval)"
)


@dataclass(frozen=True)
class Place:
    """What the name of a log says.

    Attributes:
        path: The file.
        run: The folder of the run that it belongs to, or the file itself where every file is a run of its own.
        task: The task as the name of the file spells it.
        time: When it was written, in an order that sorts.
    """

    path: Path
    run: Path
    task: str
    time: str


def place_of(path: Path) -> Place | None:
    """Return what the name of a file says, or None if it is not that of a log."""
    for pattern in (_SAMPLES, _DETAILS):
        if match := pattern.fullmatch(path.name):
            # lighteval makes a folder for each time.
            stamped = _ONLY_STAMP.fullmatch(path.parent.name) is not None
            return Place(path, path.parent.parent if stamped else path.parent, match["task"], match["time"])
    if match := _INSPECT.fullmatch(path.name):
        return Place(path, path, match["task"] or "", match["time"] or "")
    return None


def plain_stem(stem: str) -> str:
    """Return the name of a log without the time, so that runs are not named after it."""
    found = re.sub(rf"_{_STAMP}$", "", stem)
    return "" if _ONLY_STAMP.fullmatch(found) else found


def natural(path: Path) -> list[list[tuple[int, str]]]:
    """Return a key by which paths sort as people count: seed2 before seed10."""
    return [
        [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", part)] for part in path.parts
    ]


def logs_in(folder: Path, deep: bool = True) -> list[Path]:
    """Return the logs in a folder and in those below it, of each run and task the newest.

    Args:
        folder: The folder.
        deep: Whether to look into the folders below.

    Raises:
        UserError: A folder holds results of a run, but no samples.
    """
    newest: dict[tuple[Path, str], Place] = {}
    results: list[Path] = []
    for at, (where, below, files) in enumerate(os.walk(folder)):
        here = Path(where)
        below[:] = [name for name in sorted(below) if name[0] != "."]
        if not deep or len(here.parts) - len(folder.parts) >= _DEEPEST or at > _MOST_FOLDERS:
            below.clear()
        found = [place for name in files if name[0] != "." and (place := place_of(here / name)) is not None]
        if any(_RESULTS.fullmatch(name) for name in files) and not found:
            results.append(here)
        for place in found:
            last = newest.setdefault((place.run, place.task), place)
            if place.time > last.time:
                newest[place.run, place.task] = place
    # lighteval keeps results apart from details; lm-evaluation-harness beside the samples.
    samples = [place for place in newest.values() if _SAMPLES.fullmatch(place.path.name)]
    if results and (len(samples) == len(newest)):
        raise UserError(f"{sorted(results, key=natural)[0]} {_RESULTS_ALONE}")
    return sorted((place.path for place in newest.values()), key=natural)


def siblings(path: Path) -> list[Path]:
    """Return the other logs of the same run and task, which were written at other times."""
    place = place_of(path)
    if place is None or place.run == path:
        return []
    around = [place.run, *(one for one in place.run.iterdir() if one.is_dir() and _ONLY_STAMP.fullmatch(one.name))]
    others = [other for one in around for file in one.iterdir() if (other := place_of(file)) is not None]
    return sorted(
        (one.path for one in others if one.run == place.run and one.task == place.task and one.path != path),
        key=natural,
    )
