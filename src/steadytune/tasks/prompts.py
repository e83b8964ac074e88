"""Tasks whose answers are texts: which columns of a table are prompts, and which the texts to generate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.files import parse_json
from steadytune.kinds import KINDS
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples
from steadytune.tasks.inputs import MOST_TELLING_VALUES, PARTS
from steadytune.tasks.labels import LABEL_NAMES
from steadytune.tasks.layouts import check_letters, texts_of
from steadytune.tasks.messages import ANSWERS, Chat, are_messages, check_question, read_messages, shown, split_chat
from steadytune.tasks.official import renamed
from steadytune.tasks.table import Table, is_missing, other_rows

GENERATION = "generation"
"""The kind of these tasks."""
PASSAGE = "context"
"""The column of what several questions may be about."""
_MAY_BE_EMPTY = {PASSAGE, "input"}
"""Columns that some examples of a data set do without."""
_MAY_BE_CLASSES = {"target", "answer", "output"}
"""Columns by whose name it is open whether they hold texts to generate or classes."""
_MISSING = "nan"


@dataclass(frozen=True)
class Form:
    """Columns of a task whose answers are texts.

    Attributes:
        prompt: Columns of the prompt, joined by line breaks: texts, or a single one of messages.
        completion: The column of what is to be generated; "" if it is the last of the messages.
        aside: Columns known not to belong to the prompt.
    """

    prompt: tuple[str, ...]
    completion: str = ""
    aside: tuple[str, ...] = ()

    @property
    def needed(self) -> set[str]:
        """Columns without which a table does not have this form."""
        return {name for name in (*self.prompt, self.completion) if name and name not in _MAY_BE_EMPTY}

    def within(self, table: Table) -> Form:
        """Return the form without columns that a table lacks."""
        return replace(self, prompt=tuple(name for name in self.prompt if name in table.columns))


_FORMS = (
    Form(("prompt",), "completion"),
    Form(("source",), "target"),
    Form(("document",), "summary"),
    Form(("dialogue",), "summary"),
    Form(("article",), "highlights"),
    Form((PASSAGE, "question"), "answers", aside=("title",)),
    Form((PASSAGE, "question"), "answer"),
    # Alpaca repeats both and the answer in `text`.
    Form(("instruction", "input"), "output", aside=("text",)),
    Form(("messages",)),
)
_NAMES = {name for form in _FORMS for name in (*form.prompt, form.completion)} - {""}
# Besides the columns of a form, these are probably part of what is asked.
_PARTS = PARTS | _NAMES | {"system", "system_prompt", "history", "examples", "tools", "background", "response"}


def find_form(spec: TaskSpec, train: Table, validation: Table) -> tuple[Form, Table, Table] | None:
    """Return the columns of a task whose answers are texts, and both tables with these names; None if it is another.

    It is one if `task.kind` says so, or if the table has no column of labels and the columns of exactly one form.

    Raises:
        UserError: The columns leave it open what is asked or generated; names the option to set.
    """
    said = spec.kind is not None and KINDS[spec.kind].has_texts
    train, validation = (_lowered(table, spec) for table in (train, validation))
    named = spec.label != TaskSpec.model_fields["label"].default
    if not said:
        labelled = named or any(name.lower() == spec.label for name in train.columns)
        if spec.kind is not None or spec.columns is not None or labelled:
            return None
    if spec.columns is not None:
        return _named(spec, train), train, validation
    forms = [form for form in _FORMS if form.needed <= train.columns.keys()]
    if named:
        forms = [form for form in forms if form.completion == spec.label]
    if len(forms) == 1:
        form = forms[0].within(train)
        _check_whole(spec, form, train)
        if not said:
            _check_texts(form, train)
        return form, train, validation
    if not said and not forms:
        return None
    found = f"there are {' and '.join(map(_written, forms))}" if forms else f"only {', '.join(train.columns)}"
    raise UserError(
        f"{train.origin}: which column is the prompt, and which the text to generate? {found}: "
        "name them with --set task.kind=generation --set task.columns='[NAME]' --set task.label=NAME"
    )


def _written(form: Form) -> str:
    return f"{', '.join(form.prompt)} -> {form.completion or 'the last of them'}"


def _lowered(table: Table, spec: TaskSpec) -> Table:
    """Rename columns whose known names are spelled in a different case."""
    named = {*(spec.columns or ()), spec.label, spec.group}
    lower = [name.lower() for name in table.columns]
    return renamed(
        table,
        {
            name: name.lower()
            for name in table.columns
            if name.lower() in _NAMES and lower.count(name.lower()) == 1 and name not in named
        },
    )


def _named(spec: TaskSpec, table: Table) -> Form:
    assert spec.columns is not None
    if spec.label in spec.columns:
        raise UserError(f"task.columns: '{spec.label}' is the text to generate, not a prompt")
    chats = [name for name in spec.columns if any(map(are_messages, table.columns.get(name, ())))]
    if len(spec.columns) == 1 and chats and spec.label not in table.columns:
        return Form(spec.columns)
    if len(spec.columns) > 1 and chats:
        raise UserError(f"task.columns: '{chats[0]}' contains messages, so it must be the only column")
    table.column(spec.label, "task.label=NAME, the text to generate")
    return Form(spec.columns, spec.label)


def _check_whole(spec: TaskSpec, form: Form, table: Table) -> None:
    """Reject ignoring a column that probably belongs to the prompt."""
    for name, values in table.columns.items():
        if name in (*form.prompt, form.completion, *form.aside, spec.group) or name.lower() not in _PARTS:
            continue
        if all(is_missing(value) or value in ("", []) for value in values):
            continue
        fields = ", ".join(form.prompt)
        label = f" --set task.label={form.completion}" if form.completion else ""
        ways = f"'[{fields}]' to ignore it"
        if form.completion:
            ways = f"'[{name}, {fields}]' to read both, {ways}"
        raise UserError(
            f"{table.origin}: besides {_written(form)} there is '{name}', which may be part of the prompt:\n"
            f"use --set task.kind=generation{label} --set task.columns={ways}"
        )


def _check_texts(form: Form, table: Table) -> None:
    """Reject taking classes for texts to generate, when the user has not said which they are."""
    column = next((name for name in table.columns if name.lower() in LABEL_NAMES and name != form.completion), "")
    if not column and form.completion in _MAY_BE_CLASSES:
        values = [repr(value) for value in table.columns[form.completion]]
        different = len(set(values))
        if different <= MOST_TELLING_VALUES and len(values) >= 5 * different:
            column = form.completion
    if column:
        raise UserError(
            f"{table.origin} has no column 'label'. Use --set task.label={column} if '{column}' is one, or "
            f"--set task.kind=generation to generate {_written(form).replace('->', 'into')}"
        )


def examples_of(form: Form, table: Table) -> tuple[Examples, tuple[str, ...]]:
    """Return the rows of a table as examples, and notes on what was found in them.

    Raises:
        UserError: A prompt or a text to generate is missing or is no text; names the row.
    """
    parts: tuple[Chat, ...] | None = None
    if any(map(are_messages, table.column(form.prompt[0], "task.columns='[NAME]'"))) or not form.completion:
        chats, references = _chats(form, table)
        texts, parts, notes = [shown(chat) for chat in chats], tuple(chats), list[str]()
        if earlier := sum(any(role == ANSWERS for role, _ in chat) for chat in chats):
            notes.append(f"of {earlier} chats only the {ANSWERS}'s last message is generated; the rest is the prompt")
    else:
        texts, notes = _prompts(form, table)
        references = [_references(table, form.completion, row) for row in range(len(table))]
    if (most := max(map(len, references))) > 1:
        notes.append(f"up to {most} accepted texts in '{form.completion}'; the first is trained on")
    return Examples.prompted(texts, references, parts), tuple(notes)


def _prompts(form: Form, table: Table) -> tuple[list[str], list[str]]:
    """Return the columns of the prompt in one text for each row."""
    columns, notes = [], []
    for name in form.prompt:
        values = table.columns.get(name, [])
        optional = name in _MAY_BE_EMPTY and len(form.prompt) > 1
        if optional:
            empty = sum(is_missing(value) or value == "" for value in values)
            table = replace(table, columns={**table.columns, name: ["" if is_missing(v) else v for v in values]})
            if empty:
                notes.append(f"'{name}' is empty in {empty} of {len(table)} rows")
        columns.append(texts_of(table, name, allow_blank=optional))
    return ["\n".join(text for text in texts if text.strip()) for texts in zip(*columns, strict=True)], notes


def _chats(form: Form, table: Table) -> tuple[list[Chat], list[tuple[str, ...]]]:
    """Return the messages before the last one of each row, and the last one."""
    chats, references = [], []
    for row, value in enumerate(table.columns[form.prompt[0]]):
        try:
            chat = read_messages(value)
            for _, content in chat:
                check_letters(content)
            if form.completion:
                chats.append(check_question(chat))
                references.append(_references(table, form.completion, row))
            else:
                chat, answer = split_chat(chat)
                chats.append(chat)
                references.append((answer,))
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{table.where(row)}: column '{form.prompt[0]}': {error}") from error
    return chats, references


def _references(table: Table, name: str, row: int) -> tuple[str, ...]:
    """Return the accepted texts of a row, each once.

    Raises:
        UserError: There is none, or one is empty or no text.
    """
    value = table.columns[name][row]
    try:
        if is_missing(value) or value in ("", [], {}):
            skip = f"skip such rows with --set task.no_label={_MISSING}"
            raise ValueError(f"there is no text to generate{other_rows(_empty(table, name))}; {skip}")
        texts = _accepted(value if table.typed else _spelled(value))
        for text in texts:
            if not text.strip():
                raise ValueError("a text to generate is blank")
            check_letters(text)
    except ValueError as error:
        raise UserError(f"{table.where(row)}: column '{name}': {error}") from error
    return tuple(dict.fromkeys(texts))


def _accepted(value: Any) -> list[str]:
    """Return the texts of a cell: a text, a list of them, SQuAD's {"text": [...]}, or one message."""
    if isinstance(value, Mapping) and "text" in value:
        value = value["text"]
    if are_messages(value):
        messages = read_messages(value)
        if len(messages) != 1 or messages[0][0] != ANSWERS:
            raise ValueError(f"the messages to generate must be one of the {ANSWERS}'s")
        return [messages[0][1]]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"it must contain text, or lists of accepted texts, not {value!r:.80}")
    if not texts:
        raise ValueError(f"there is no text to generate; skip such rows with --set task.no_label={_MISSING}")
    return texts


