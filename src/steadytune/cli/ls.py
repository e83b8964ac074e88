"""`steadytune ls`: list the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError
from steadytune.grouped import grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steadytune.external.commands.record import CommandRecord
    from steadytune.external.commands.store import CommandStore
    from steadytune.records import RunRecord, RunStore

_HEADINGS = ("run", "recipe", "seed", "status", "score", "seconds", "")
_NUMBERS = {"score", "seconds"}


def ls(folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run' or 'sweep'.")]) -> None:
    """List the runs in a folder, one per line, and count the runs of each recipe.

    **Example**

    `steadytune ls runs/rte`

    `steadytune ls runs/rte | grep FAILED`
    """
    from steadytune.records import RunStore
    from steadytune.terminal.lines import on_one_line, say

    if not (folder / "study.yaml").is_file() and _is_sweep(folder):
        from steadytune.external.commands.store import CommandStore

        _ls_commands(CommandStore(folder))
        return
    store = RunStore(folder)
    records = store.records()
    # In most folders model and task are the same on every line.
    named = len({record.spec.cohort[:2] for record in records}) > 1
    lines = [_HEADINGS, *(tuple(map(on_one_line, _line(record, named))) for record in records)]
    for line in _aligned(lines):
        say(line)
    say()
    asked = len(store.study.seeds)
    for cohort, members in grouped(records, lambda record: record.spec.cohort).items():
        say(on_one_line(_summary(" / ".join(cohort), members, asked)))
    missing = sum(1 for _ in store.study.grid()) - len(records) - store.damaged
    if missing > 0:
        say(f"{missing} of the study's runs are missing; to train them: {store.resume}")
    if hint := retry_hint(store, records):
        say(hint)


def _is_sweep(folder: Path) -> bool:
    # The reader of other people's files takes half a second to import.
    from steadytune.external.commands.sweep import is_sweep

    return is_sweep(folder)


def _ls_commands(store: CommandStore) -> None:
    from steadytune.shown import plural
    from steadytune.terminal.lines import on_one_line, say

    records, values = store.records(), list(store.sweep.values)
    lines: list[tuple[str, ...]] = [("run", *values, "seed", "status", "seconds", "")]
    for record in records:
        mark = f"FAILED {record.reason or ''}".rstrip()
        if record.status == "done":
            mark = _without_results(store, record)
        cells = (record.values.get(name, "-") for name in values)
        lines.append((record.id, *cells, str(record.seed), record.status, f"{record.seconds:.1f}", mark))
    for line in _aligned([tuple(map(on_one_line, line)) for line in lines]):
        say(line)
    say()
    asked = sum(1 for _ in store.sweep.runs())
    lost = sum(record.status != "done" for record in records)
    logs = f", {lost} failed; their logs: {store.path}/runs/*/log.txt" if lost else ""
    say(f"{len(records)} of {plural(asked, 'run')}{logs}")
    if asked > len(records) + len(store.skipped):
        say(f"to do the missing ones: {store.resume}")
    if hint := retry_commands(store, records):
        say(hint)


def _without_results(store: CommandStore, record: CommandRecord) -> str:
    # Whether the file can be read is not tried: it may be large.
    try:
        store.results(record)
    except UserError as error:
        return f"nothing to be measured: {error}"
    return ""


def retry_commands(store: CommandStore, records: Sequence[CommandRecord]) -> str:
    """Return how many runs of a command failed and how to repeat them; "" if none did."""
    lost = sum(record.status != "done" for record in records)
    runs = f"{lost} run{'' if lost == 1 else 's'} failed"
    return f"{runs}; to retry {'it' if lost == 1 else 'them'}: {store.retry}" if lost else ""


def retry_hint(store: RunStore, records: Sequence[RunRecord]) -> str:
    """Return how many runs failed or diverged and how to retrain them; "" if none did."""
    lost = sum(record.status != "done" for record in records)
    runs = f"{lost} run{'' if lost == 1 else 's'} failed or diverged"
    return f"{runs}; to retry {'it' if lost == 1 else 'them'}: {store.retry}" if lost else ""


def _line(record: RunRecord, named: bool) -> tuple[str, ...]:
    from steadytune.analysis.sentences import scored
    from steadytune.metrics import recorded

    recipe = " / ".join(record.spec.cohort) if named else record.spec.recipe
    score = "-" if record.score is None else scored(record.score, recorded(record.metric))
    if record.status != "done":
        mark = f"FAILED {record.reason or ''}".rstrip()
    else:
        mark = "FAILED no better than a constant answer" if record.at_chance else ""
    return record.spec.id, recipe, record.spec.seeds.label, record.status, score, f"{record.seconds:.1f}", mark


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if heading in _NUMBERS else text.ljust(width)
            for heading, text, width in zip(lines[0], line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _summary(name: str, records: list[RunRecord], asked: int) -> str:
    from steadytune.analysis.sentences import scored
    from steadytune.metrics import recorded

    scores = [record.score for record in records if record.score is not None]
    parts = [f"{len(records)} of {asked} runs"]
    if scores:
        metric = next(record.metric for record in records if record.score is not None)
        ends = dict.fromkeys(scored(score, recorded(metric)) for score in (min(scores), max(scores)))
        span = " to ".join(ends)
        parts.append(f"{metric} {span}")
    if failed := sum(record.failed is True for record in records):
        parts.append(f"{failed} failed")
    if unknown := sum(record.failed is None for record in records):
        parts.append(f"whether {unknown} failed is not recorded")
    return f"{name}: {', '.join(parts)}"
