"""Files of runs trained elsewhere: .npz and .safetensors hold arrays; .csv, .tsv, .jsonl, .parquet a row per example.

No pickle is loaded. Arrays of a .safetensors file stay on disk until they are used, and .npz files are read in the type
that they are stored in.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.external.run import ExternalRun
from steadytune.external.table import read_columns
from steadytune.files import CorruptFile, map_arrays
from steadytune.records.checks import Kind, check_finite, check_kind, check_run, read_array

ARRAY_SUFFIXES = (".npz", ".safetensors")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_LISTED = ", ".join((*ARRAY_SUFFIXES, *TABLE_SUFFIXES))

_ARRAYS = (
    "logits",
    "probabilities",
    "predictions",
    "labels",
    "groups",
    "representations",
    "token_logits",
    "token_counts",
)
_TEXTS = ("label_names", "ids", "texts", "generations", "references")
_WORDS = ("kind", "examples", "seed")
_CONTENT = ("logits", "probabilities", "predictions", "representations", "generations", "token_logits")

Fields = Mapping[str, Any]


def run_files(paths: list[Path]) -> list[Path]:
    """Return the files of the runs: those given, or those in the one folder given, numbers in their names in order.

    Raises:
        UserError: A path is not there, a folder stands among files or holds none, there are fewer than two runs, or one
            is given twice.
    """
    if not paths:
        raise UserError("no run is given: instability needs at least two that differ in their seed")
    for path in paths:
        _check_exists(path)
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        paths = sorted((path for path in folder.iterdir() if _suffix(path) and path.name[0] != "."), key=_in_order)
        if not paths:
            raise UserError(f"{folder} holds no study.yaml and no files of runs ({_LISTED})")
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder: measure one folder alone, or files ({_LISTED})")
    resolved = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, resolved, strict=True) if resolved.count(place) > 1]:
        raise UserError(f"{twice[0]} is given twice: a run is at distance 0 from itself")
    if len(paths) < 2:
        raise UserError(f"{paths[0]} is one run: instability needs at least two that differ in their seed")
    return paths


def read_run(path: Path) -> ExternalRun:
    """Read one run.

    Raises:
        UserError: The file cannot be read, or its arrays are not what they must be; names the file and the axis.
    """
    _check_exists(path)
    suffix = _suffix(path)
    if suffix is None:
        raise UserError(f"{path}: files of runs end in {_LISTED}; the tables also in .gz")
    fields = {".npz": _npz, ".safetensors": _safetensors}.get(suffix, read_columns)(path)
    return _run(str(path), fields)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise UserError(f"no file or folder {path}")


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    tables = tuple(f"{suffix}{packed}" for suffix in TABLE_SUFFIXES for packed in ("", ".gz"))
    found = [suffix for suffix in (*ARRAY_SUFFIXES, *tables) if name.endswith(suffix)]
    return found[0] if found else None


def run_name(path: Path) -> str:
    """Return the name of a file without its suffix."""
    return path.name[: -len(_suffix(path) or "") or None]


def _in_order(path: Path) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _npz(path: Path) -> Fields:
    wrong = f"{path} cannot be read as .npz without pickles"
    # Of what is no archive NumPy would say that it is a pickle, and how to load it.
    if not zipfile.is_zipfile(path):
        raise UserError(f"{wrong}: it is no whole archive of arrays, as numpy.savez writes it")
    try:
        with np.load(path, allow_pickle=False) as file:
            # What is not known is not read: it may be large.
            return {name: file[name] if _known(name) else None for name in file}
    except Exception as error:  # a file from anywhere can break the reader of zip archives in many ways
        reason = " ".join(str(error).split())[:120]
        reason = "it holds Python objects" if "allow_pickle" in reason else reason
        raise UserError(f"{wrong}: {reason}") from None


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
                fields[name] = json.loads(metadata[name])
            except ValueError:
                raise UserError(f"{path}: '{name}' in its metadata is not a list in JSON") from None
    return fields


def _known(name: str) -> bool:
    return name in (*_ARRAYS, *_TEXTS, *_WORDS, "scores") or name.startswith("scores.")


def _run(origin: str, fields: Fields) -> ExternalRun:
    if not any(name in fields for name in _CONTENT):
        raise UserError(
            f"{origin}: no 'logits', 'probabilities', 'representations' or 'generations'; "
            f"it holds {', '.join(fields) or 'nothing'}"
        )
    arrays: dict[str, Any] = {name: read_array(fields[name], f"{origin}: {name}") for name in _ARRAYS if name in fields}
    texts: dict[str, Any] = {name: _texts(origin, name, fields[name]) for name in _TEXTS if name in fields}
    words: dict[str, Any] = {name: str(fields[name]) for name in _WORDS if name in fields}
    if "kind" in words:
        check_kind(origin, words["kind"])
    if "representations" in arrays and arrays["representations"].ndim == 2:
        arrays["representations"] = arrays["representations"][None]
    return ExternalRun(origin, scores=read_scores(origin, fields), **arrays, **texts, **words)


def check(run: ExternalRun, kind: Kind) -> None:
    """Refuse a run whose arrays do not fit together or are not finite.

    Raises:
        UserError: Naming the file and the axis.
    """
    check_run(run, kind)
    if run.representations is not None:
        check_finite(run.origin, run.representations)


def _texts(origin: str, name: str, values: Any) -> tuple[str, ...]:
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(listed, list) or any(isinstance(value, (list, dict)) for value in listed):
        raise UserError(f"{origin}: '{name}' must be one text per example")
    return tuple(map(str, listed))


def read_scores(origin: str, fields: Fields) -> dict[str, float]:
    """Read the score of a run, or several by name, from "scores" and "scores.NAME".

    Raises:
        UserError: One is not a single finite number; names the file.
    """
    scores = {}
    for name in fields:
        if name == "scores" or name.startswith("scores."):
            value = read_array(fields[name], f"{origin}: '{name}'")
            if value.size != 1 or not np.isfinite(value).all():
                raise UserError(f"{origin}: '{name}' must be one finite number, the score of the run")
            scores[name.removeprefix("scores.") if name != "scores" else "score"] = float(value.item())
    return scores
