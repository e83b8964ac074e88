"""Starting the command line: in this process, or in one of its own that a test may kill.

A process of its own is forked from a server that has imported the libraries and done nothing else, because importing
them takes longer than all that is tested.
"""

import io
import multiprocessing
import os
import resource
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from steadytune.cli.main import main

PATIENCE = 600.0
"""Seconds after which something hangs, however busy the machine is: no test tells slow from fast."""

_LIBRARIES = ["torch", "transformers", "steadytune.training.run", "steadytune.sweep.execute", "steadytune.reporting"]


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str


def command(*words: object) -> Result:
    """Run `steadytune WORDS` in this process."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["steadytune", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    assert code is None or isinstance(code, int)
    return Result(code or 0, out.getvalue(), err.getvalue())


def refused(*words: object) -> str:
    """Run a command that a user's mistake must end with exit code 2; return the one or two lines that say so."""
    result = command(*words)
    assert result.code == 2, result
    lines = result.err.strip().splitlines()
    assert 1 <= len(lines) <= 2, result.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.err
    return result.err.strip()


class Started:
    """A command in a process of its own, in a process group of its own.

    Attributes:
        pid: Of the process.
    """

    def __init__(self, *words: object, folder: Path, file_bytes: int | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_LIBRARIES)
        self._log = folder / f"{time.monotonic_ns()}.log"
        self._process = context.Process(target=_child, args=([str(word) for word in words], self._log, file_bytes))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def kill(self) -> None:
        """Kill it as the system does when memory is short: it has no chance to clean up."""
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float = PATIENCE) -> Result:
        """Wait until it ends; output and errors are one stream."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f"still running after {seconds} s: {self.log}")
        return Result(self._process.exitcode, self.log, self.log)

    def wait_for_runs(self, folder: Path, count: int) -> None:
        """Wait until a folder shows so many runs, or the command ends."""
        wait_for(lambda: len(runs_in(folder)) >= count or not self.running, what=f"{count} finished runs in {folder}")

    @property
    def running(self) -> bool:
        return self._process.exitcode is None

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""


def _child(words: list[str], log: Path, file_bytes: int | None) -> None:
    with log.open("wb", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    sys.argv = ["steadytune", *words]
    main()


def runs_in(out: Path) -> set[str]:
    """Return the ids of the runs that a folder shows."""
    folder = Path(out) / "runs"
    return {name for name in (os.listdir(folder) if folder.exists() else ()) if not name.startswith(".")}


def wait_for(condition, seconds: float = PATIENCE, what: str = "what the test waits for") -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen in {seconds} s")
        time.sleep(0.01)
