"""Reading comprehension as classification: MultiRC's and ReCoRD's rows, one per answer, with question and passage."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.tasks.official import flat_multirc, flat_record
from steadytune.tasks.table import Table

_PLACEHOLDER = "@placeholder"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Grouped(NamedTuple):
    """Rows that a classifier reads one by one and a metric scores by question.

    Attributes:
        table: The rows.
        questions: (N,) question of each row, or None.
        credit: (N,) credit for choosing the row for its question, or None.
        groups: (N,) passage of each row, or None: rows on the same passage are not independent.
    """

    table: Table
    questions: NDArray[np.int64] | None = None
    credit: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None


def ungrouped(table: Table, label: str) -> Grouped:
    """Return the rows unchanged."""
    return Grouped(table)


def group_multirc(table: Table, label: str) -> Grouped:
    """Group answers by question and paragraph: by the hub's indices, or if a file has none by the texts."""
    table = flat_multirc(table, label)
    paragraphs: list[Hashable] = list(table.column("paragraph"))
    questions: list[Hashable] = list(table.column("question"))
    if "idx" in table.columns and all(isinstance(index, dict) for index in table.columns["idx"]):
        paragraphs = [index.get("paragraph") for index in table.columns["idx"]]
        questions = [index.get("question") for index in table.columns["idx"]]
    pairs = list(zip(paragraphs, questions, strict=True))
    return Grouped(table, _numbered(pairs), groups=_numbered(paragraphs))


def _numbered(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    number = {key: position for position, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def group_record(table: Table, label: str) -> Grouped:
    """Turn each ReCoRD query into one row per entity of the passage, with the entity inserted into the query.

    A row is positive if its entity equals one of the answers, and its credit is the best token F1 with one of them,
    both after SQuAD's normalisation (Zhang et al. 2018, the official evaluation script).

    Args:
        table: Columns `passage`, `query`, `entities` and `answers`.
        label: Name of the label column to make.
    """
    table = flat_record(table)
    columns: dict[str, list[Any]] = {"passage": [], "query": [], label: []}
    source: list[int] = []
    credit: list[float] = []
    names = ("passage", "query", "entities", "answers")
    for row, (passage, query, entities, answers) in enumerate(zip(*map(table.column, names), strict=True)):
        text = _plain(passage)
        gold = [normalise_answer(answer) for answer in answers]
        for entity in dict.fromkeys(entities):
            columns["passage"].append(text)
            columns["query"].append(query.replace(_PLACEHOLDER, entity))
            columns[label].append(int(normalise_answer(entity) in gold))
            credit.append(max((token_f1(normalise_answer(entity), answer) for answer in gold), default=0.0))
            source.append(row)
    numbers = [row + 1 if table.numbers is None else table.numbers[row] for row in source]
    return Grouped(
        replace(table, columns=columns, numbers=numbers),
        np.array(source, dtype=np.int64),
        np.array(credit),
        _numbered(columns["passage"]),
    )


def normalise_answer(text: str) -> str:
    """Convert to lower case, remove punctuation and articles, and collapse white space (SQuAD's evaluation script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(prediction: str, answer: str) -> float:
    """Return the F1 of the words shared by two normalised answers, counted with repetition; 0 if none."""
    given, wanted = prediction.split(), answer.split()
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted)) if shared else 0.0


def _plain(passage: str) -> str:
    # The summary points of a ReCoRD passage follow it, each after a line "@highlight" and mostly without a full stop.
    return re.sub(r"([.?!\"'])?\s*@highlight\s*", lambda mark: f"{mark[1] or '.'} ", passage).strip()
