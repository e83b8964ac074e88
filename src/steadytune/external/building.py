"""From a draft to a run: example names, groups, texts and scores in addition to the model's outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.columns import squashed
from steadytune.external.draft import Draft
from steadytune.external.outputs import diverged
from steadytune.external.run import ExternalRun
from steadytune.external.source import Source, is_nothing, number, spelled
from steadytune.metrics import known_metric, plain_name
from steadytune.records.arrays import OF_TOKENS
from steadytune.records.checks import read_array, read_exact, read_groups
from steadytune.tasks.table import is_missing

# Fewer groups than this, with many examples each, are more likely properties of examples than sampled units.
_FEW_GROUPS, _MANY_EACH = 10, 10
# Columns with these names can only identify examples: a duplicate is a mistake.
_STRICT_IDS = ("id", "ids")
# For these the score of a run is the mean over the examples.
_BY_ROW = ("accuracy", "exact_match")
_CONTENT = ("logits", "probabilities", "predictions", "representations", "generations", *OF_TOKENS)


def build(found: Draft) -> ExternalRun:
    """Return the run of a draft.

    Raises:
        UserError: There is nothing to measure, or an array is invalid.
    """
    source = found.source
    arrays: dict[str, Any] = {
        name: tuple(values) if isinstance(values, list) else values for name, values in found.arrays.items()
    }
    arrays |= _more_arrays(found)
    if (labels := arrays.get("labels")) is not None and labels.dtype.kind == "f" and not np.isfinite(labels).any():
        found.notes.append(f"'{found.columns['labels'][0]}' has no class in any row: there are no labels.")
        arrays.pop("labels")
    ids, id_columns = _ids(found)
    row_scores = _scores_by_row(found)
    run = ExternalRun(
        origin=source.origin,
        label_names=None if found.names is None else tuple(found.names),
        ids=ids,
        groups=_groups(found, id_columns),
        texts=_texts(found),
        kind=found.kind,
        scores=_scores(found) | {name: float(values.mean()) for name, values in row_scores.items()},
        row_scores=row_scores,
        examples=found.word("examples"),
        seed=_seed(found),
        status=found.word("status"),
        reason=found.word("reason") or "",
        file=str(source.path),
        task=source.task,
        called=source.called,
        numbered=found.numbered,
        columns=found.columns,
        **arrays,
    )
    _hint_at_groups(found, run)
    marks, counters = _marks(found)
    run = replace(run, aside=found.aside, marks=marks, counters=counters, notes=tuple(found.notes))
    if run.status in (None, "done"):
        lost = diverged(run) or found.diverged
        run = replace(run, status="diverged" if lost else None, reason="its outputs are NaN throughout" if lost else "")
    if run.status is None and not run.scores and not any(getattr(run, name) is not None for name in _CONTENT):
        held = ", ".join(name or "(no name)" for name in source.names) or "nothing"
        if source.table is not None:
            raise UserError(
                f"{source.origin} has no columns logit_0, logit_1 ... or prob_0, prob_1 ..., nor 'prediction' or "
                f"'generation': {held}"
            )
        raise UserError(
            f"{source.origin}: no 'logits', 'probabilities', 'predictions', 'representations' or 'generations'; "
            f"it has {held}"
        )
    return run


def _more_arrays(found: Draft) -> dict[str, Any]:
    """Return the parts that only array files have; of tables the sentences of words, which elsewhere may be texts."""
    source, fields = found.source, found.taken.fields
    arrays: dict[str, Any] = {}
    if source.table is not None:
        if "questions" in fields and found.of.in_sentences:
            arrays["questions"] = read_groups(list(map(_id, source.cells(fields["questions"]))), "questions")
            found.use("questions", fields["questions"])
        return arrays
    for name in ("representations", *OF_TOKENS, "token_weights", "token_counts", "questions"):
        if name in fields:
            arrays[name] = read_array(source.columns[fields[name]], f"{source.origin}: {name}")
            found.use(name, fields[name])
    if "token_exact" in fields:
        arrays["token_exact"] = read_exact(source.columns[fields["token_exact"]], f"{source.origin}: token_exact")
        found.use("token_exact", fields["token_exact"])
    if "references" in fields and "references" not in found.arrays:
        arrays["references"] = tuple(map(str, source.cells(fields["references"])))
        found.use("references", fields["references"])
    return arrays


def _scores(found: Draft) -> dict[str, float]:
    source = found.source
    if source.table is not None:
        return {}
    for name in source.columns:
        if is_score_field(name):
            found.use(name, name)
    return read_scores(source.origin, source.columns)


def _scores_by_row(found: Draft) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a table that score each row as right or wrong, 1 or 0, as evaluation harnesses do."""
    scores: dict[str, NDArray[np.float64]] = {}
    # Those of a sentence would count once for each of its words.
    for name in () if found.source.table is None or found.of.in_sentences else found.aside:
        if plain_name(name) in _BY_ROW and name in found.source.columns and not found.source.is_matrix(name):
            values = found.source.numbers(name) if found.source.numeric(name) else np.array([np.nan])
            if np.isfinite(values).all() and ((values >= 0) & (values <= 1)).all():
                scores[name] = values
                found.use(name, name)
    return scores


