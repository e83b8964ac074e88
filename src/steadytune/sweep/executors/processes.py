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
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from steadytune.errors import UserError
from steadytune.sweep.executors.base import Executor
from steadytune.sweep.job import AnyJob, packed
from steadytune.sweep.listener import Listener

_ATTEMPTS = 2
_COMMAND = (sys.executable, "-m", "steadytune.sweep.executors.worker")


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
                crew.hear(*crew.messages.get())
        finally:
            crew.end()
        for one in crew.owners:
            if one not in crew.told:
                listener.elsewhere(one)


class _Crew:
    """The processes of one sweep.

    Attributes:
        owners: The job of each id.
        workers: Workers that are alive.
        messages: Their messages, in order.
        told: Ids whose end has been reported to the listener.
    """

    def __init__(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        self.store, self.listener = store, listener
        self.owners = {one: job for job in jobs for one in job.ids}
        self.workers: list[_Worker] = []
        self.messages: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
        self.told: set[str] = set()
        self._given = packed(jobs, store).encode()
        self._threads = max(job.threads for job in jobs)
        self._deaths: Counter[str] = Counter()
        self._idle_deaths = 0

    def start(self) -> None:
        """Start one process."""
        environment = {**os.environ, **(_quiet(self._threads) if self._threads else {})}
        process = subprocess.Popen(
            list(_COMMAND),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # An interrupt in the terminal is handled by the monitoring process, which then ends these.
            start_new_session=True,
        )
        worker = _Worker(process)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=[worker], daemon=True).start()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died immediately, which `hear` will notice
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

    def hear(self, worker: _Worker, message: dict[str, Any]) -> None:
        """Handle one message."""
        event, run_id = message["event"], message.get("run", "")
        if event == "started":
            worker.at_work.add(run_id)
            self.listener.started(run_id)
        elif event == "advanced":
            self.listener.advanced(run_id, message["share"])
        elif event == "finished":
            worker.at_work.discard(run_id)
            self._idle_deaths = 0
            self._tell(run_id)
        elif event == "error":
            raise UserError(message["text"])
        elif event == "bug":
            raise RuntimeError(f"unexpected error in a worker:\n{message['text']}")
        elif event == "ended":
            self.workers.remove(worker)
            if code := worker.process.wait():
                self._replace(worker, code)

    def end(self) -> None:
        """Kill all live workers."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()

    def _replace(self, worker: _Worker, code: int) -> None:
        """Start a new process, after giving up ids that have killed too many."""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._idle_deaths += not worker.at_work
        if self._idle_deaths > _ATTEMPTS:
            raise UserError(f"worker processes die before they start any run ({how}); see their output above")
        self._deaths.update(worker.at_work)
        guess = ": out of memory?" if how == "SIGKILL" else ""
        for one in sorted(worker.at_work):
            if self._deaths[one] >= _ATTEMPTS:
                with self.store.claim(one) as mine:
                    if mine:
                        reason = f"the process died {_ATTEMPTS} times, the last time by {how}{guess}"
                        self.owners[one].give_up(one, reason, self.store)
                        self._tell(one)
        self.start()

    def _tell(self, run_id: str) -> None:
        self.told.add(run_id)
        self.listener.finished(run_id)


def _quiet(threads: int) -> dict[str, str]:
    # Threads that spin while waiting slow each other down by an order of magnitude on a busy machine.
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
