"""Sentences of tagged words in tables: a row for each word, or a row for each sentence with lists of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import NoneType
from typing import Any

from steadytune.errors import UserError
from steadytune.external.columns import TAGS, Choices, Taken, squashed, take
from steadytune.external.draft import Draft
from steadytune.external.source import Source, spelled
from steadytune.kinds import find_kind
from steadytune.metrics.entities import entity_tags
from steadytune.tasks.label_sets import KIND as SETS
from steadytune.tasks.lists import is_bracketed, listed
from steadytune.tasks.table import is_missing
from steadytune.tasks.tagged import KIND

# Columns that say to which sentence a word belongs, if the runs are of tagged words; elsewhere some of them are texts.
_SENTENCES = (
    *("sentenceid", "sentid", "sentence", "sentencenumber", "sentenceno", "sentencenum", "sentenceindex"),
    *("sentenceidx", "sent", "sentno", "sentidx"),
)
# If one of these changes within a sentence, the numbers of sentences begin anew in every document.
_DOCUMENTS = ("docid", "documentid", "doc", "document")
_WORDS = ("word", "words", "token", "tokens")


def word_rows(source: Source, choices: Choices) -> Source:
    """Return a table of sentences with lists of tags as one with a row for each word; any other source unchanged.

    Raises:
        UserError: A list is as long as no other of its row, or it is open whether lists are tags; names the line.
    """
    if source.table is None:
        return source
    taken = take(source.columns, choices, source.origin)
    fields = taken.fields
    tags = [fields[name] for name in ("labels", "predictions") if name in fields]
    lists = {name: [listed(cell) for cell in source.columns[name]] for name in tags}
    if choices.kind == KIND:
        for name, cells in lists.items():
            odd = [row for row, one in enumerate(cells) if one is None and is_bracketed(source.columns[name][row])]
            if odd:
                raise UserError(
                    f"{source.where(odd[0])}: '{name}' is {source.columns[name][odd[0]]!r:.60}, which is not a list of "
                    "tags: write it as JSON, with commas"
                )
    if not any(cell is not None for cells in lists.values() for cell in cells) or not _are_tags(
        source, choices, fields, lists
    ):
        return source
    for name, cells in lists.items():
        if None in cells:
            row = cells.index(None)
            cell = source.columns[name][row]
            raise UserError(f"{source.where(row)}: '{name}' is {cell!r:.60}, which is not a list of tags as elsewhere")
    lengths = [len(cell or ()) for cell in lists[tags[0]]]
    needed = [*tags, *(fields[name] for name in ("logits", "probabilities") if name in fields)]
    for name, values in source.columns.items():
        cells = [listed(cell) for cell in values]
        own = [-1 if cell is None else len(cell) for cell in cells]
        # Words that do not fit would be shown beside the tags of others.
        words = squashed(name) in _WORDS and name not in choices.ignore and any(cell is not None for cell in cells)
        if own == lengths:
            lists[name] = cells
        elif name in needed or words:
            row = next(row for row, (one, other) in enumerate(zip(own, lengths, strict=True)) if one != other)
            raise UserError(
                f"{source.where(row)}: '{name}' must be a list with an entry for each of the {lengths[row]} in "
                f"'{tags[0]}', not {str(values[row])[:60]!r}{f' (--set ignore={name})' if name not in needed else ''}"
            )
    if not sum(lengths):
        raise UserError(f"{source.origin}: '{tags[0]}' has no word in any row")
    names = _sentence_names(source, taken, choices, lists)
    if "questions" not in choices.columns:
        lists["questions"] = [[name] * length for name, length in zip(names, lengths, strict=True)]
    return _unfolded(source, lists, lengths)


def _are_tags(
    source: Source, choices: Choices, fields: Mapping[str, str], lists: Mapping[str, Sequence[list[Any] | None]]
) -> bool:
    """Return whether lists of labels or predictions are the tags of a sentence's words.

    Raises:
        UserError: They are names, and may as well be a set.
    """
    if choices.kind is not None:
        return find_kind(choices.kind).in_sentences
    cells = [cell for held in lists.values() for cell in held]
    names = {one for cell in cells for one in cell or () if one is not None} if _plain(cells) else set()
    # Numbers may be outputs or switches.
    if fields.keys() & {"generations", "outputs"} or not names or not all(isinstance(one, str) for one in names):
        return False
    if marks_entities(names):
        return True
    # Lists beside single texts may be those that are accepted.
    if None in cells or any(one is None for cell in cells for one in cell or ()):
        return False
    column = next(iter(lists))
    raise UserError(
        f"{source.origin}: '{column}' holds a list of names in each row. Are they tags of words (--set kind={KIND}), "
        f"or sets of labels (--set kind={SETS})?"
    )


def _plain(cells: Sequence[list[Any] | None]) -> bool:
    return all(isinstance(one, (str, int, float, NoneType)) for cell in cells for one in cell or ())


def _sentence_names(source: Source, taken: Taken, choices: Choices, lists: Mapping[str, Any]) -> Sequence[Any]:
    """Return a name for each row: of the first column of names, or all together, that tell rows apart, or its number.

    Names are the same in a run that has its sentences in another order.

    Raises:
        UserError: The user's column does not tell them apart.
    """
    named = [taken.fields.get("questions"), taken.fields.get("ids"), *taken.rivals.get("ids", [])]
    cells = {one: list(map(spelled, source.cells(one))) for one in named if one is not None and one not in lists}
    tried = [*cells.values(), [" / ".join(parts) for parts in zip(*cells.values(), strict=True)]]
    rows = range(len(source.table or ()))
    asked = choices.columns.get("questions")
    if asked is not None and len(set(cells.get(asked, []))) < len(rows):
        raise UserError(f"{source.origin}: each row is a sentence, but '{asked}' has not a name of its own for each")
    return next((names for names in tried if names and len(set(names)) == len(names)), rows)


def _unfolded(source: Source, lists: Mapping[str, Sequence[list[Any] | None]], lengths: Sequence[int]) -> Source:
    """Return a source with a row for each entry of lists, of which each row has as many as `lengths` says."""
    assert source.table is not None
    rows = [row for row, length in enumerate(lengths) for _ in range(length)]
    places = tuple(place for length in lengths for place in range(length))
    table = source.table.select(rows)
    columns = dict(table.columns)
    for name, cells in lists.items():
        columns[name] = [(cells[row] or [])[place] for row, place in zip(rows, places, strict=True)]
    return replace(source, columns=columns, table=replace(table, columns=columns), places=places)


def marks_entities(names: Any) -> bool:
    """Return whether names of classes can only be tags of entities, such as O, B-PER and I-PER."""
    return "O" in names and any(len(name) > 2 for name in names) and entity_tags(tuple(names)) is not None


def find_sentences(drafts: Sequence[Draft]) -> None:
    """Decide which column of each table of tagged words names their sentences: it then names nothing else.

    Tags of entities are recognised as such, in a run that has only some of them by those of the others. Words are the
    texts that a reader is shown.

    Raises:
        UserError: The column may be one of sentences; the rows of a sentence are apart, or it spans documents.
    """
    tables = [found for found in drafts if found.source.table is not None]
    unsettled = [found for found in tables if found.kind is None and found.names is not None]
    tags = {tag for found in unsettled if marks_entities(found.names) for tag in found.names or ()}
    for found in unsettled:
        if tags and tags.issuperset(found.names or ()):
            found.kind = KIND
            found.notes.append(f"The classes are tags of entities: the runs were read as tagged words (kind={KIND}).")
    for found in tables:
        _find_sentences(found)
        _ask_of_tags(found)


def _find_sentences(found: Draft) -> None:
    source, taken = found.source, found.taken
    if source.table is None or not found.of.in_sentences:
        return
    chosen = {name: column for name, column in found.choices.columns.items() if name != "groups"}
    free = {squashed(name): name for name in reversed(list(source.columns)) if name not in found.choices.ignore}
    named = [free[key] for key in _SENTENCES if key in free and free[key] not in chosen.values()]
    column = taken.fields.get("questions") or next(iter(named), None)
    fields, rivals = dict(taken.fields), dict(taken.rivals)
    for name in ("ids", "texts"):
        if name not in chosen:
            others = [one for one in (fields.pop(name, None), *rivals.pop(name, [])) if one not in (None, column)]
            if others:
                fields[name], rivals[name] = str(others[0]), [str(one) for one in others[1:]]
    if "texts" not in chosen and (words := [free[key] for key in _WORDS if key in free]):
        fields["texts"] = words[0]
    if column is not None:
        fields["questions"] = column
        _check_together(source, column)
    elif (
        (ids := fields.get("ids")) is not None
        and not rivals.get("ids")
        and len({spelled(cell) for cell in source.cells(ids)}) < len(source.table)
    ):
        raise UserError(
            f"{source.origin}: several words have the same '{ids}'. Does it name their sentence (--set sentence={ids})"
            f", or not (--set ignore={ids})?"
        )
    found.taken = replace(taken, fields=fields, rivals=rivals)


def _check_together(source: Source, column: str) -> None:
    """Reject a column of sentences with gaps, or whose names are those of several sentences."""
    cells = source.columns[column]
    above: set[str] = set()
    documents = [name for name in source.columns if squashed(name) in _DOCUMENTS and name != column]
    for row, cell in enumerate(cells):
        if is_missing(cell) or not str(cell).strip():
            raise UserError(f"{source.where(row)}: '{column}' is missing: name the sentence of every word")
        name = spelled(cell)
        if row and name == spelled(cells[row - 1]):
            if told := [one for one in documents if source.columns[one][row] != source.columns[one][row - 1]]:
                raise UserError(
                    f"{source.where(row)}: {name!r:.60} in '{column}' is one sentence of two documents ('{told[0]}'): "
                    "give every sentence a name of its own"
                )
        elif name in above:
            raise UserError(
                f"{source.where(row)}: {name!r:.60} in '{column}' occurs before, apart from here: keep the words of a "
                "sentence together, and give every sentence a name of its own"
            )
        above.add(name)


def _ask_of_tags(found: Draft) -> None:
    """Ask about columns of tags beside tagged words whose labels no column is known to hold.

    Raises:
        UserError: There are some; names the options.
    """
    source, choices = found.source, found.choices
    if source.table is None or not found.of.in_sentences or "labels" in found.taken.fields:
        return
    used = found.taken.used()
    if tags := [
        one for one in source.columns if squashed(one) in TAGS and one not in choices.ignore and one not in used
    ]:
        raise UserError(
            f"{source.origin}: no column is named label. Does '{tags[0]}' hold the right tags (--set label={tags[0]}), "
            f"or are they not given (--set ignore={','.join(tags)})?"
        )
