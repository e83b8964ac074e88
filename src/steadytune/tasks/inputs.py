"""Selection of a table's input columns: those with known names, or those named by the user.

A column with an unknown name is never an input if there is a known one. It may be the label in other words, and a model
that reads it is always right and always agrees with itself.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from steadytune.errors import UserError
from steadytune.tasks.layouts import COPA, WIC, WSC, Layout, pair, single
from steadytune.tasks.table import Table, is_number

TELLING = 0.8
"""Share of the majority answer's errors that a column must avoid to count as revealing the label; our choice.

For two equally frequent classes that is nine right answers in ten; for more classes, fewer."""
MOST_TELLING_VALUES = 50
_IDENTIFIERS = {"", "id", "idx", "index", "guid", "uid", "uuid", "pairid", "promptid", "captionid", "qid1", "qid2"}
_IDENTIFIERS |= {"__index_level_0__", "unnamed: 0", "url", "link", "split", "source", "lang", "language", "domain"}
_IDENTIFIERS |= {"genre", "author", "date", "timestamp", "user", "username", "filename", "old_index"}

_PAIRS = (
    COPA,
    WSC,
    WIC,
    pair("sentence1", "sentence2"),
    pair("premise", "hypothesis"),
    pair("question", "sentence"),
    pair("question1", "question2"),
    pair("passage", "question"),
    pair("question", "context"),
    pair("question", "answer"),
    pair("query", "passage"),
    pair("query", "document"),
    pair("text", "text_pair"),
    pair("text1", "text2"),
    pair("text_a", "text_b"),
    pair("sentence_a", "sentence_b"),
    pair("claim", "evidence"),
)
_TITLES = ("title", "headline", "subject", "review_title", "review_headline")
_BODIES = (
    *("sentence", "text", "review", "content", "tweet", "comment", "document", "body", "article", "message", "post"),
    *("question", "query", "passage", "context", "abstract", "description", "review_body", "review_text", "reviewtext"),
    *("utterance", "comment_text", "tweet_text", "sentence_text", "full_text", "selftext", "statement", "claim"),
    *("premise", "hypothesis", "sms", "email", "short_description", "response", "reply", "summary", "caption"),
    *("transcript", "dialogue", "conversation", "prompt", "evidence"),
)
# Besides the texts that were found, these are probably part of an example: a text, or what it asks about.
PARTS = {*_TITLES, *_BODIES, *(field for layout in _PAIRS for field in layout.fields)}
PARTS |= {"paragraph", "answer", "aspect", "topic", "target", "word", "lemma", "ending"}
_SPAN = re.compile(r"(^|_)span_?[12](_|$)")
_CONSTANT = 0.95
"""Share of one value above which a column says nothing about an example; our choice."""


def named_layout(columns: tuple[str, ...], label: str) -> Layout:
    """Return the layout of the columns named by the user.

    Raises:
        UserError: There are not one or two, or the label is among them.
    """
    if label in columns:
        raise UserError(f"task.columns: '{label}' is the label, not a text")
    if len(columns) not in {1, 2}:
        raise UserError(f"task.columns must name one or two text columns, not {len(columns)}")
    return single(*columns) if len(columns) == 1 else pair(*columns)


def infer_layout(table: Table, label: str) -> Layout:
    """Find the text columns of a table by name; a single text column may have any name.

    Raises:
        UserError: There is none, several are possible, the one found reveals the label, or a remaining column may
            belong to the input; names the option to set.
    """
    texts = [name for name in table.columns if name != label and _holds_text(table, name)]
    # A constant column is not a text of an example.
    texts = [name for name in texts if _varies(table, name)] or texts
    layout = _found_layout(table, label, texts)
    if layout in (COPA, WSC, WIC):
        return layout
    _check_telling(table, layout, label, texts)
    _check_whole(table, layout, label, texts)
    return layout


def _found_layout(table: Table, label: str, texts: Sequence[str]) -> Layout:
    for layout in _PAIRS:
        if label not in layout.fields and all(field in table.columns for field in layout.fields):
            return layout
    known = [name for name in texts if name.lower() in (*_TITLES, *_BODIES)]
    bodies = [name for name in known if name.lower() in _BODIES]
    if len(known) == 1:
        return single(*known)
    if len(known) == 2 and len(bodies) == 1:
        title = next(name for name in known if name not in bodies)
        return pair(title, *bodies)
    free = known or [name for name in texts if not is_identifier(name)]
    if len(free) == 1:
        return single(*free)
    raise _question(table, label, free)


def pair_fields(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of the first known pair that is contained in some names, ignoring case."""
    lower = {name.lower() for name in names}
    return next((layout.fields for layout in _PAIRS if lower.issuperset(layout.fields)), ())


def telling(table: Table, fields: Sequence[str], label: str) -> list[str]:
    """Return which of some columns reveal the label: few values, almost all of which occur with one label.

    Occasional duplicate texts reveal nothing: a revealing column has at most `MOST_TELLING_VALUES` values, each in
    five rows on average, or is the label in other words: the label also reveals the column.
    """
    labels = [_key(value) for value in table.columns.get(label, ())]
    return [field for field in fields if labels and _tells([_key(v) for v in table.columns[field]], labels)]


def is_identifier(name: str) -> bool:
    """Return whether a column's name suggests a number, source or property of an example rather than its text."""
    return name.lower() in _IDENTIFIERS or name.lower().endswith(("_id", "_url", "_parse"))


