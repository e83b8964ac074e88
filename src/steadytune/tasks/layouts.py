"""Layouts: which columns of a row are its texts, and how they are turned into encoder inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from steadytune.errors import UserError
from steadytune.tasks.base import Segment
from steadytune.tasks.table import Table, is_missing, other_rows

Candidates = tuple[Segment, ...]

# The wording of COPA's own documentation.
_QUESTIONS = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


@dataclass(frozen=True)
class Layout:
    """Conversion of a row to encoder inputs.

    Attributes:
        fields: The columns that are read.
        segments: Their values, in that order -> the inputs. Raises ValueError, saying what a value must be.
        choices: Names of the positions to choose from; empty if a row is one input.
    """

    fields: tuple[str, ...]
    segments: Callable[..., Candidates]
    choices: tuple[str, ...] = ()

    def candidates(self, table: Table, allow_blank: bool = False) -> tuple[Candidates, ...]:
        """Convert every row to its inputs.

        Args:
            table: The rows.
            allow_blank: Accept texts without a letter; benchmarks have a few and count them.

        Raises:
            UserError: A column is missing, or a row has no text.
        """
        columns = [texts_of(table, field, allow_blank) for field in self.fields]
        result = []
        for row, values in enumerate(zip(*columns, strict=True)):
            try:
                result.append(self.segments(*values))
            except ValueError as error:
                raise UserError(f"{table.where(row)}: {error}") from error
        return tuple(result)


def single(field: str) -> Layout:
    """Return the layout of a single text."""
    return Layout((field,), lambda text: ((text, None),))


def pair(first: str, second: str) -> Layout:
    """Return the layout of a text pair."""
    return Layout((first, second), lambda a, b: ((a, b),))


def _copa(premise: str, choice1: str, choice2: str, question: str) -> Candidates:
    if question not in _QUESTIONS:
        raise ValueError(f"question '{question}' must be one of {', '.join(_QUESTIONS)}")
    prompt = f"{premise} {_QUESTIONS[question]}"
    return (prompt, choice1), (prompt, choice2)


COPA = Layout(("premise", "choice1", "choice2", "question"), _copa, ("choice1", "choice2"))
WSC = Layout(("text", "span2_text", "span1_text"), lambda text, pronoun, noun: ((text, f"{pronoun} refers to {noun}"),))
WIC = Layout(("word", "sentence1", "sentence2"), lambda word, a, b: ((f"{word}: {a}", b),))
MULTIRC = Layout(("paragraph", "question", "answer"), lambda text, question, answer: ((text, f"{question} {answer}"),))


def texts_of(table: Table, name: str, allow_blank: bool) -> list[str]:
    """Return a column of texts.

    Raises:
        UserError: There is no such column, or a value is no text, or blank unless that is allowed; names the row.
    """
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
            raise UserError(f"{table.where(row)}: column '{name}' must contain text, not {value!r:.80}")
        try:
            check_letters(value)
        except ValueError as error:
            raise UserError(f"{table.where(row)}: column '{name}' {error}") from None
    return values


def check_letters(text: str) -> None:
    """Reject a text that no encoding can write.

    Raises:
        ValueError: It is one; says why.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("contains an incomplete character (a lone surrogate)")
