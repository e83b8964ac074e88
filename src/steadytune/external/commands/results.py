"""What a run of a command left to be measured: which of its files, and those written elsewhere brought home."""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from steadytune.errors import UserError
from steadytune.external.columns import Choices
from steadytune.external.commands.sweep import CommandRun, Sweep
from steadytune.external.logs import logs_in, place_of, settled
from steadytune.external.read import files_in, read_source
from steadytune.external.understand import understand

HOW = (
    "write one file per run that 'steadytune measure' reads, such as a CSV file with the columns label and "
    "prediction (see steadytune measure --help), and repeat the sweep with --retry-failed"
)
"""How a script makes its runs measurable."""
# OUT/checkpoint/evaluation/split/file
_DEEPEST = 4
# Weights and the like, which have the suffix of arrays.
_WEIGHTS = re.compile(r"((adapter_)?model|optimizer|scheduler|consolidated)([-.].*)?\.(safetensors|npz)")
_SHOWN = 4
# Clocks of file systems are coarse.
_SLACK_SECONDS = 2.0


def results_of(sweep: Sweep, run: CommandRun, out: Path) -> list[Path]:
    """Return the file in a run's folder that is measured; several only of logs of evaluation harnesses.

    Without a pattern it is the only file there that may be a run, next to the top; of several the only one that can be
    read as one.

    Args:
        sweep: Says where to look.
        run: The run.
        out: The folder that it wrote into.

    Raises:
        UserError: There is none, or several may be meant; lists some.
    """
    if sweep.results is None or sweep.outside:
        found = _candidates(out)
        if len(found) > 1 and not _are_logs(found):
            found = [path for path in found if readable([path], sweep)] or found
        wanted = "can be measured"
    else:
        pattern = run.filled(sweep.results, str(out), pattern=True)
        pattern = pattern.removeprefix(f"{out}/")
        matching = sorted(path for path in out.glob(pattern) if path.name[0] != ".")
        found = [file for path in matching for file in (_candidates(path) if path.is_dir() else [path])]
        wanted = f"matches --results {sweep.results}"
    if not found:
        every = [str(path.relative_to(out)) for path in sorted(out.rglob("*")) if path.is_file()]
        raise UserError(f"nothing in its folder {wanted}: it holds {_some(every) or 'no files'}")
    if len(found) > 1 and not _are_logs(found):
        names = _some([str(path.relative_to(out)) for path in found])
        raise UserError(f"several files in its folder may be the run ({names}): choose one with --results")
    return found


def readable(files: Sequence[Path], sweep: Sweep) -> bool:
    """Return whether files can be read as a run."""
    return not why_unreadable(files, sweep)


def why_unreadable(files: Sequence[Path], sweep: Sweep) -> str:
    """Return why files cannot be read as one run, or ""."""
    choices = Choices.parse(sweep.columns)
    try:
        for path in files:
            understand(settled([read_source(path, choices.encoding)], choices), choices)
    except UserError as error:
        return str(error)
    return ""


def bring_home(sweep: Sweep, run: CommandRun, out: Path, began: float) -> None:
    """Copy what a run wrote elsewhere into its folder.

    Args:
        sweep: Says where.
        run: The run.
        out: Its folder.
        began: When the run began, on the clock of `time.time`: older files are those of another run.

    Raises:
        UserError: There is nothing, or it is older than the run.
    """
    assert sweep.results is not None
    pattern = run.filled(sweep.results, str(out), pattern=True)
    # Of an absolute pattern, too, which pathlib does not take.
    found = sorted(map(Path, glob.glob(str(Path(sweep.folder, pattern)), recursive=True)))  # noqa: PTH207
    if not found:
        raise UserError(f"it wrote nothing that --results {run.filled(sweep.results, str(out))} names")
    for path in found:
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        fresh = [file for file in files if file.stat().st_mtime >= began - _SLACK_SECONDS]
        if len(fresh) < len(files) or not files:
            old = next((file for file in files if file not in fresh), path)
            raise UserError(f"{old} is older than the run, which did not write it")
        if path.is_dir():
            shutil.copytree(path, out / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, out / path.name)


def _candidates(folder: Path) -> list[Path]:
    """Return the logs of evaluations below a folder, or else the files of its highest level that has any."""
    level = [folder]
    for _ in range(_DEEPEST):
        files = [file for one in level for file in files_in(one) if not _WEIGHTS.fullmatch(file.name.lower())]
        if files:
            return logs_in(folder) if _are_logs(files) else files
        level = [path for one in level for path in sorted(one.iterdir()) if path.is_dir() and path.name[0] != "."]
    return []


def _are_logs(files: Sequence[Path]) -> bool:
    return all(place_of(file) is not None for file in files)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
