"""Details of lighteval: `details_TASK|SHOTS_TIME.parquet`, one row per document and way of asking.

Read from version 0.13.0 (`lighteval/logging/info_loggers.py`, `logging/evaluation_tracker.py`, `tasks/requests.py` and
`models/model_output.py`). A row has `doc` (query, choices, gold_index, id), `metric` (scores by name) and
`model_response` (text, a text per sample; logprobs, one per choice, after which those without context may follow;
input). Versions before 0.11 wrote `predictions` in the place of `model_response`: log-likelihoods or texts in several
forms (0.8.1 read).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.external.logs.log import Example, Log, mean
from steadytune.external.logs.places import place_of
from steadytune.files import sha256
from steadytune.tasks.table import Table

MAKER = "lighteval"
_COLUMNS = {"doc", "metric", "model_response"}
_OLD = {"predictions", "gold_index", "metrics", "full_prompt"}
_SHOTS = re.compile(r"(?P<task>.+)\|(?P<shots>\d+)")
# Made of the log-likelihoods of all examples together.
_NO_MEAN = re.compile(r"ppl|perplexity|bits_per_byte")
_SHOWN = 400


def is_details(columns: Mapping[str, Any]) -> bool:
    """Return whether a table with these columns is one of details, of whatever version."""
    return columns.keys() >= _COLUMNS or columns.keys() >= _OLD


def read_details(path: Path, table: Table) -> Log:
    """Read a file of details.

    Raises:
        UserError: An older version wrote it, or a row lacks what the format has; names the row.
    """
    if not table.columns.keys() >= _COLUMNS:
        raise UserError(
            f"{path} is of lighteval before 0.11, whose details have no fixed form: evaluate again with 0.11"
        )
    seen: Counter[tuple[str, str]] = Counter()
    parts: dict[str, list[Example]] = {}
    for at, cells in enumerate(
        zip(*(table.columns[name] for name in ("doc", "metric", "model_response")), strict=True)
    ):
        doc, scores, response = cells
        if not all(isinstance(cell, dict) for cell in (doc, scores, response)):
            raise UserError(f"{table.where(at)}: 'doc', 'metric' and 'model_response' must be records")
        example = _example(doc, scores, response, at)
        seen[example.form, example.name] += 1
        if seen[example.form, example.name] > 1:
            raise UserError(f"{table.where(at)}: document {example.name} occurs twice: one file must hold one run")
        parts.setdefault(example.form, []).append(example)
    place = place_of(path)
    task = "" if place is None else place.task
    shots = _SHOTS.fullmatch(task)
    return Log(
        maker=MAKER,
        task=task if shots is None else shots["task"],
        parts={name: tuple(examples) for name, examples in parts.items()},
        what="way of asking",
        facts={} if shots is None else {"few-shot examples": shots["shots"]},
        average=_average,
        stated=True,
    )


def _average(name: str, values: Sequence[Any]) -> float | None:
    found = None if _NO_MEAN.search(name) else mean(name, values)
    # Of what is no share it is not known that it is a mean.
    return found if found is not None and all(0 <= float(value) <= 1 for value in values) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _example(doc: Mapping[str, Any], scores: Mapping[str, Any], response: Mapping[str, Any], at: int) -> Example:
    choices = [str(choice) for choice in _list(doc.get("choices"))]
    query, gold = str(doc.get("query") or ""), doc.get("gold_index")
    golds = [one for one in (gold if isinstance(gold, list) else [gold]) if isinstance(one, int)]
    prompt = response.get("input")
    common: dict[str, Any] = {
        "name": str(doc.get("id") or at),
        "content": sha256(json.dumps([query, choices, golds]).encode()),
        "prompt": "" if prompt is None else sha256(json.dumps(prompt, default=str).encode()),
        "shown": query[-_SHOWN:],
        "scores": {name: value for name, value in scores.items() if value is not None},
    }
    texts = _list(response.get("text_post_processed")) or _list(response.get("text"))
    outputs = [one for one in _list(response.get("logprobs")) if isinstance(one, (int, float))]
    if texts:
        targets = [choices[one] for one in golds if 0 <= one < len(choices)]
        return Example(**common, text=str(texts[0] or ""), targets=tuple(targets), several=len(texts))
    if len(choices) > 1 and len(outputs) in (len(choices), 2 * len(choices)):
        right = golds[0] if len(golds) == 1 and 0 <= golds[0] < len(choices) else None
        return Example(
            **common, choices=tuple(choices), outputs=tuple(map(float, outputs[: len(choices)])), golds=(right,)
        )
    return Example(**common)
