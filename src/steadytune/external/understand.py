"""From the contents of files to runs: columns are interpreted, using all files together if one is ambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steadytune.errors import UserError
from steadytune.external.building import build
from steadytune.external.classes import settle_unlabelled
from steadytune.external.columns import SEEDS, Choices, squashed, take
from steadytune.external.drafting import draft
from steadytune.external.outputs import settle_probabilities, settle_singles
from steadytune.external.run import ExternalRun
from steadytune.external.sentences import find_sentences, word_rows
from steadytune.external.source import Source, is_nothing, spelled

# Rows of a block that are unlikely to have the same labels as another by chance.
_BLOCK = 8


def understand(sources: Sequence[Source], choices: Choices, regression: bool = False) -> list[ExternalRun]:
    """Interpret the columns of sources; a file with runs of several seeds is split.

    Args:
        sources: Contents of the files.
        choices: The user's choices about them.
        regression: Whether the requested metric is for regressions.

    Raises:
        UserError: A file has nothing to measure, a cell is wrong, or something is ambiguous.
    """
    parts = [word_rows(one, choices) for source in sources for one in _by_seed(source, choices)]
    drafts = [draft(one, choices, regression) for one in parts]
    find_sentences(drafts)
    settle_unlabelled(drafts, choices)
    settle_singles(drafts)
    # Integers in one run do not make it a different kind from the rest.
    if (numbers := next((one.kind for one in drafts if one.of.has_numbers), None)) is not None:
        for one in drafts:
            if one.kind is None and "predictions" in one.arrays and "logits" not in one.arrays and one.names is None:
                one.kind = numbers
                one.arrays["logits"] = one.arrays.pop("predictions")[:, None]
    runs = []
    for one in drafts:
        run, notes = settle_probabilities(build(one))
        runs.append(replace(run, notes=(*run.notes, *notes)))
    return runs


def _by_seed(source: Source, choices: Choices) -> list[Source]:
    """Split a table with the rows of several seeds; name the run of one with a single seed."""
    names = (
        [choices.columns["seed"]]
        if "seed" in choices.columns
        else [name for name in source.columns if name not in choices.ignore and squashed(name) in SEEDS]
    )
    if source.table is None:
        return _stacked(source, names)
    for name in names:
        words = ["" if is_nothing(cell) else spelled(cell) for cell in source.cells(name)]
        seeds = list(dict.fromkeys(words))
        if len(seeds) == 1:
            return [replace(source, seed=None)] if not seeds[0] else [source]
        if "" in seeds:
            raise UserError(f"{source.where(words.index(''))}: '{name}' is missing, but other rows have it")
        if len(seeds) == len(words):
            # A different number in every row names rows, not runs.
            continue
        rows = {seed: np.flatnonzero(np.array(words) == seed) for seed in seeds}
        sizes = {seed: len(found) for seed, found in rows.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{seed}: {size}" for seed, size in list(sizes.items())[:6])
            raise UserError(
                f"{source.origin}: '{name}' names {len(seeds)} runs with different numbers of rows ({listed}); "
                f"use --set ignore={name} if it does not name runs"
            )
        return [source.select(found, seed) for seed, found in rows.items()]
    _ask_of_blocks(source, choices)
    return [source]


def _ask_of_blocks(source: Source, choices: Choices) -> None:
    """Ask about a column that divides the rows into blocks with the same labels: it may name runs.

    Raises:
        UserError: There is one; names the options.
    """
    taken = take(source.columns, choices, source.origin)
    label = taken.fields.get("labels")
    if label is None or source.is_matrix(label):
        return
    for field in ("ids", "texts"):
        column = taken.fields.get(field)
        if column is not None and not source.is_matrix(column):
            cells = list(map(str, source.cells(column)))
            if len(set(cells)) == len(cells):
                # Different examples, such as a test set in several languages.
                return
    labels = [spelled(cell) for cell in source.cells(label)]
    for name in source.columns:
        if name in taken.used() or name in taken.singles or name in choices.ignore or source.is_matrix(name):
            continue
        blocks: dict[str, list[str]] = {}
        for cell, one in zip(source.cells(name), labels, strict=True):
            blocks.setdefault(str(cell), []).append(one)
        first = next(iter(blocks.values()))
        same = len(blocks) > 1 and all(block == first for block in blocks.values())
        if same and len(first) >= _BLOCK and len(set(first)) > 1:
            raise UserError(
                f"{source.origin}: '{name}' has {len(blocks)} values, each with the same labels in its rows. Does "
                f"it name runs of the same examples (--set seed={name}), or not (--set ignore={name})?"
            )


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
