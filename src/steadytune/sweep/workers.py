"""Several training processes on one folder, and one that watches them.

The processes share the work by claiming runs, as any two started by hand would. What this adds is one progress display,
and that a process that is killed, for lack of memory say, costs one run at most and not the sweep.
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
from typing import Any

from steadytune.errors import UserError
from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec
from steadytune.sweep.listener import Listener
from steadytune.training.versions import versions

_ATTEMPTS = 2
_COMMAND = (sys.executable, "-m", "steadytune.sweep.worker")


@dataclass(eq=False)
class _Worker:
    """One process, and the runs that it says it is training."""

    process: subprocess.Popen[str]
    training: set[str] = field(default_factory=set)


def work_in_processes(store: RunStore, specs: Sequence[RunSpec], count: int, listener: Listener) -> None:
    """Train runs in `count` processes until the folder holds them all.

    Raises:
        UserError: As a worker met it, or no worker lives long enough to train anything.
    """
    crew = _Crew(store, specs, listener)
    try:
        for _ in range(count):
            crew.start()
        while crew.workers:
            crew.hear(*crew.messages.get())
    finally:
        crew.end()
    for spec in specs:
        if spec.id not in crew.told:
            listener.elsewhere(store.record(spec.id))


class _Crew:
    """The processes of one sweep.

    Attributes:
        workers: Those that live.
        messages: What they say, in the order in which they said it.
        told: Runs of which the listener has heard the end.
    """

    def __init__(self, store: RunStore, specs: Sequence[RunSpec], listener: Listener) -> None:
        self.store, self.specs, self.listener = store, specs, listener
        self.workers: list[_Worker] = []
        self.messages: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
        self.told: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._idle_deaths = 0

    def start(self) -> None:
        """Start one process."""
        # Threads that spin while they wait slow each other down by an order of magnitude on a busy machine.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(max(spec.training.threads for spec in self.specs)),
            "OMP_WAIT_POLICY": "PASSIVE",
            "KMP_BLOCKTIME": "0",
            "TOKENIZERS_PARALLELISM": "false",
        }
        process = subprocess.Popen(
            [*_COMMAND, str(self.store.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # An interrupt at the terminal is for the watching process, which then ends these.
            start_new_session=True,
        )
        worker = _Worker(process)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=[worker], daemon=True).start()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once, which `hear` will hear
            json.dump([spec.model_dump(mode="json") for spec in self.specs], process.stdin)
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
        """Act on one message."""
        event, run_id = message["event"], message.get("run", "")
        if event == "started":
            worker.training.add(run_id)
            self.listener.started(run_id)
        elif event == "advanced":
            self.listener.advanced(run_id, message["share"])
        elif event == "finished":
            worker.training.discard(run_id)
            self._idle_deaths = 0
            self._tell(self.store.record(run_id))
        elif event == "error":
            raise UserError(message["text"])
        elif event == "ended":
            self.workers.remove(worker)
            if code := worker.process.wait():
                self._replace(worker, code)

    def end(self) -> None:
        """Kill what lives."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()

    def _replace(self, worker: _Worker, code: int) -> None:
        """Start another process, having given up the runs that killed as many as they may."""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._idle_deaths += not worker.training
        if self._idle_deaths > _ATTEMPTS:
            raise UserError(f"training processes die before they train anything ({how}); see what they printed above")
        self._deaths.update(worker.training)
        for spec in self.specs:
            if spec.id in worker.training and self._deaths[spec.id] >= _ATTEMPTS:
                guess = ": out of memory?" if how == "SIGKILL" else ""
                reason = f"the training process died {_ATTEMPTS} times, last by {how}{guess}"
                with self.store.claim(spec.id) as mine:
                    if mine:
                        lost = RunRecord(spec=spec, status="crashed", reason=reason, versions=versions())
                        self._tell(self.store.write(lost, {}))
        self.start()

    def _tell(self, record: RunRecord) -> None:
        self.told.add(record.spec.id)
        self.listener.finished(record)
