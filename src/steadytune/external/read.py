"""Files of runs trained elsewhere: arrays in .npz and .safetensors; a row per example in .csv, .tsv, .jsonl, .parquet.

No pickle is loaded. Arrays of a .safetensors file stay on disk until used, and .npz files keep the dtype in which
they are stored.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.external.building import is_score_field
from steadytune.external.columns import Choices, is_known, spread
from steadytune.external.logs import logs_in, natural, place_of, settled
from steadytune.external.logs.reading import is_log, read_log, read_log_table
from steadytune.external.run import ExternalRun
from steadytune.external.source import Source
from steadytune.external.understand import understand
from steadytune.files import CorruptFile, check_regular, map_arrays, parse_json
from steadytune.records.checks import check_finite, check_run
from steadytune.tasks.table import NoNumber, Table
from steadytune.tasks.tables import Format, read_table

ARRAY_SUFFIXES = (".npz", ".safetensors")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
LOG_SUFFIXES = (".eval",)
_LISTED = ", ".join((*ARRAY_SUFFIXES, *TABLE_SUFFIXES, *LOG_SUFFIXES))

# Files that training leaves beside a run but that are not runs.
_NO_RUN = re.compile(
    r"(.*config|.*results|.*metrics|.*state|.*args|.*arguments|.*tokenizer|special_tokens_map|added_tokens|vocab|"
    r".*index|dataset_info|run|args|summary|metadata|"
    # Results of an evaluation, beside its samples.
    r".*_\d{4}-\d\d-\d\dt\d\d-\d\d-\d\d(\.\d+)?)\.json"
)

# Metadata of .safetensors that are JSON lists, and plain texts.
_TEXTS = ("label_names", "ids", "texts", "generations", "references")
_WORDS = ("kind", "examples", "seed", "status", "reason")

# Constant arrays compress to a fiftieth; any run may take half a GiB.
_PACKED, _ALWAYS_UNPACKED = 50, 2**29
_FEW_BYTES = 2**20

Fields = Mapping[str, Any]


def run_files(paths: list[Path]) -> list[Path]:
    """Return the files of the runs: those given, or those in the given folders, in natural order.

    A folder contains run files or, if it has none, folders with one each.

    Raises:
        UserError: A path does not exist, a folder has no run or an ambiguous one, or a file is given twice.
    """
    if not paths:
        raise UserError("no runs given: measuring instability needs at least two runs with different seeds")
    for path in paths:
        _check_exists(path)
    if len(paths) == 1 and paths[0].is_dir():
        paths = folder_files(paths[0])
    else:
        paths = [file for path in paths for file in ((_logs_of(path) or [_file_of(path)]) if path.is_dir() else [path])]
    resolved = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, resolved, strict=True) if resolved.count(place) > 1]:
        raise UserError(f"{twice[0]} is given twice: a run is at distance 0 from itself")
    return paths


def folder_files(folder: Path) -> list[Path]:
    """Return the run files in a folder, or one file of each sub-folder, in natural order.

    Raises:
        UserError: It has none, or several files that may be the same run.
    """
    if files := _logs_of(folder) or files_in(folder):
        return files
    folders = sorted((path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."), key=natural)
    holding = [(path, files) for path in folders if (files := files_in(path))]
    if not holding:
        raise UserError(f"{folder} has no study.yaml and no run files ({_LISTED})")
    names = set.intersection(*({file.name for file in files} for _, files in holding))
    for path, files in holding:
        if len(files) > 1 and len(names) != 1:
            listed = ", ".join(file.name for file in files[:4])
            raise UserError(
                f"{path} has {len(files)} files that may be the run ({listed}{', ...' if len(files) > 4 else ''}): "
                f"give the files themselves, such as {folder}/*/{files[0].name}"
            )
    return [next((file for file in files if file.name in names), files[0]) for _, files in holding]


def _logs_of(folder: Path) -> list[Path]:
    """Return the logs of evaluation harnesses in a folder, or in those below unless runs of another sort are there."""
    if files := logs_in(folder, deep=False):
        return files
    near = [folder, *(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")]
    others = any(place_of(file) is None for one in near for file in files_in(one))
    return [] if others else logs_in(folder)


def _file_of(folder: Path) -> Path:
    """Return the only run in one of several folders."""
    files = files_in(folder)
    if len(files) != 1:
        raise UserError(f"{folder} is a folder: give a single folder, or files ({_LISTED})")
    return files[0]


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder that may be runs, judging by their names, in natural order."""
    return sorted(
        (path for path in folder.iterdir() if _suffix(path) and not _is_beside(path) and path.is_file()), key=natural
    )


def _is_beside(path: Path) -> bool:
    return path.name[0] == "." or _NO_RUN.fullmatch(path.name.lower()) is not None


