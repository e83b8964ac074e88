"""Run a command in a process of its own that ends with this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from steadytune.sweep import supervisor

_TELL_SECONDS = 0.2


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code; the negative number of the signal that ended it; None if it could not be started or watched.
        over: Whether it was ended at its time limit.
        left: Number of processes that it had left running, and that were ended.
        seconds: Wall-clock seconds.
        error: Why it could not be started, or "".
    """

    code: int | None = None
    over: bool = False
    left: int = 0
    seconds: float = 0.0
    error: str = ""


def run_command(
    command: Sequence[str],
    folder: str | Path,
    log: Path,
    timeout: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command without a shell, and wait until it and all that it started have ended.

    It inherits the environment as it is, reads nothing from standard input, and dies with this process.

    Args:
        command: Program and arguments.
        folder: Where to run it.
        log: File to which whatever it prints is added.
        timeout: Seconds after which it is ended.
        advance: Called a few times a second.
    """
    watching = subprocess.Popen(
        [sys.executable, supervisor.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Without what libraries have set behind Python's back, such as the size of the terminal.
        env=os.environ,
        start_new_session=True,
    )
    assert watching.stdin is not None
    assert watching.stdout is not None
    try:
        asked = {"command": list(command), "folder": str(folder), "log": str(log), "timeout": timeout}
        watching.stdin.write(json.dumps(asked).encode() + b"\n")
        watching.stdin.flush()
        while True:
            try:
                watching.wait(_TELL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                advance()
        said = watching.stdout.read()
    except BrokenPipeError:
        said = b""
    finally:
        # The sign to end, and then the end itself: nothing of a command outlives an interrupt.
        with suppress(BrokenPipeError):
            watching.stdin.close()
        watching.wait()
        watching.stdout.close()
    return Ended(**json.loads(said)) if said else Ended(error="the process that watches it was killed")
