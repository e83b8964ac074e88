"""Recording a run that was trained elsewhere, so that `steadytune measure` and `read_runs` can take it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steadytune.errors import UserError, unknown_name
from steadytune.external.building import read_scores
from steadytune.external.read import check
from steadytune.external.run import ExternalRun
from steadytune.files import Arrays, CorruptFile, map_arrays, write_arrays
from steadytune.records.checks import inferred_kind, read_array, read_list


def record_run(
    path: str | Path,
    *,
    logits: Any = None,
    probabilities: Any = None,
    predictions: Any = None,
    labels: Any = None,
    groups: Any = None,
    representations: Any = None,
    scores: float | Mapping[str, float] | None = None,
    kind: str | None = None,
    label_names: Sequence[str] | None = None,
    ids: Sequence[Any] | None = None,
    texts: Sequence[str] | None = None,
    examples: str | None = None,
    seed: int | None = None,
    status: str | None = None,
    reason: str | None = None,
    generations: Sequence[str] | None = None,
    references: Sequence[str | Sequence[str]] | None = None,
    token_logits: Any = None,
    token_mask: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write one run into a .safetensors file, whole or not at all.

    Arrays may be NumPy or torch, on any device. They are stored in the type that they have, bfloat16 as float32; half
    precision is enough for representations.

    Args:
        path: Where to; the folder is made.
        logits: (N, C), for a regression its predictions (N, 1).
        probabilities: (N, C), in the place of logits.
        predictions: (N,) predicted classes, where neither logits nor probabilities are known.
        labels: (N,) class numbers, for a regression targets.
        groups: (N,) whole numbers: examples of one number belong together, such as questions on one passage.
        representations: (L, N, D), or (N, D) for one layer.
        scores: The run's score, or several by name.
        kind: Name of the kind of task, such as "regression"; needed where the arrays do not tell.
        label_names: Name of each class.
        ids: N names of the examples: runs over other examples, or in another order, are then told apart.
        texts: N texts that a report may show.
        examples: Digest of the examples, in the place of ids.
        seed: What the run was trained with; names it in tables.
        status: "diverged" of a run that ended without outputs, which then counts as lost.
        reason: Why it did.
        generations: N texts that the model wrote.
        references: N texts that it should write, or for an example several of which any will do.
        token_logits: (N, T, V) logits over the next token, all runs reading the same references (teacher forcing).
        token_mask: (N, T), true at tokens that are no padding.
        overwrite: Whether a file of another seed, or of other examples, may be replaced; one of the same may.

    Raises:
        UserError: The file is there with another run, or arrays do not fit together, or are not what they must be;
            names the axis.
    """
    path = Path(path)
    check_place(path)
    if not overwrite and (other := another_run(path, seed, examples)):
        raise UserError(other)
    given = {
        "logits": logits,
        "probabilities": probabilities,
        "predictions": predictions,
        "labels": labels,
        "groups": groups,
        "representations": representations,
    }
    arrays: dict[str, Any] = {
        name: read_array(value, f"{path}: {name}") for name, value in given.items() if value is not None
    }
    if token_logits is not None:
        arrays |= _tokens(token_logits, token_mask)
    named = scores if isinstance(scores, Mapping) else {} if scores is None else {"score": scores}
    if status not in (None, "diverged"):
        raise unknown_name("status", str(status), ("diverged",))
    words: dict[str, Any] = {"kind": kind, "examples": examples, "seed": None if seed is None else str(seed)}
    words |= {"status": status, "reason": reason}
    lists = {
        "label_names": label_names,
        "ids": ids,
        "texts": texts,
        "generations": generations,
        "references": references,
    }
    listed: dict[str, Any] = {
        name: tuple(map(_text, read_list(value, f"{path}: {name}")))
        for name, value in lists.items()
        if value is not None
    }
    fields = {"scores" if name == "score" else f"scores.{name}": value for name, value in named.items()}
    given_words = {name: value for name, value in words.items() if value is not None}
    run = ExternalRun(str(path), scores=read_scores(str(path), fields), **arrays, **listed, **given_words)
    if run.representations is not None:
        arrays["representations"] = run.representations
    if (
        status is None
        and run.outputs is None
        and run.predictions is None
        and run.representations is None
        and run.generations is None
        and run.token_logits is None
    ):
        raise UserError(
            f"{path}: nothing to record: give logits, probabilities, predictions, representations or generations"
        )
    if status is None:
        check(run, inferred_kind(generations, token_logits) if kind is None else kind)
    metadata = {name: json.dumps(value, ensure_ascii=False) for name, value in listed.items()}
    metadata |= given_words
    stored = {"scores" if name == "score" else f"scores.{name}": np.float64(v) for name, v in run.scores.items()}
    try:
        write_arrays(path, arrays | {name: np.asarray(value) for name, value in stored.items()}, metadata or None)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    return path


def _text(value: Any) -> str | tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def check_place(path: Path) -> None:
    """Refuse a path that no run can be written to, before anything is computed; nothing is made.

    Raises:
        UserError: It has another suffix, is a folder, or lies where this process may not write.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: the name of a recorded run must end in .safetensors")
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot write into {folder}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the path of a file")


def another_run(path: Path, seed: int | None, examples: str | None) -> str | None:
    """Say that a file holds another run than the one that is to be written there, if it does.

    Args:
        path: The file; it may be missing.
        seed: Of the run, or None where nobody says.
        examples: Digest of its examples, or None.
    """
    if not path.is_file():
        return None
    way_out = "give each run its own path, or use overwrite=True"
    try:
        _, metadata = map_arrays(path)
    except CorruptFile:
        return f"{path} exists and is not a run: {way_out}"
    held = metadata.get("seed")
    if held is not None and seed is not None and held != str(seed):
        return f"{path} contains the run with seed {held}, but this one has seed {seed}: {way_out}"
    held = metadata.get("examples")
    if held is not None and examples is not None and held != examples:
        return f"{path} contains a run on other examples: {way_out}"
    return None


def _tokens(token_logits: Any, token_mask: Any) -> Arrays:
    """Return the tokens that count, of all examples in a row, and how many belong to each."""
    logits = read_array(token_logits, "token_logits")
    if logits.ndim != 3:
        raise UserError(f"token_logits must have shape (examples, tokens, words), not {logits.shape}")
    mask = np.ones(logits.shape[:2], bool) if token_mask is None else read_array(token_mask, "token_mask").astype(bool)
    if mask.shape != logits.shape[:2]:
        raise UserError(
            f"token_mask must have shape {logits.shape[:2]}, the first two axes of token_logits, not {mask.shape}"
        )
    return {"token_logits": logits[mask], "token_counts": mask.sum(axis=1)}