def read_source(path: Path, encoding: str | None = None) -> Source:
    """Read the contents of a file without interpreting them.

    Args:
        path: The file.
        encoding: Encoding of its text, if not UTF-8.

    Raises:
        UserError: The file cannot be read; names it.
    """
    _check_exists(path)
    check_regular(path)
    suffix = _suffix(path)
    if suffix is None:
        raise UserError(f"{path}: run files end in {_LISTED}; tables may also end in .gz")
    if is_log(path):
        return Source(path, {}, log=read_log(path))
    if suffix not in ARRAY_SUFFIXES:
        table = read_table(path, Format(encoding, "encoding"))
        if not len(table):
            raise UserError(f"{path} has no rows")
        if (log := read_log_table(path, table)) is not None:
            return Source(path, {}, log=log)
        table = replace(table, columns=spread({name: _figures(table, name) for name in table.columns}))
        return Source(path, table.columns, table)
    fields = (_npz if suffix == ".npz" else _safetensors)(path)
    unread = tuple(name for name, values in fields.items() if values is None)
    return Source(path, {name: values for name, values in fields.items() if values is not None}, unread=unread)


def read_run(path: Path) -> ExternalRun:
    """Read one run.

    Raises:
        UserError: The file cannot be read, or its arrays are invalid; names the file and the axis.
    """
    return understand(settled([read_source(path)], Choices()), Choices())[0]


def _figures(table: Table, name: str) -> list[Any]:
    """Return a column, as numbers if it spells them with decimal commas."""
    cells = table.columns[name]
    if table.typed or not any(cell is not None and "," in cell for cell in cells):
        return cells
    try:
        return list(table.figures(name))
    except NoNumber:
        return cells


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise UserError(f"no such file or folder: {path}")


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    tables = tuple(f"{suffix}{packed}" for suffix in TABLE_SUFFIXES for packed in ("", ".gz"))
    found = [suffix for suffix in (*ARRAY_SUFFIXES, *tables, *LOG_SUFFIXES) if name.endswith(suffix)]
    return found[0] if found else None


def run_name(path: Path) -> str:
    """Return the name of a file without its suffix."""
    return path.name[: -len(_suffix(path) or "") or None]


def _npz(path: Path) -> Fields:
    wrong = f"{path} cannot be read as .npz without pickles"
    # If the file is not an archive, NumPy would call it a pickle and say how to load it.
    if not zipfile.is_zipfile(path):
        raise UserError(f"{wrong}: it is not a complete archive of arrays as written by numpy.savez")
    try:
        _check_unpacked(path)
        with np.load(path, allow_pickle=False) as file:
            # Unknown arrays may be large. Small ones are read, as they may identify the examples.
            small = _small(path)
            return {name: file[name] if _known(name) else _tried(file, name, small) for name in file}
    except UserError:
        raise
    except Exception as error:  # a file from anywhere can break the reader of zip archives in many ways
        reason = " ".join(str(error).split())[:120]
        reason = "it contains Python objects" if "allow_pickle" in reason else reason
        raise UserError(f"{wrong}: {reason}") from None


def _tried(file: Any, name: str, small: set[str]) -> Any:
    try:
        return file[name] if name in small else None
    except ValueError:  # Python objects, such as the metrics of `trainer.predict`
        return None


def _small(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return {entry.filename.removesuffix(".npy") for entry in archive.infolist() if entry.file_size <= _FEW_BYTES}


def _check_unpacked(path: Path) -> None:
    """Reject an archive that unpacks to far more than a run's arrays ever do; the reader stops at these sizes."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist() if _known(entry.filename.removesuffix(".npy")))
    limit = max(_ALWAYS_UNPACKED, _PACKED * path.stat().st_size)
    if unpacked > limit:
        raise UserError(
            f"{path} would need {unpacked / 2**20:,.0f} MiB of memory: for a file of this size at most "
            f"{limit / 2**20:,.0f} MiB are unpacked; store large arrays as .safetensors, which stay on disk"
        )


def _safetensors(path: Path) -> Fields:
    try:
        arrays, metadata = map_arrays(path)
    except CorruptFile as error:
        raise UserError(f"{path} cannot be read as .safetensors: {error}") from None
    fields: dict[str, Any] = dict(arrays)
    for name in _WORDS:
        if name in metadata:
            fields[name] = metadata[name]
    for name in _TEXTS:
        if name in metadata:
            try:
                fields[name] = parse_json(metadata[name])
            except ValueError:
                raise UserError(f"{path}: '{name}' in its metadata is not a JSON list") from None
    return fields


def _known(name: str) -> bool:
    return is_known(name) or is_score_field(name)


def check(run: ExternalRun, kind: str) -> None:
    """Reject a run whose arrays are inconsistent or not finite.

    Raises:
        UserError: They are; names the file and the axis.
    """
    check_run(run, kind)
    if run.representations is not None:
        check_finite(run.origin, run.representations)
