"""`steadytune ls`: what a folder of runs holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steadytune.records import RunRecord


_HEADINGS = ("run", "recipe", "seed", "status", "score", "seconds", "")
_NUMBERS = {"score", "seconds"}


def ls(folder: Annotated[Path, typer.Argument(help="The --out folder of a 'steadytune run'.")]) -> None:
    """List the runs that a folder holds, a line each, and how many of each recipe are there.

    **Example**

    `steadytune ls runs/rte`

    `steadytune ls runs/rte | grep FAILED`
    """
    from steadytune.records import RunStore

    store = RunStore(folder)
    records = store.records()
    # Model and task would be the same words in every line of most folders.
    named = len({record.spec.cohort[:2] for record in records}) > 1
    for line in _aligned([_HEADINGS, *(_line(record, named) for record in records)]):
        typer.echo(line)
    typer.echo()
    asked = len(store.study.seeds)
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.spec.cohort, []).append(record)
    for cohort, members in groups.items():
        typer.echo(_summary(" / ".join(cohort), members, asked))
    missing = sum(1 for _ in store.study.grid()) - len(records)
    if missing > 0:
        typer.echo(
            f"{missing} of the study's runs are not there yet: steadytune run {folder}/study.yaml --out {folder}"
        )


def _line(record: RunRecord, named: bool) -> tuple[str, ...]:
    recipe = " / ".join(record.spec.cohort) if named else record.spec.recipe
    score = "-" if record.score is None else f"{100 * record.score:.1f}"
    if record.status != "done":
        mark = f"FAILED {record.reason or ''}".rstrip()
    else:
        mark = "FAILED at or below the majority class" if record.failed else ""
    return record.spec.id, recipe, record.spec.seeds.label, record.status, score, f"{record.seconds:.1f}", mark


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if heading in _NUMBERS else text.ljust(width)
            for heading, text, width in zip(_HEADINGS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _summary(name: str, records: list[RunRecord], asked: int) -> str:
    scores = [record.score for record in records if record.score is not None]
    parts = [f"{len(records)} of {asked} runs"]
    if scores:
        metric = next(record.metric for record in records if record.score is not None)
        span = f"{100 * min(scores):.1f} to {100 * max(scores):.1f}" if len(scores) > 1 else f"{100 * scores[0]:.1f}"
        parts.append(f"{metric} {span}")
    if failed := sum(record.failed for record in records):
        parts.append(f"{failed} failed")
    return f"{name}: {', '.join(parts)}"
