"""`steadytune sweep`: run any command over seeds and values, then measure, compare and report."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadytune.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.external.commands.store import CommandStore


def sweep(
    command: Annotated[
        list[str] | None,
        typer.Argument(help="Program and arguments, run without a shell.", metavar="COMMAND...", show_default=False),
    ] = None,
    *,
    seeds: Annotated[
        str | None,
        typer.Option(help="Number of seeds, from 0; or the seeds, such as 13,42,100.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs and the report.", show_default=False)] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=A,B",
            help="Values of {NAME} in the command, such as lr=1e-5,5e-5. Repeatable: all are crossed.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        str | None,
        typer.Option(
            help="Pattern of the file to measure, relative to {out}; if the command does not mention {out}, to the "
            "current folder, with {seed} in it.",
            show_default="what is found in {out}",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(help="Time limit of a run, such as 90 (seconds), 30m or 2h.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Runs at the same time; 0 means one per processor.")] = 1,
    executor: Annotated[
        str | None,
        typer.Option(
            help="How to run them: 'local' in this process, 'processes', 'ray', or an executor from another package.",
            show_default="local for one worker, else processes",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also redo runs that failed or left nothing to be measured.")
    ] = False,
    metric: Annotated[str | None, typer.Option(help="Metric, as in 'steadytune measure'.", show_default=False)] = None,
    positive: Annotated[
        str | None, typer.Option(help="Positive class, as in 'steadytune measure'.", show_default=False)
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Role of a column, as --set of 'steadytune measure'. Repeatable.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the commands, without running them.")
    ] = False,
) -> None:
    """Run any command over seeds and values, then measure, compare and report what it left.

    In the command {seed} is the seed of a run, {out} a folder of its own, and {NAME} a value of --set NAME. What it
    prints is kept as log.txt. A run that exits with another code than 0 has failed, and the others go on. If everything
    is killed, start the same command again; more seeds and values add to the folder.

    **Example**

    `steadytune sweep --seeds 10 --out runs/x -- python train.py --seed {seed} --output {out}`

    `steadytune sweep --seeds 5 --set lr=1e-5,5e-5 --out runs/lr -- python train.py --lr {lr} --seed {seed} --output
    {out}`

    `steadytune sweep --seeds 5 --out runs/y --results 'outputs/{seed}/*.csv' -- sh train.sh {seed}`
    """
    from steadytune.cli.measure import key_values
    from steadytune.sweep.commands import run_command, sweep_of
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import CommandListener

    if seeds is None:
        raise UserError("no seeds given: say how many with --seeds, such as --seeds 10")
    if out is None and not dry_run:
        raise UserError("no output folder: give one with --out, such as --out runs/x")
    console = Console()
    words = command or []
    if len(words) == 1 and len(shlex.split(words[0])) > 1:
        _say(console, "the command is split into words as by a shell, but no shell runs it")
    asked: dict[str, Any] = {
        "command": words[0] if len(words) == 1 else words,
        "seeds": _seeds(seeds),
        "values": _values(assignments or []),
        "results": results,
        "metric": metric,
        "positive": positive,
        "columns": key_values(columns or [], "--columns"),
    }
    if dry_run:
        planned = sweep_of(**asked)
        for run in planned.runs():
            folder = Path(out or "OUT", "runs", run.id, "out")
            _say(console, f"{run.name}: {shlex.join(run.filled(word, str(folder)) for word in planned.command)}")
        return
    assert out is not None
    try:
        store = run_command(
            out=out,
            **asked,
            timeout=timeout,
            workers=workers,
            executor=executor,
            listener=CommandListener(console),
            retry_failed=retry_failed,
        )
    except KeyboardInterrupt:
        # The terminal may be gone.
        with suppress(OSError):
            console.print("finished runs are kept, and the same command continues from here")
        raise typer.Exit(130) from None
    _end(console, store)


def _end(console: Console, store: CommandStore) -> None:
    """Measure what the runs left, and say which failed."""
    from steadytune.cli.ls import retry_commands

    records = store.records()
    done = [record for record in records if record.status == "done"]
    if len(done) > 1:
        measure_sweep(console, store, store.path)
    elif len(done) == 1:
        _say(console, "one run finished, and measuring instability needs at least two")
    if hint := retry_commands(store, records):
        _say(console, hint)
    if not done:
        raise typer.Exit(1)


def measure_sweep(console: Console, store: CommandStore, out: Path | None) -> None:
    """Measure and print what the runs of a command left; with `out`, write the report.

    Raises:
        UserError: They left nothing that can be measured.
    """
    from steadytune.analysis.comparison.compare import compare
    from steadytune.cli.measure import show_read
    from steadytune.cli.report import show
    from steadytune.reporting import report_of_commands
    from steadytune.terminal.progress import bar

    with bar(console, "measuring") as progress:
        if out is None:
            page, comparison = None, compare(store.cohorts(), progress=progress)
        else:
            page, comparison = report_of_commands(store, progress=progress, out=out)
    show_read(console, comparison)
    show(console, comparison, page)


def _seeds(text: str) -> int | list[int]:
    parts = [part.strip() for part in text.split(",")]
    try:
        return int(text) if len(parts) == 1 else [int(part) for part in parts if part]
    except ValueError:
        raise UserError(f"--seeds is a number of seeds, or seeds such as 13,42,100, not {text:.60}") from None


def _values(assignments: list[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: give values, as in --set lr=1e-5,5e-5")
        if name in values:
            raise UserError(f"--set {name} is given twice: write its values in one, as in --set {name}=a,b")
        values[name.strip()] = [part.strip() for part in text.split(",")]
    return values


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
