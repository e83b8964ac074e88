"""From what files hold to runs: every column is given its meaning, those of all files together where one cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.external.columns import Choices, squashed
from steadytune.external.draft import Draft, draft
from steadytune.external.outputs import diverged, settle_probabilities, settle_singles
from steadytune.external.run import ExternalRun
from steadytune.external.source import Source, is_nothing, number, spelled
from steadytune.records.checks import check_kind, read_array

# Fewer groups than this, of many examples each, are rather properties of examples than what was sampled.
_FEW_GROUPS, _MANY_EACH = 10, 10
# By these names examples are told apart and nothing else is meant: one that stands twice is a mistake.
_STRICT_IDS = ("id", "ids")
_CONTENT = ("logits", "probabilities", "predictions", "representations", "generations", "token_logits")


def understand(sources: Sequence[Source], choices: Choices, regression: bool = False) -> list[ExternalRun]:
    """Give the columns of sources their meaning; a file with the runs of several seeds becomes several.

    Args:
        sources: What the files hold.
        choices: What the user said of them.
        regression: The metric that is asked for is one of regressions.

    Raises:
        UserError: A file holds nothing to measure, a cell is wrong, or something may mean several things.
    """
    drafts = [draft(one, choices, regression) for source in sources for one in _by_seed(source, choices)]
    settle_singles(drafts)
    # Whole numbers in one run do not make it another kind than the rest.
    if any(one.kind == "regression" for one in drafts):
        for one in drafts:
            if one.kind is None and "predictions" in one.arrays and "logits" not in one.arrays and one.names is None:
                one.kind = "regression"
                one.arrays["logits"] = one.arrays.pop("predictions")[:, None]
    runs = []
    for one in drafts:
        run, notes = settle_probabilities(_run(one))
        runs.append(replace(run, notes=(*run.notes, *notes)))
    return runs


def _by_seed(source: Source, choices: Choices) -> list[Source]:
    """Split a table that holds the rows of several seeds, and name the run of one that holds one."""
    names = (
        [choices.columns["seed"]]
        if "seed" in choices.columns
        else [
            name
            for name in source.columns
            if name not in choices.ignore and squashed(name) in ("seed", "seeds", "run", "runid")
        ]
    )
    if source.table is None:
        return _stacked(source, names)
    for name in names:
        words = ["" if is_nothing(cell) else spelled(cell) for cell in source.cells(name)]
        seeds = list(dict.fromkeys(words))
        if len(seeds) == 1:
            return [replace(source, seed=None)] if not seeds[0] else [source]
        if "" in seeds:
            raise UserError(f"{source.where(words.index(''))}: '{name}' is missing, but other rows name theirs")
        if len(seeds) == len(words):
            # A number of its own for every row names rows, not runs.
            continue
        rows = {seed: np.flatnonzero(np.array(words) == seed) for seed in seeds}
        sizes = {seed: len(found) for seed, found in rows.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{seed}: {size}" for seed, size in list(sizes.items())[:6])
            raise UserError(
                f"{source.origin}: '{name}' names {len(seeds)} runs with different numbers of rows ({listed}); "
                f"--set ignore={name} if it does not name runs"
            )
        return [source.select(found, seed) for seed, found in rows.items()]
    return [source]


def _stacked(source: Source, names: list[str]) -> list[Source]:
    """Split arrays whose first axis is that of the seeds that the file names."""
    for name in names:
        seeds = np.asarray(source.columns[name])
        if seeds.ndim != 1 or len(seeds) < 2:
            continue
        words = [spelled(one) for one in seeds.tolist()]
        parts = []
        for at, word in enumerate(words):
            columns: dict[str, Any] = {}
            for other, values in source.columns.items():
                if other == name:
                    continue
                array = np.asarray(values)
                shared = squashed(other) in ("ids", "id", "texts", "labelnames") or array.ndim == 0
                deep = 2 if squashed(other) in ("labels", "label", "labelids") else 1
                columns[other] = values if shared or array.ndim < deep or len(array) != len(words) else array[at]
            parts.append(replace(source, columns=columns, seed=word))
        return parts
    return [source]


def _run(found: Draft) -> ExternalRun:
    source, fields = found.source, dict(found.taken.fields)
    words = {name: _word(source, fields[name]) for name in ("kind", "examples", "status", "reason") if name in fields}
    if source.table is not None:
        # In a table these are columns of something else.
        words = {}
    arrays: dict[str, Any] = dict(found.arrays)
    for name in ("generations", "references"):
        if name in arrays:
            arrays[name] = tuple(arrays[name])
    if "references" not in arrays and "references" in fields and source.table is None:
        arrays["references"] = tuple(map(str, source.cells(fields["references"])))
        found.use("references", fields["references"])
    for name in ("representations", "token_logits", "token_counts"):
        if name in fields and source.table is None:
            arrays[name] = read_array(source.columns[fields[name]], f"{source.origin}: {name}")
            found.use(name, fields[name])
    if "representations" in arrays and arrays["representations"].ndim == 2:
        arrays["representations"] = arrays["representations"][None]
    if words.get("kind"):
        check_kind(source.origin, words["kind"])
        found.kind = found.kind or words["kind"]  # type: ignore[assignment]
    labels = arrays.get("labels")
    if labels is not None and labels.dtype.kind == "f" and not np.isfinite(labels).any() and labels.ndim == 1:
        found.notes.append(f"'{found.columns['labels'][0]}' names no class in any row: there are no labels.")
        arrays.pop("labels")
    scores = read_scores(source.origin, source.columns) if source.table is None else {}
    for name in source.columns:
        if source.table is None and (name == "scores" or name.startswith("scores.")):
            found.use(name, name)
    ids, id_columns = _ids(found)
    groups = _groups(found, id_columns)
    texts = _texts(found)
    for name in ("kind", "examples", "status", "reason"):
        if name in words:
            found.use(name, fields[name])
    seed = _seed(found)
    run = ExternalRun(
        origin=source.origin,
        label_names=None if found.names is None else tuple(found.names),
        ids=ids,
        groups=groups,
        texts=texts,
        kind=found.kind,
        scores=scores,
        examples=words.get("examples"),
        seed=seed,
        status=words.get("status"),
        reason=words.get("reason", ""),
        file=str(source.path),
        numbered=found.numbered,
        columns=found.columns,
        aside=found.aside,
        marks=_marks(found),
        notes=tuple(found.notes),
        **{name: value for name, value in arrays.items() if name != "label_names"},
    )
    if run.status is None and diverged(run):
        run = replace(run, status="diverged", reason="its outputs are NaN throughout")
    if run.status in (None, "done") and not any(getattr(run, name) is not None for name in _CONTENT):
        held = ", ".join(name or "(no name)" for name in (*source.columns, *source.unread)) or "nothing"
        if source.table is not None:
            raise UserError(
                f"{source.origin} has no columns logit_0, logit_1 ... or prob_0, prob_1 ..., nor 'prediction' or "
                f"'generation': {held}"
            )
        raise UserError(
            f"{source.origin}: no 'logits', 'probabilities', 'predictions', 'representations' or 'generations'; "
            f"it holds {held}"
        )
    return run if run.status != "done" else replace(run, status=None)


def _word(source: Source, column: str) -> str:
    value = source.columns[column]
    return str(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value)


def _seed(found: Draft) -> str | None:
    source, column = found.source, found.taken.fields.get("seed")
    if column is not None:
        found.use("seed", column)
    if source.seed is not None:
        return source.seed
    if column is None:
        return None
    if source.table is None:
        return spelled(_word(source, column))
    cells = [cell for cell in source.cells(column) if not is_nothing(cell)]
    words = dict.fromkeys(map(spelled, cells))
    if len(words) == 1:
        return next(iter(words))
    found.columns.pop("seed")
    return None


def _ids(found: Draft) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return names of the examples that tell them apart, of one column or of several together, and the columns.

    Names that stand twice are those of something else, such as a document; then the rows keep the order that they have.
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
        return tuple(_id(value) for value in listed), [column]
    columns = [column, *found.taken.rivals.get("ids", [])]
    cells = {one: tuple(_id(cell) for cell in source.columns[one]) for one in columns}
    for one in columns:
        if len(set(cells[one])) == len(cells[one]):
            found.use("ids", one)
            return cells[one], [one]
    together = tuple(" / ".join(parts) for parts in zip(*cells.values(), strict=True))
    if len(columns) > 1 and len(set(together)) == len(together):
        found.use("ids", *columns)
        return together, columns
    found.notes.append(
        f"'{column}' does not tell the examples apart. If examples of one {column} belong together: "
        f"--set group={column}."
    )
    return None, []


def _id(value: Any) -> str:
    return "" if value is None or value != value else spelled(value) if isinstance(value, float) else str(value)


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
                f"{source.origin}: '{column}' has {len(names)} values in {len(cells)} rows. Are examples of one value "
                f"parts of one whole, such as questions on one passage (--set group={column}), or not "
                f"(--set ignore={column})?"
            )
    number_of = {name: at for at, name in enumerate(names)}
    found.use("groups", column)
    return np.array([number_of[cell] for cell in cells], dtype=np.int64)


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
    return tuple("" if value is None or value != value else str(value) for value in listed)


def _marks(found: Draft) -> dict[str, tuple[str, ...]]:
    """Return columns in words that were not read, and in which hardly two rows are alike: they may tell the order."""
    source = found.source
    if source.table is None:
        return {}
    marks = {}
    for name in found.aside:
        cells = source.columns.get(name)
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            continue
        if 2 * len(set(cells)) > len(cells) and any(number(cell) is None for cell in cells):
            marks[name] = tuple(cells)
    return marks


def read_scores(origin: str, fields: Mapping[str, Any]) -> dict[str, float]:
    """Read the score of a run, or several by name, from "scores" and "scores.NAME".

    Raises:
        UserError: One is not a single finite number; names the file.
    """
    scores = {}
    for name in fields:
        if name == "scores" or name.startswith("scores."):
            value = read_array(fields[name], f"{origin}: '{name}'")
            if value.size != 1 or not np.isfinite(value).all():
                raise UserError(f"{origin}: '{name}' must be one finite number, the score of the run")
            scores[name.removeprefix("scores.") if name != "scores" else "score"] = float(value.item())
    return scores
