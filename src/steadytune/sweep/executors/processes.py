"""Several processes on one store, and one that monitors them.

The processes share the work by claiming it, like two sweeps started manually. This adds a single progress display,
and a killed process, for example for lack of memory, costs at most one run, not the sweep.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from steadytune.sweep.executors.base import Executor
from steadytune.sweep.executors.watch import Watch
from steadytune.sweep.executors.worker import environment
from steadytune.sweep.job import AnyJob, packed
from steadytune.sweep.listener import Listener

_COMMAND = (sys.executable, "-m", "steadytune.sweep.executors.worker")
# An interrupt in the terminal is handled by the monitoring process, which then ends its workers: each is a process
# group. Not a session: Linux shares the processors out among sessions, whatever the priority of those within, so that
# the workers of a command started with `nice` would not be nice.
_APART: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp} if os.name == "posix" else {}
)


@dataclass(eq=False)
class _Worker:
    """One process, and the ids that it reports to be working on."""

    process: subprocess.Popen[bytes]
    at_work: set[str] = field(default_factory=set)


class Processes(Executor):
    """Executes jobs in one process per worker, which end with this one."""

    name: ClassVar[str] = "processes"

    def run(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        """Execute the jobs, and monitor the worker processes.

        Raises:
            UserError: A process raised it, or none lives long enough to start a run.
            RuntimeError: A job raised another error, whose traceback is included.
        """
        if not jobs:
            return
        crew = _Crew(jobs, store, listener)
        try:
            for _ in range(min(self.workers, len(jobs))):
                crew.start()
            while crew.workers:
                crew.heard(*crew.messages.get())
        finally:
            crew.end()
        crew.close()


class _Crew(Watch):
    """The processes of one sweep.

    Attributes:
        workers: Workers that are alive.
        messages: Their messages, in order.
    """

    def __init__(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        super().__init__(jobs, store, listener)
        self.workers: list[_Worker] = []
        self.messages: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
        self._given = packed(jobs, store).encode()
        self._environment = {**os.environ, **environment(jobs)}

    def start(self) -> None:
        """Start one process."""
        process = subprocess.Popen(
            list(_COMMAND),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            **_APART,
        )
        worker = _Worker(process)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=[worker], daemon=True).start()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died immediately, which `heard` will notice
            process.stdin.write(self._given)
            process.stdin.close()

    def _listen(self, worker: _Worker) -> None:
        try:
            for line in worker.process.stdout or ():
                self.messages.put((worker, json.loads(line)))
        except ValueError:
            pass  # killed in the middle of a message
        finally:
            self.messages.put((worker, {"event": "ended"}))

    def heard(self, worker: _Worker, message: dict[str, Any]) -> None:
        """Handle one message, or the end of a worker."""
        if message["event"] != "ended":
            self.hear(message, worker.at_work)
            return
        self.workers.remove(worker)
        if code := worker.process.wait():
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self.died(worker.at_work, how, ": out of memory?" if how == "SIGKILL" else "")
            self.start()

    def end(self) -> None:
        """Kill all live workers."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()
