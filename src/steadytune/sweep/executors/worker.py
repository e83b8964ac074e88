"""Worker process: reads jobs from standard input and reports events as JSON lines."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time
import traceback
from typing import Any

from steadytune.errors import UserError, machine_fault
from steadytune.sweep.executors.local import Local
from steadytune.sweep.listener import Listener

_TELL_SECONDS = 0.2
_LOOK_SECONDS = 0.2


class _Teller(Listener):
    """Write events as JSON lines."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.told = 0.0

    def tell(self, **message: Any) -> None:
        try:
            print(json.dumps(message), file=self.stream, flush=True)
        except BrokenPipeError:
            # The monitoring process is gone. Nothing is raised: it would be recorded as the error of the current run.
            os._exit(1)

    def started(self, run_id: str) -> None:
        self.tell(event="started", run=run_id)

    def advanced(self, run_id: str, share: float) -> None:
        now = time.monotonic()
        if now - self.told > _TELL_SECONDS:
            self.told = now
            self.tell(event="advanced", run=run_id, share=share)

    def finished(self, run_id: str) -> None:
        self.tell(event="finished", run=run_id)


def _end_with_watcher() -> None:
    """Exit when the monitoring process is gone, however it ended: this process then has a different parent."""
    watcher = os.getppid()
    while os.getppid() == watcher:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def main() -> int:
    """Work until nothing is left; return 2 if the input is wrong, 3 for a bug."""
    # Library output must not mix with the messages: these keep the pipe, everything else goes to stderr.
    teller = _Teller(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    threading.Thread(target=_end_with_watcher, daemon=True).start()
    try:
        # From the process that started this one, over a pipe that no other process can write to.
        jobs, store = pickle.load(sys.stdin.buffer)
        Local().run(jobs, store, teller)
    except UserError as error:
        teller.tell(event="error", text=str(error))
        return 2
    except OSError as error:
        teller.tell(event="error", text=str(machine_fault(error)))
        return 2
    except Exception:
        teller.tell(event="bug", text=traceback.format_exc())
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
