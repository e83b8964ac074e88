"""Layouts: which columns of a row are its texts, and how they become the encoder's inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from steadytune.errors import UserError
from steadytune.tasks.base import Segment
from steadytune.tasks.tables import Table, is_missing, other_rows

Candidates = tuple[Segment, ...]

_IDENTIFIERS = {"", "id", "idx", "index", "guid", "uid", "pairid", "promptid", "__index_level_0__"}
# The wording of COPA's own documentation.
_QUESTIONS = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


@dataclass(frozen=True)
class Layout:
    """How a row becomes encoder inputs.

    Attributes:
        fields: The columns that are read.
        segments: Their values, in that order -> the inputs. It raises ValueError, saying what a value should have been.
        choices: Names of the positions to choose from; empty where a row is one input.
    """

    fields: tuple[str, ...]
    segments: Callable[..., Candidates]
    choices: tuple[str, ...] = ()

    def candidates(self, table: Table, allow_blank: bool = False) -> tuple[Candidates, ...]:
        """Turn every row into its inputs.

        Args:
            table: The rows.
            allow_blank: Take a text without a letter as it is; benchmarks have a few and count them.

        Raises:
            UserError: A column is missing, or a row has no text in it.
        """
        columns = [_texts(table, field, allow_blank) for field in self.fields]
        result = []
        for row, values in enumerate(zip(*columns, strict=True)):
            try:
                result.append(self.segments(*values))
            except ValueError as error:
                raise UserError(f"{table.where(row)}: {error}") from error
        return tuple(result)


def single(field: str) -> Layout:
    """Return the layout of one text."""
    return Layout((field,), lambda text: ((text, None),))


def pair(first: str, second: str) -> Layout:
    """Return the layout of two texts."""
    return Layout((first, second), lambda a, b: ((a, b),))


def _copa(premise: str, choice1: str, choice2: str, question: str) -> Candidates:
    if question not in _QUESTIONS:
        raise ValueError(f"question '{question}' should be one of {', '.join(_QUESTIONS)}")
    prompt = f"{premise} {_QUESTIONS[question]}"
    return (prompt, choice1), (prompt, choice2)


COPA = Layout(("premise", "choice1", "choice2", "question"), _copa, ("choice1", "choice2"))
WSC = Layout(("text", "span2_text", "span1_text"), lambda text, pronoun, noun: ((text, f"{pronoun} refers to {noun}"),))
WIC = Layout(("word", "sentence1", "sentence2"), lambda word, a, b: ((f"{word}: {a}", b),))
MULTIRC = Layout(("paragraph", "question", "answer"), lambda text, question, answer: ((text, f"{question} {answer}"),))

_KNOWN = (
    COPA,
    WSC,
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
    single("sentence"),
    single("text"),
    single("review"),
    single("content"),
    single("tweet"),
    single("comment"),
    single("document"),
)


def named_layout(columns: tuple[str, ...], label: str) -> Layout:
    """Return the layout of the columns that a user named.

    Raises:
        UserError: There are not one or two, or the label is among them.
    """
    if label in columns:
        raise UserError(f"task.columns: '{label}' is the label, not a text")
    if len(columns) not in {1, 2}:
        raise UserError(f"task.columns names one or two text columns, not {len(columns)}")
    return single(*columns) if len(columns) == 1 else pair(*columns)


def infer_layout(table: Table, label: str) -> Layout:
    """Find the text columns of a table by their names, else take the one or two columns that hold strings.

    Raises:
        UserError: There are none or more than two.
    """
    for layout in _KNOWN:
        if label not in layout.fields and all(field in table.columns for field in layout.fields):
            return layout
    texts = [name for name in table.columns if name != label and not _is_identifier(name) and _holds_text(table, name)]
    if len(texts) in {1, 2}:
        return named_layout(tuple(texts), label)
    names = [name for name in table.columns if name != label]
    example = ", ".join((texts or names or ["a", "b"])[:2])
    found = f"{len(texts)} text columns ({', '.join(texts)})" if texts else f"no text column ({', '.join(names)})"
    raise UserError(f"{table.origin} has {found}: name one or two with --set task.columns='[{example}]'")


def _is_identifier(name: str) -> bool:
    return name.lower() in _IDENTIFIERS or name.lower().endswith("_id")


def _holds_text(table: Table, name: str) -> bool:
    values = [value for value in table.columns[name] if value is not None]
    if not values or not all(isinstance(value, str) for value in values):
        return False
    return table.typed or not all(_is_number(value) for value in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _texts(table: Table, name: str, allow_blank: bool) -> list[str]:
    values = table.column(name, "task.columns='[a, b]'")
    missing = [
        row
        for row, value in enumerate(values)
        if is_missing(value) or (isinstance(value, str) and not allow_blank and not value.strip())
    ]
    if missing:
        raise UserError(f"{table.where(missing[0])}: no text in column '{name}'{other_rows(missing)}")
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise UserError(f"{table.where(row)}: column '{name}' should hold text, not {value!r}")
    return values
