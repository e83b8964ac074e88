"""Samples of lm-evaluation-harness: `samples_TASK_TIME.jsonl`, one line per document and filter.

Read: version 0.4.13 (`lm_eval/evaluator.py`, `loggers/evaluation_tracker.py`, `api/task.py`), and files that it wrote.
A line has `doc_id`, `doc`, `target` (as text), `arguments` (of each request the context and the continuation, or the
settings of a generation), `resps` (of each request the answers, one per repetition), `filtered_resps` (of each request
what a filter made of them), `filter`, `metrics` (the names of the scores, which are keys themselves) and the digests
`doc_hash` and `prompt_hash`. Log-likelihoods are pairs (log-likelihood, whether it is what the model would say),
spelled as texts. Recalled: older versions have numbers in the pairs, lists as `arguments`, no `filter`, no `metrics`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.external.logs.log import RIGHT, Example, Log, mean
from steadytune.external.logs.places import place_of
from steadytune.external.source import number, read_list
from steadytune.files import read_json, sha256
from steadytune.tasks.table import Table

MAKER = "lm-evaluation-harness"
_OWN = (
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
)  # fmt: skip
_BY_LENGTH = "acc_norm"
_SHOWN = 400


def is_samples(columns: Mapping[str, Any]) -> bool:
    """Return whether a table with these columns is one of samples."""
    return {"doc_id", "filtered_resps"} <= columns.keys() and not {"doc", "resps", "arguments"}.isdisjoint(columns)


def read_samples(path: Path, table: Table) -> Log:
    """Read a file of samples.

    Raises:
        UserError: A line lacks what the format has, or a document occurs twice; names the line.
    """
    rows = [{name: values[at] for name, values in table.columns.items()} for at in range(len(table))]
    seen: Counter[tuple[str, Any]] = Counter()
    parts: dict[str, list[Example]] = {}
    for at, row in enumerate(rows):
        part = row.get("filter")
        for name, allowed in (("doc_id", (int, str)), ("filter", (str, type(None)))):
            if not isinstance(row.get(name), allowed):
                raise UserError(f"{table.where(at)}: '{name}' is {row.get(name)!r:.60}, which is no name")
        seen[part or "", row["doc_id"]] += 1
        place = seen[part or "", row["doc_id"]]
        if part is not None and place > 1:
            raise UserError(f"{table.where(at)}: document {row['doc_id']} occurs twice: one file must hold one run")
        # Older versions repeat the documents without a name of the filter.
        parts.setdefault(part if part is not None else "" if place == 1 else str(place), []).append(
            _example(row, table.where(at))
        )
    place_in_name = place_of(path)
    found = {name: tuple(examples) for name, examples in parts.items()}
    by_length = _by_length(next(iter(found.values()))) if len(found) == 1 else None
    return Log(
        maker=MAKER,
        task="" if place_in_name is None else place_in_name.task,
        parts=found if by_length is None else {"acc": next(iter(found.values())), _BY_LENGTH: by_length},
        what="filter" if by_length is None else "score",
        facts=_facts(path),
        notes=_repeats(table),
        average=average,
    )


def _repeats(table: Table) -> tuple[str, ...]:
    """Return a note if every request was answered several times, of which a filter makes what is measured."""
    answers = [one for requests in table.columns.get("resps", ()) if isinstance(requests, list) for one in requests]
    most = max((len(one) for one in answers if isinstance(one, list)), default=1)
    if most < 2:
        return ()
    return (f"Every document was answered {most} times; what is measured is what the filter made of that.",)


def average(name: str, values: Sequence[Any]) -> float | None:
    """Return the score of a run as the harness makes it of the examples' scores; None for what it keeps to itself.

    Shares are means. Perplexities are made of log-likelihoods, with their numbers of words or bytes as pairs.
    """
    if name in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        pairs = [value for value in values if isinstance(value, (list, tuple)) and len(value) == 2]
        if len(pairs) < len(values) or not pairs:
            return None
        per_unit = -sum(float(one) for one, _ in pairs) / sum(float(size) for _, size in pairs)
        return per_unit / math.log(2) if name == "bits_per_byte" else _exp(per_unit)
    found = mean(name, values)
    if found is None or name == "perplexity":
        return None if found is None else _exp(-found)
    # Of what is no share it is not known that it is a mean.
    return found if all(0 <= float(value) <= 1 for value in values) else None


def _exp(value: float) -> float | None:
    try:
        return math.exp(value)
    except OverflowError:
        return None


def _example(row: Mapping[str, Any], where: str) -> Example:
    requests = _requests(row.get("arguments"))
    answers = row["filtered_resps"]
    if not isinstance(answers, list) or not answers:
        raise UserError(f"{where}: 'filtered_resps' must be a list of answers, not {answers!r:.60}")
    names = row.get("metrics")
    names = names if isinstance(names, list) else [name for name in row if name not in _OWN]
    scores = {name: row[name] for name in names if isinstance(name, str) and row.get(name) is not None}
    prompt = str(requests[0][0]) if requests and requests[0] else ""
    common: dict[str, Any] = {
        "name": str(row["doc_id"]),
        "content": str(
            row.get("doc_hash") or (sha256(json.dumps(row["doc"], sort_keys=True).encode()) if row.get("doc") else "")
        ),
        "prompt": str(row.get("prompt_hash") or (sha256(prompt.encode()) if prompt else "")),
        "shown": prompt[-_SHOWN:],
        "scores": scores,
    }
    generates = bool(requests) and len(requests[0]) > 1 and isinstance(requests[0][1], Mapping)
    pairs = [None if generates else _pair(answer) for answer in answers]
    likelihoods = [pair for pair in pairs if pair is not None]
    if len(likelihoods) == len(answers) > 1:
        return _choice(row, common, requests, likelihoods)
    if len(likelihoods) == len(answers) or (requests and len(requests[0]) == 1):
        # A continuation, or a text, and its log-likelihood: nothing was chosen or written.
        return Example(**common)
    first = answers[0]
    several = len(first) if isinstance(first, list) else 1
    text = first[0] if isinstance(first, list) and first else "" if isinstance(first, list) else first
    target = row.get("target")
    listed = target if isinstance(target, list) else read_list(target)
    return Example(
        **common,
        text="" if text is None else str(text),
        targets=tuple(map(str, listed)) if listed else () if target is None else (str(target),),
        several=max(1, several),
    )


def _choice(row: Mapping[str, Any], common: dict[str, Any], requests: list[list[Any]], outputs: list[float]) -> Example:
    # With acc_mutual_info the same choices follow without a context.
    half = len(outputs) // 2
    if "acc_mutual_info" in common["scores"] and len(outputs) == 2 * half and len(requests) == len(outputs):
        outputs, requests = outputs[:half], requests[:half]
    texts = [str(request[1]) if len(request) > 1 else "" for request in requests]
    # Choices that stand in the context, as in WinoGrande, are not told from the rest of it.
    texts = texts if len(texts) == len(outputs) and len(set(texts)) > 1 else []
    predicted = max(range(len(outputs)), key=outputs.__getitem__)
    return Example(
        **common,
        choices=tuple(texts),
        outputs=tuple(outputs),
        golds=_golds(row, texts, len(outputs), predicted),
    )


def _by_length(examples: Sequence[Example]) -> tuple[Example, ...] | None:
    """Return what was chosen by the log-likelihood per character, as acc_norm counts it.

    Returns:
        The same examples with that choice alone, or None unless it is counted and what it counts is reproduced.
    """
    if not all(one.outputs and one.choices and one.scores.get(_BY_LENGTH) in (0, 1) for one in examples):
        return None
    # The harness puts a space before a choice, which is no part of it.
    for cut in (1, 0):
        found = []
        for one in examples:
            lengths = [len(text) - (cut if text.startswith(" ") else 0) for text in one.choices]
            if not all(lengths):
                break
            shares = [output / length for output, length in zip(one.outputs or (), lengths, strict=True)]
            chosen = max(range(len(shares)), key=shares.__getitem__)
            if not any((chosen == gold) == (one.scores[_BY_LENGTH] == 1) for gold in one.golds if gold is not None):
                break
            scores = {name: value for name, value in one.scores.items() if name not in ("acc", _BY_LENGTH)}
            found.append(
                replace(one, outputs=None, chosen=chosen, scores={"accuracy": one.scores[_BY_LENGTH], **scores})
            )
        else:
            return tuple(found)
    return None


def _golds(row: Mapping[str, Any], texts: list[str], size: int, predicted: int) -> tuple[int | None, ...]:
    """Return the right choice in four readings, each None if it says nothing.

    They are: of the pair that a score keeps, the target as a number, as a text, and what follows from the score if
    there are two choices.
    """
    pair = next((row[name] for name in ("f1", "mcc") if isinstance(row.get(name), list) and len(row[name]) == 2), None)
    target = "" if row.get("target") is None else str(row["target"])
    by_number = int(target) if target.strip().isdecimal() else None
    found = [at for at, text in enumerate(texts) if text.strip() == target.strip()]
    right = next((row[name] for name in RIGHT if row.get(name) in (0, 1)), None)
    by_score = None if right is None or size != 2 else predicted if right == 1 else 1 - predicted
    readings = (
        pair[0] if pair is not None and isinstance(pair[0], int) else None,
        by_number,
        found[0] if len(found) == 1 else None,
        by_score,
    )
    return tuple(gold if gold is not None and 0 <= gold < size else None for gold in readings)


def _requests(arguments: Any) -> list[list[Any]]:
    """Return the arguments of each request: {"gen_args_0": {"arg_0": ..., "arg_1": ...}}, or lists of them."""
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if not isinstance(arguments, list):
        return []
    return [
        list(one.values()) if isinstance(one, Mapping) else one if isinstance(one, list) else [one] for one in arguments
    ]


def _pair(answer: Any) -> float | None:
    """Return the log-likelihood of a pair with whether the model would say it, or None for anything else."""
    if not isinstance(answer, (list, tuple)) or len(answer) != 2:
        return None
    value, greedy = answer
    if str(greedy) not in ("True", "False"):
        return None
    if isinstance(value, str) and value.strip().lower() in ("nan", "inf", "-inf"):
        return float(value)
    return number(value)


def _facts(path: Path) -> dict[str, str]:
    """Return what the results of the same moment say of the task."""
    place = place_of(path)
    beside = None if place is None else path.with_name(f"results_{place.time}.json")
    if place is None or beside is None or not beside.is_file():
        return {}
    try:
        results = read_json(beside)
    except (UserError, ValueError):
        # What it would say is a check more, not a part of the run.
        return {}
    facts = {}
    for key, name in (("n-shot", "few-shot examples"), ("versions", "version of the task")):
        held = results.get(key) if isinstance(results, dict) else None
        if isinstance(held, dict) and held.get(place.task) is not None:
            facts[name] = str(held[place.task])
    return facts