def _spelled(value: Any) -> Any:
    """Return the list or object that a cell of a csv file spells as JSON; any other text as it is."""
    if not (value.startswith(("[", "{")) and value.endswith(("]", "}"))):
        return value
    try:
        return parse_json(value)
    except ValueError:
        if value.startswith(("['", '["', "{'text'", '{"text"')):
            raise ValueError(f"{value:.80} is a list, but not JSON: write lists to a .jsonl file") from None
        return value


def _empty(table: Table, name: str) -> list[int]:
    return [row for row, value in enumerate(table.columns[name]) if _is_empty(value)]


def _is_empty(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = value.get("text")
    return is_missing(value) or value in ("", [])


def without_unanswered(table: Table, form: Form, mark: str | None) -> Table:
    """Return the rows that have a text to generate: without those where it is `mark`, or missing if that is "nan".

    Raises:
        UserError: No row is left.
    """
    if mark is None or not form.completion:
        return table
    values = table.column(form.completion)
    kept = [row for row, v in enumerate(values) if not (_is_empty(v) if mark == _MISSING else v == mark)]
    if not kept:
        raise UserError(f"{table.origin}: every '{form.completion}' is {mark!r}, which means that there is none")
    note = f"{len(table) - len(kept)} of {len(table)} rows skipped because they have no text to generate"
    return replace(table.select(kept), notes=(*table.notes, note)) if len(kept) < len(table) else table


def passages(form: Form, tables: Sequence[Table]) -> list[NDArray[np.int64] | None]:
    """Return which rows of each table ask about one passage, as numbers; None if no two of them do.

    Questions about one passage are not independent of one another.
    """
    if PASSAGE not in form.prompt or len(form.prompt) == 1:
        return [None] * len(tables)
    number: dict[Any, int] = {}
    found = []
    for table in tables:
        # What has no passage is on its own.
        keys = [value or (table.origin, row) for row, value in enumerate(table.columns[PASSAGE])]
        found.append(np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64))
    shared = any(len(np.unique(numbers)) < len(numbers) for numbers in found)
    return [numbers if shared else None for numbers in found]
