"""Logs of Inspect: `.eval` and `.json`, one model on one task, read with the reader of `inspect_ai` itself.

Read with version 0.3.285. A sample has an id and an epoch, input, choices, target, output, and of each scorer a score:
a value ("C" right, "I" wrong, "P" in part, "N" no answer, or a number, or several by name) and the answer that was
scored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.external.logs.log import Example, Log
from steadytune.files import check_regular, sha256

MAKER = "Inspect"
_MISSING = (
    "is a log of Inspect, which its own package reads: pip install 'steadytune[eval-logs]', in another environment if "
    "versions conflict"
)
_VALUES = {"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_HEAD = 4096
_JSON = re.compile(rb'\{\s*"version":\s*\d+,\s*"status":')
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN = 400


def is_inspect(path: Path) -> bool:
    """Return whether a file is a log of Inspect, by its suffix, or by how it begins if that is .json."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() == ".eval"
    check_regular(path)
    with path.open("rb") as file:
        return _JSON.match(file.read(_HEAD).lstrip()) is not None


def read_inspect(path: Path) -> Log:
    """Read a log.

    Raises:
        UserError: The package is missing, or cannot read it, or the log has no samples.
    """
    try:
        from inspect_ai.log import read_eval_log
    except ImportError:
        raise UserError(f"{path} {_MISSING}") from None
    try:
        log = read_eval_log(str(path))
    except Exception as error:  # a file from anywhere can break the reader in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read as a log of Inspect: {reason}") from None
    return log_of(path, log)


def log_of(path: Path, log: Any) -> Log:
    """Return what an `EvalLog` holds.

    Raises:
        UserError: It has no scored samples.
    """
    samples = log.samples or []
    scored = [sample for sample in samples if sample.scores]
    if not scored:
        raise UserError(f"{path} holds no scored samples (its status is {log.status}): evaluate again")
    notes = []
    if log.status != "success":
        notes.append(f"{path.name} is of an evaluation that ended early: its status is {log.status}.")
    scorers = list(dict.fromkeys(name for sample in scored for name in sample.scores))
    epochs = max(sample.epoch for sample in scored)
    if epochs > 1:
        notes.append(
            f"Each sample was answered in {epochs} epochs: each answer is an example, and those of one sample are "
            "resampled together."
        )
    return Log(
        maker=MAKER,
        task=str(log.eval.task),
        parts={name: _part(scored, name, epochs) for name in scorers},
        what="scorer",
        model=str(log.eval.model),
        facts=_facts(log),
        notes=tuple(notes),
    )


def _part(scored: Sequence[Any], scorer: str, epochs: int) -> tuple[Example, ...]:
    samples = [sample for sample in scored if scorer in sample.scores]
    chooses = _chooses(samples, scorer)
    values = [_number(sample.scores[scorer].value) for sample in samples]
    share = all(value is None or 0 <= value <= 1 for value in values)
    return tuple(_example(sample, scorer, epochs, chooses, share) for sample in samples)


def _facts(log: Any) -> dict[str, str]:
    arguments = json.dumps(log.eval.task_args or {}, sort_keys=True, default=str)
    return {
        "version of the task": str(log.eval.task_version),
        "arguments of the task": arguments,
        "epochs": str(log.eval.config.epochs or 1),
    }


def _example(sample: Any, scorer: str, epochs: int, chooses: bool, share: bool) -> Example:
    score = sample.scores[scorer]
    targets = _targets(sample)
    choices = tuple(map(str, sample.choices or ()))
    asked = [sample.input] if isinstance(sample.input, str) else [message.text for message in sample.input]
    name = str(sample.id)
    common: dict[str, Any] = {
        "name": name if epochs == 1 else f"{name} / {sample.epoch}",
        "content": sha256(json.dumps([asked, choices, targets]).encode()),
        "prompt": _prompt(sample),
        "shown": "\n".join(asked)[-_SHOWN:],
        "scores": _scores(sample, scorer, share),
        "group": name,
    }
    if chooses:
        answer = (score.answer or "").strip()
        chosen = _LETTERS.index(answer) if len(answer) == 1 else len(choices)
        return Example(**common, choices=choices, chosen=chosen, golds=(_LETTERS.index(targets[0]),))
    answer = score.answer if score.answer is not None else sample.output.completion
    return Example(**common, text=str(answer), targets=tuple(one for one in targets if one))


def _prompt(sample: Any) -> str:
    """Return the digest of the messages before the first that the model wrote."""
    read = []
    for message in sample.messages or ():
        if message.source == "generate":
            break
        read.append([message.role, message.text])
    return sha256(json.dumps(read).encode()) if read else ""


def _targets(sample: Any) -> list[str]:
    return [sample.target] if isinstance(sample.target, str) else list(map(str, sample.target))


def _chooses(samples: Sequence[Any], scorer: str) -> bool:
    """Return whether a scorer compares letters of choices: one is right, and one or several or none are the answer."""

    def is_choice(sample: Any) -> bool:
        letters = _LETTERS[: len(sample.choices or ())]
        targets = _targets(sample)
        answers = [part.strip() for part in (sample.scores[scorer].answer or "").split(",") if part.strip()]
        one = len(targets) == 1 and len(targets[0]) == 1 and targets[0] in letters
        return one and all(len(answer) == 1 and answer in letters for answer in answers)

    return all(map(is_choice, samples))


def _scores(sample: Any, first: str, share: bool) -> dict[str, float]:
    """Return the scores of all scorers; the first one is the accuracy if it is a share."""
    found: dict[str, float] = {}
    for name in [first, *(name for name in sample.scores if name != first)]:
        value = sample.scores[name].value
        listed: Mapping[str, Any] = value if isinstance(value, Mapping) else {"": value}
        for part, one in listed.items():
            read = _number(one)
            if read is not None:
                found[f"{name}/{part}" if part else "accuracy" if share and name == first else name] = read
    return found


def _number(value: Any) -> float | None:
    """Return a value as Inspect's `value_to_float` does; None for what is not scored."""
    if isinstance(value, str):
        if value.lower() in _VALUES and (len(value) > 1 or value.isupper()):
            return _VALUES[value.lower()]
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (bool, int, float)) and math.isfinite(value) else None
