"""One run of a command as a job."""

from __future__ import annotations

import re
import signal
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.external.commands.record import CommandRecord
from steadytune.external.commands.results import bring_home, results_of
from steadytune.external.commands.store import LOG, OUT, CommandStore
from steadytune.external.commands.sweep import CommandRun, Sweep
from steadytune.files import sha256_file
from steadytune.sweep.child import Ended, run_command
from steadytune.sweep.job import Job
from steadytune.sweep.listener import Listener

# The end of a log in which the last error is looked for.
_END_BYTES, _LONGEST = 2**14, 200
_ERROR = re.compile(r"(?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt|Exit)\b(?::.*)?")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LARGEST_FILE = 2**26
# Enough runs to know how long the next one takes.
_KNOWN = 20


class CommandJob(Job[CommandStore]):
    """One run of the command of a folder.

    Args:
        seed: Its seed.
        values: Its values.
        timeout: Seconds after which it is ended.
    """

    # It computes in a process of its own, whose environment is left as it is.
    threads = 0

    def __init__(self, seed: int, values: Mapping[str, str], timeout: float | None = None) -> None:
        self.run, self.timeout = CommandRun.of(seed, values), timeout

    @property
    def ids(self) -> tuple[str, ...]:
        """The name of the run's folder."""
        return (self.run.id,)

    def plain(self) -> dict[str, Any]:
        """Return the parameters."""
        return {"seed": self.run.seed, "values": dict(self.run.values), "timeout": self.timeout}

    def do(self, ids: Sequence[str], store: CommandStore, listener: Listener) -> None:
        """Run the command in a folder that becomes the run's when it has ended, however it ends by itself."""
        sweep, (one,) = store.sweep, ids
        listener.started(one)
        usual = _usual_seconds(store)
        with store.made(one) as folder:
            out, begun, files = (folder / OUT).resolve(), time.time(), _checksums(sweep)
            out.mkdir()
            start = time.monotonic()

            def advance() -> None:
                if usual:
                    listener.advanced(one, min(0.99, (time.monotonic() - start) / usual))

            log = folder / LOG
            log.touch()
            command = [self.run.filled(word, str(out)) for word in sweep.command]
            ended = run_command(command, sweep.folder, log, self.timeout, advance)
            out.mkdir(exist_ok=True)
            status, reason = _fate(ended, log, self.timeout)
            store.write(
                folder,
                CommandRecord(
                    command=sweep.command,
                    seed=self.run.seed,
                    values=dict(self.run.values),
                    status=status,
                    reason=reason,
                    code=ended.code,
                    seconds=ended.seconds,
                    files=files,
                    results=_results(sweep, self.run, out, begun, log) if status == "done" else {},
                ),
            )
        listener.finished(one)

    def give_up(self, one: str, reason: str, store: CommandStore) -> None:
        """Record a run that crashed."""
        with store.made(one) as folder:
            (folder / OUT).mkdir()
            values = dict(self.run.values)
            command = store.sweep.command
            record = CommandRecord(command=command, seed=self.run.seed, values=values, status="crashed", reason=reason)
            store.write(folder, record)


def _fate(ended: Ended, log: Path, timeout: float | None) -> tuple[Any, str | None]:
    if ended.left:
        with log.open("a") as file:
            file.write(f"\n[steadytune] {ended.left} processes were left running by the command, and ended\n")
    if ended.code == 0 and not ended.over:
        return "done", None
    if ended.code is None:
        return "crashed", f"cannot be started: {ended.error}"
    if ended.over:
        return "stopped", _with_end(f"ended at the time limit of {timeout:g} s", log)
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        return "crashed", _with_end(f"ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}", log)
    return "crashed", _with_end(f"exit code {ended.code}", log)


def _with_end(how: str, log: Path) -> str:
    end = end_of_log(log)
    return f"{how}: {end}" if end else how


def end_of_log(log: Path) -> str:
    """Return the last line of a log that names an error, or else its last line, shortened; "" if it is empty."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _END_BYTES))
        text = file.read().decode("utf-8", "replace")
    # A progress bar writes over its line.
    lines = [" ".join(_ESCAPES.sub("", line).split()) for line in re.split(r"[\r\n]+", text)]
    lines = [line for line in lines if line and not line.startswith("[steadytune]")]
    said = next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "")
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 3]}..."


def _checksums(sweep: Sweep) -> dict[str, str]:
    """Return the checksums of the files that the command names, but for huge ones."""
    named = {word: Path(sweep.folder, word) for word in sweep.files}
    return {word: sha256_file(path) for word, path in named.items() if path.stat().st_size <= _LARGEST_FILE}


def _results(sweep: Sweep, run: CommandRun, out: Path, begun: float, log: Path) -> dict[str, str]:
    """Return the checksums of what is to be measured; what it lacks is said in the log, and when it is measured."""
    try:
        if sweep.outside:
            bring_home(sweep, run, out, begun)
        found = results_of(sweep, run, out)
    except UserError as error:
        with log.open("a") as file:
            file.write(f"\n[steadytune] nothing to be measured: {error}\n")
        return {}
    return {path.relative_to(out).as_posix(): sha256_file(path) for path in found}


def _usual_seconds(store: CommandStore) -> float:
    """Return the median time of some finished runs; 0 if there is none."""
    known = []
    for name in store.names()[:_KNOWN]:
        try:
            record = store.record(name)
        except UserError:
            continue
        if record.status == "done":
            known.append(record.seconds)
    return statistics.median(known) if known else 0.0