def _tells(values: list[Hashable], labels: list[Hashable]) -> bool:
    rows, classes, different = len(labels), len(set(labels)), len(set(values))
    if different < 2 or rows < 2 * different or _saved(values, labels) < TELLING:
        return False
    few = different <= MOST_TELLING_VALUES
    if few and (rows >= 5 * different or different == classes):
        return True
    return rows >= 5 * classes and _saved(labels, values) >= TELLING


def _saved(given: list[Hashable], asked: list[Hashable]) -> float:
    """Return the share of the majority answer's errors in one column that knowing another column avoids.

    It is the lambda of Goodman and Kruskal (1954), over the repeated values: of a score with many values
    few occur twice, so none predicts another. 0 if fewer than half of the rows have a repeated value.
    """
    seen: defaultdict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for one, other in zip(given, asked, strict=True):
        seen[one][other] += 1
    repeated = [counts for counts in seen.values() if counts.total() > 1]
    every = sum(repeated, Counter[Hashable]())
    kept = every.total()
    most = max(every.values(), default=0)
    if 2 * kept < len(given) or most == kept:
        return 0.0
    return (sum(max(counts.values()) for counts in repeated) - most) / (kept - most)


def _key(value: Any) -> Hashable:
    return value.strip().lower() if isinstance(value, str) else value if isinstance(value, Hashable) else repr(value)


def _check_telling(table: Table, layout: Layout, label: str, texts: Sequence[str]) -> None:
    """Reject a column that is probably the label in other words.

    The only column with the name of a text is not a guess: it is read, with a warning that it reveals the label.
    """
    found = telling(table, layout.fields, label)
    if not found:
        return
    told = telling(table, texts, label)
    others = [name for name in texts if name not in told and not is_identifier(name)]
    if not others and len(layout.fields) == 1 and layout.fields[0].lower() in _BODIES:
        return
    example = ", ".join(others[:2] or ["a", "b"])
    raise UserError(
        f"{table.origin}: column '{found[0]}' reveals the label '{label}': a model that reads it is right without "
        f"the text.\nName the columns to read with --set task.columns='[{example}]'"
    )


def _check_whole(table: Table, layout: Layout, label: str, texts: Sequence[str]) -> None:
    """Reject ignoring a column that probably belongs to the input."""
    told = telling(table, texts, label)
    for name in table.columns:
        if name in (*layout.fields, *told, label) or not _is_part(table, name, layout, texts):
            continue
        fields = ", ".join(layout.fields)
        way = f"use --set task.columns='[{fields}]' to ignore it, or join the texts in one column"
        if _SPAN.search(name.lower()):
            way = "name the spans span1_text and span2_text, or " + way
        elif len(layout.fields) == 1:
            way = f"use --set task.columns='[{fields}, {name}]' to read both, '[{fields}]' to ignore it"
        elif name.lower() in {"target", "lemma"}:
            way = "if this is WiC, name it 'word', otherwise " + way
        elif name == "paragraph" and layout.fields == ("question", "answer"):
            way = "if this is MultiRC, use --task super_glue/multirc --set task.path=..., otherwise " + way
        raise UserError(
            f"{table.origin}: besides {' and '.join(layout.fields)} there is '{name}', which may be part of the "
            f"input:\n{way}"
        )


def _is_part(table: Table, name: str, layout: Layout, texts: Sequence[str]) -> bool:
    lower = name.lower()
    if _SPAN.search(lower):
        # A second text may contain the spans, as in "She refers to Ann".
        return len(layout.fields) == 1
    if lower not in PARTS:
        return False
    if _is_nested(table, name):
        return True
    most = max(Counter(map(_key, table.columns[name])).values())
    return name in texts and most < _CONSTANT * len(table)


def _is_nested(table: Table, name: str) -> bool:
    """Return whether a column contains objects or lists, or texts that spell an object."""
    return any(
        isinstance(value, (dict, list)) or (isinstance(value, str) and value.startswith("{") and value.endswith("}"))
        for value in table.columns[name][:20]
    )


def _question(table: Table, label: str, free: Sequence[str]) -> UserError:
    names = [name for name in table.columns if name and name != label]
    nested = [name for name in names if _is_nested(table, name)]
    likely = [name for name in free if name not in telling(table, free, label)]
    example = ", ".join((likely or list(free) or names or ["a", "b"])[:2])
    found = f"{len(free)} text columns ({', '.join(free)})" if free else f"no text column ({', '.join(names)})"
    if free and (told := [name for name in free if name not in likely]):
        found += f", of which {', '.join(told)} reveals the label"
    if nested:
        found += f"; {', '.join(nested)} contains objects or lists, which are not read"
    hint = f"name one or two with --set task.columns='[{example}]'"
    if not table.typed and not table.has_header():
        hint = "its first line looks like an example: add a header with the column names"
    return UserError(f"{table.origin} has {found}: {hint}")


def _varies(table: Table, name: str) -> bool:
    return len(table) < 2 or len(set(map(str, table.columns[name]))) > 1


def _holds_text(table: Table, name: str) -> bool:
    values = [value for value in table.columns[name] if value is not None]
    if not values or not all(isinstance(value, str) for value in values):
        return False
    return table.typed or not all(is_number(value) for value in values)
