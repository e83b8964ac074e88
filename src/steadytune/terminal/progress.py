"""Progress of long work: bars with time estimates on a terminal; for a sweep, otherwise one line per run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from steadytune.sweep.listener import Listener

if TYPE_CHECKING:
    from steadytune.external.commands.store import CommandStore
    from steadytune.records import RunRecord
    from steadytune.study import RunSpec


def bars(console: Console) -> Progress:
    """Return progress bars with a share and a time estimate, shown only on a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def bar(console: Console, what: str) -> Iterator[Callable[[float], None]]:
    """Show one bar while the block runs; yield a function to call with the share done, 0 to 1.

    Args:
        console: Where to show it.
        what: What is being done.
    """
    with bars(console) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


class ConsoleListener(Listener):
    """Shows the sweep and every run in training, each with an estimate, and prints a line per finished run.

    Args:
        console: Where to show it.

    Attributes:
        verb: What is done with a run, and its participle.
    """

    verb = ("train", "trained")

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = bars(console)
        self.bars: dict[str, TaskID] = {}
        self.shares: dict[str, float] = {}
        self.done = 0

    def began(self, store: Any, specs: list[Any], missing: int) -> None:
        """Show the number of runs to do."""
        self.store = store
        self.names = self._called(specs)
        self.missing = missing
        self.begun = time.monotonic()
        kept = len(specs) - missing
        runs = "run" if missing == 1 else "runs"
        do, done = self.verb
        self.console.print(f"{missing} {runs} to {do}" + (f", {kept} already {done}" if kept else ""))
        self.sweep = self.progress.add_task("all runs", total=max(missing, 1))
        self.progress.start()

    def started(self, run_id: str) -> None:
        """Show a bar for the run."""
        if run_id not in self.bars:
            self.bars[run_id] = self.progress.add_task(self.names[run_id], total=1.0)

    def advanced(self, run_id: str, share: float) -> None:
        """Move the bars."""
        self.shares[run_id] = share
        if run_id in self.bars:
            self.progress.update(self.bars[run_id], completed=share)
        self.progress.update(self.sweep, completed=self.done + sum(self.shares.values()))

    def finished(self, run_id: str) -> None:
        """Print the outcome of the run, and how long the rest will take."""
        self._show(run_id)

    def elsewhere(self, run_id: str) -> None:
        """Print the outcome of a run that another process trained."""
        self._show(run_id, f" ({self.verb[1]} by another process)")

    def _show(self, run_id: str, remark: str = "") -> None:
        record = self.store.record(run_id)
        self.done += 1
        self.shares.pop(run_id, None)
        if run_id in self.bars:
            self.progress.remove_task(self.bars.pop(run_id))
        self.progress.update(self.sweep, completed=self.done + sum(self.shares.values()))
        outcome = self._outcome(record)
        line = f"[{self.done}/{self.missing}] {self.names[run_id]}: {outcome}, {record.seconds:.0f} s{remark}"
        left = self.missing - self.done
        if left > 0:
            line += about_left(self.begun, (self.done + sum(self.shares.values())) / self.missing)
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _called(self, specs: list[RunSpec]) -> dict[str, str]:
        """Return what each run is called, by id."""
        called = {spec.id: f"{spec.recipe}, seed {spec.seeds.label}" for spec in specs}
        if len({spec.cohort[:2] for spec in specs}) > 1:
            called = {spec.id: f"{spec.task.name}, {called[spec.id]}" for spec in specs}
        return called

    def _outcome(self, record: RunRecord) -> str:
        from steadytune.analysis.sentences import scored
        from steadytune.metrics import recorded

        if record.status == "done" and record.score is not None:
            score = f"{record.metric} {scored(record.score, recorded(record.metric))}"
            return f"{score} (failed run)" if record.at_chance else score
        return f"{record.status}: {record.reason}"

    def ended(self) -> None:
        """Remove the bars, and show the cursor again."""
        # If the terminal is gone, an error here would hide the reason why the sweep stopped.
        with suppress(OSError):
            self.progress.stop()


class CommandListener(ConsoleListener):
    """The same for the runs of a command; says once, after the first run, what it lacks to be measured."""

    verb = ("do", "done")
    store: CommandStore
    told = False

    def _called(self, specs: list[Any]) -> dict[str, str]:
        return {run.id: run.name for run in specs}

    def _outcome(self, record: Any) -> str:
        if record.status != "done":
            return f"{record.status}: {record.reason}"
        why = self.store.unmeasured(record)
        if not why:
            return "done"
        if self.told:
            return "done, but nothing to be measured"
        self.told = True
        return f"done, but nothing to be measured: {why}"


def about_left(begun: float, share: float) -> str:
    """Return "; about 5 min left".

    Args:
        begun: Start of the work, on the clock of `time.monotonic`.
        share: Share of the work done, above 0.
    """
    return f"; about {_duration((time.monotonic() - begun) / share * (1 - share))} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