def _seed(found: Draft) -> str | None:
    source, column = found.source, found.taken.fields.get("seed")
    if column is not None:
        found.use("seed", column)
    if source.seed is not None:
        return source.seed
    if column is None:
        return None
    if source.table is None:
        return spelled(found.word("seed"))
    cells = [cell for cell in source.cells(column) if not is_nothing(cell)]
    words = dict.fromkeys(map(spelled, cells))
    if len(words) == 1:
        return next(iter(words))
    found.columns.pop("seed")
    return None


def _ids(found: Draft) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return names that identify the examples, from one column or several combined, and the columns.

    Duplicate names belong to something else, such as a document; the rows then keep their order.
    """
    source, column = found.source, found.taken.fields.get("ids")
    if column is None:
        return None, []
    if column in found.choices.columns.values() or squashed(column) in _STRICT_IDS or source.table is None:
        values = source.columns[column]
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        if not isinstance(listed, list) or (source.table is None and any(isinstance(v, (list, dict)) for v in listed)):
            raise UserError(f"{source.origin}: '{column}' must be one text per example")
        found.use("ids", column)
        return _placed(source, map(_id, listed)), [column]
    columns = [column, *found.taken.rivals.get("ids", [])]
    cells = {one: tuple(_id(cell) for cell in source.columns[one]) for one in columns}
    for one in columns:
        names = _placed(source, cells[one])
        if len(set(names)) == len(names):
            found.use("ids", one)
            return names, [one]
    together = _placed(source, map(" / ".join, zip(*cells.values(), strict=True)))
    if len(columns) > 1 and len(set(together)) == len(together):
        found.use("ids", *columns)
        return together, columns
    found.notes.append(
        f"'{column}' does not identify the examples. If examples with the same {column} belong together, "
        f"use --set group={column}."
    )
    return None, []


def _placed(source: Source, names: Iterable[str]) -> tuple[str, ...]:
    """Return names of rows: those of sentences with the places of their words, any others unchanged."""
    if not source.places:
        return tuple(names)
    return tuple(f"{name} / {place}" for name, place in zip(names, source.places, strict=True))


def _id(value: Any) -> str:
    return "" if is_missing(value) else spelled(value) if isinstance(value, float) else str(value)


def _groups(found: Draft, ids: Sequence[str]) -> NDArray[np.int64] | None:
    source, column = found.source, found.taken.fields.get("groups")
    if column is None or column in ids:
        return None
    if source.table is None:
        values = np.asarray(source.columns[column])
        if values.dtype.kind in "fiub" and column not in found.choices.columns.values():
            found.use("groups", column)
            return read_array(values, f"{source.origin}: {column}")
    cells = list(map(_id, source.cells(column)))
    names = sorted(set(cells))
    if column not in found.choices.columns.values():
        if len(names) in (1, len(cells)):
            return None
        if len(names) < _FEW_GROUPS and len(cells) > _MANY_EACH * len(names):
            raise UserError(
                f"{source.origin}: '{column}' has {len(names)} values in {len(cells)} rows. Are examples with one "
                f"value parts of a whole, such as questions on one passage (--set group={column}), or not "
                f"(--set ignore={column})?"
            )
    found.use("groups", column)
    return read_groups(cells)


def _texts(found: Draft) -> tuple[str, ...] | None:
    source, column = found.source, found.taken.fields.get("texts")
    if column is None:
        return None
    values = source.columns[column]
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    plain = isinstance(listed, list) and not any(isinstance(value, (list, dict)) for value in listed)
    if not plain:
        if squashed(column) not in ("text", "texts"):
            return None
        raise UserError(f"{source.origin}: '{column}' must be one text per example")
    if source.table is None and isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return None
    found.use("texts", column)
    return tuple("" if is_missing(value) else str(value) for value in listed)


def _hint_at_groups(found: Draft, run: ExternalRun) -> None:
    """Note unread text columns with repeated values: rows with the same value may belong together."""
    if run.groups is not None or found.source.table is None:
        return
    said = "\n".join(found.notes)
    for name in found.aside:
        cells = _cells(found, name)
        if cells is None or f"'{name}'" in said or not all(isinstance(cell, str) for cell in cells):
            continue
        words = set(cells)
        if len(words) >= _FEW_GROUPS and 2 * len(words) <= len(cells) and any(number(word) is None for word in words):
            found.notes.append(
                f"'{name}' has {len(words)} values in {len(cells)} rows. If examples with the same {name} belong "
                f"together, use --set group={name}."
            )


def _cells(found: Draft, name: str) -> list[Any] | None:
    values = found.source.columns.get(name)
    if isinstance(values, np.ndarray):
        return values.tolist() if values.ndim == 1 and values.dtype.kind in "iuUS" else None
    return values if isinstance(values, list) else None


def _marks(found: Draft) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return unread columns that may identify the examples, and which of them are integers.

    They are texts with hardly any duplicates, separately or combined, and integers without duplicates.
    """
    source = found.source
    # Even duplicate names can show that rows are in a different order.
    marks: dict[str, tuple[str, ...]] = {
        name: tuple(map(_id, source.columns[name]))
        for name in (found.taken.fields.get("ids", ""), *found.taken.rivals.get("ids", []))
        if source.table is not None and name in found.aside and name in source.columns
    }
    counters, texts = [], {}
    for name in found.aside:
        cells = _cells(found, name)
        if cells is None or name in marks:
            continue
        if all(isinstance(cell, (str, dict, list)) for cell in cells):
            words = tuple(cell if isinstance(cell, str) else json.dumps(cell, sort_keys=True) for cell in cells)
            if any(number(word) is None for word in words):
                texts[name] = words
                continue
        whole = [number(cell) for cell in cells]
        if all(value is not None and value.is_integer() for value in whole) and len(set(whole)) == len(whole):
            marks[name] = tuple(map(str, whole))
            counters.append(name)
    marks |= {name: words for name, words in texts.items() if 2 * len(set(words)) > len(words)}
    if len(texts) > 1 and not any(name in marks for name in texts):
        together = tuple(map("\0".join, zip(*texts.values(), strict=True)))
        if 2 * len(set(together)) > len(together):
            marks[" and ".join(texts)] = together
    return marks, tuple(counters)


def read_scores(origin: str, fields: Mapping[str, Any]) -> dict[str, float]:
    """Read the score of a run, or several by name, from "scores" and "scores.NAME".

    Raises:
        UserError: One is not a single finite number; names the file.
    """
    scores = {}
    for name in fields:
        if is_score_field(name):
            value = read_array(fields[name], f"{origin}: '{name}'")
            if value.size != 1 or not np.isfinite(value).all():
                raise UserError(f"{origin}: '{name}' must be one finite number, the score of the run")
            scores[name.removeprefix("scores.") if name != "scores" else "score"] = float(value.item())
    return scores


def is_score_field(name: str) -> bool:
    """Return whether a field of a file is a score of the run, by its own name or that of a metric."""
    return name == "scores" or name.startswith("scores.") or known_metric(name) is not None
