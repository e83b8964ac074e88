"""One process of several: reads jobs from standard input, tells what happens as JSON lines."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from steadytune.errors import UserError, machine_fault
from steadytune.sweep.executors.local import Local
from steadytune.sweep.job import AnyJob, unpacked
from steadytune.sweep.listener import Listener

_TELL_SECONDS = 0.2
_LOOK_SECONDS = 0.2


class Teller(Listener):
    """Says what it hears in JSON, to the process that watches: see `Watch.hear`.

    Args:
        say: Called with each message.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.told = 0.0

    def tell(self, **message: Any) -> None:
        """Say one message."""
        self.say(json.dumps(message))

    def started(self, run_id: str) -> None:
        """Say that a run is being trained."""
        self.tell(event="started", run=run_id)

    def advanced(self, run_id: str, share: float) -> None:
        """Say what share of a run is done, not too often."""
        now = time.monotonic()
        if now - self.told > _TELL_SECONDS:
            self.told = now
            self.tell(event="advanced", run=run_id, share=share)

    def finished(self, run_id: str) -> None:
        """Say that a run is stored."""
        self.tell(event="finished", run=run_id)


def _end_with_watcher() -> None:
    """End when the watching process is gone, however it went: another process then is the parent of this one."""
    watcher = os.getppid()
    while os.getppid() == watcher:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def environment(jobs: Sequence[AnyJob]) -> dict[str, str]:
    """Return the environment variables of a process that does some of these jobs; none if they have no threads."""
    if not (threads := max(job.threads for job in jobs)):
        return {}
    # Threads that spin while waiting slow each other down by an order of magnitude on a busy machine.
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def work(said: str, teller: Teller) -> int:
    """Do the jobs that `packed` said, by themselves or beside others, and tell of them.

    Returns:
        0 when nothing is left; 2 if the input is at fault, 3 if the code is, which has then been told.
    """
    try:
        Local().run(*unpacked(said), teller)
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


def main() -> int:
    """Work until nothing is left; return the exit code."""
    # Whatever a library prints must not mix with the messages: they keep the pipe, everything else goes to stderr.
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: str) -> None:
        try:
            print(message, file=messages, flush=True)
        except BrokenPipeError:
            # The watching process is gone. Nothing is raised: it would be recorded as the fate of the run at hand.
            os._exit(1)

    threading.Thread(target=_end_with_watcher, daemon=True).start()
    # From the process that started this one, over a pipe that no other can write.
    return work(sys.stdin.read(), Teller(say))


if __name__ == "__main__":
    sys.exit(main())
