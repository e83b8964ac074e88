"""The process that watches a command: it ends the command, and whatever that started, with the one that asked.

It is started as a file, without this package and without a shell, reads a JSON object from standard input, and writes
one to standard output when everything has ended. Standard input stays open as long as anybody waits: however the
waiting process dies, kill -9 included, its end is the sign to end the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

GRACE_SECONDS = 5.0
"""Between the request to end, SIGTERM, and the kill."""
_LOOK_SECONDS = 0.05
# Loaded here, not in the process that becomes the command.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Run one command."""
    asked = json.loads(sys.stdin.buffer.readline())
    # Whatever the command leaves running becomes a child of this process, not of the system: so it can be found.
    _process_control(_PR_SET_CHILD_SUBREAPER, 1)
    ended = _run(asked)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(ended), flush=True)
    # Without waiting for the thread, which reads until nobody asks any more.
    os._exit(0)


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    with Path(asked["log"]).open("ab", buffering=0) as log:
        begun = time.monotonic()
        try:
            process = subprocess.Popen(
                asked["command"],
                cwd=asked["folder"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the process that waits, and a command must not wait for the terminal.
                start_new_session=True,
                # There are no threads yet.
                preexec_fn=_prepare if _LIBC else None,  # noqa: PLW1509
            )
        except OSError as error:
            return {"error": error.strerror or str(error), "seconds": 0.0}
        # Not before: a process that has threads should not be forked.
        abandoned, limit, over = _listen(), asked["timeout"], False
        while process.poll() is None and not abandoned.is_set() and not over:
            abandoned.wait(_LOOK_SECONDS)
            over = limit is not None and time.monotonic() - begun > limit
        by_itself = process.poll() is not None
        seconds = time.monotonic() - begun
        ended = _end_all(process)
        left = ended if by_itself else 0
        code = process.wait()
        _reap()
        return {"code": code, "over": over and not by_itself, "left": left, "seconds": seconds}


def _listen() -> threading.Event:
    """Return what is set when nobody waits any more."""
    abandoned = threading.Event()

    def listen() -> None:
        sys.stdin.buffer.read()
        abandoned.set()

    threading.Thread(target=listen, daemon=True).start()
    return abandoned


def _end_all(process: subprocess.Popen[bytes]) -> int:
    """End the command and its descendants, those included that have left its session; return how many there were."""
    found = _living()
    _signal_all(found, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while (left := _living()) and time.monotonic() < end:
        process.poll()
        time.sleep(_LOOK_SECONDS)
    while left:
        # Again and again: they may start others until they are gone.
        _signal_all(left, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        process.poll()
        time.sleep(_LOOK_SECONDS)
        left = _living()
    return len(found)


def _living() -> list[psutil.Process]:
    """Return the descendants of this process that have not ended."""
    found = []
    # A look that happens as a parent ends may miss its children.
    for _ in range(2):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        if found:
            break
    return found


def _reap() -> None:
    """Let the system forget the processes that the command had left behind and that have ended."""
    if hasattr(os, "WNOHANG"):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _prepare() -> None:
    """In the process that becomes the command: die with this one, and be as nice."""
    _process_control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError), Path("/proc/self/autogroup").open("w") as file:
        # A new session is a group of its own for the scheduler, which counts before the niceness of its processes.
        file.write(str(os.nice(0)))


def _process_control(option: int, value: int) -> None:
    if _LIBC:
        _LIBC.prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
