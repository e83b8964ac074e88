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
from dataclasses import dataclass, field
from typing import Any

from steadytune.errors import UserError
from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec
from steadytune.sweep.listener import Listener

_ATTEMPTS = 2


@dataclass
class _Worker:
    """One process, and the runs that it says it is training."""

    process: subprocess.Popen[str]
    training: set[str] = field(default_factory=set)


def work_in_processes(store: RunStore, specs: Sequence[RunSpec], count: int, listener: Listener) -> None:
    """Train runs in `count` processes until the folder holds them all.

    Raises:
        UserError: As a worker met it.
    """
    by_id = {spec.id: spec for spec in specs}
    messages: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
    deaths: Counter[str] = Counter()
    heard: set[str] = set()
    workers = [_start(store, specs, messages) for _ in range(count)]
    try:
        while workers:
            worker, message = messages.get()
            event, run_id = message["event"], message.get("run", "")
            if event == "started":
                worker.training.add(run_id)
                listener.started(run_id)
            elif event == "advanced":
                listener.advanced(run_id, message["share"])
            elif event == "finished":
                worker.training.discard(run_id)
                heard.add(run_id)
                listener.finished(store.record(run_id))
            elif event == "error":
                raise UserError(message["text"])
            elif event == "ended":
                workers.remove(worker)
                code = worker.process.wait()
                if code == 0:
                    continue
                if not worker.training:
                    raise RuntimeError(f"a worker process ended with exit code {code} before it trained anything")
                deaths.update(worker.training)
                for lost_id in worker.training:
                    if deaths[lost_id] >= _ATTEMPTS:
                        _record_death(store, by_id[lost_id], code, listener)
                        heard.add(lost_id)
                workers.append(_start(store, specs, messages))
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
    for run_id in by_id:
        if run_id not in heard:
            # A process outside this sweep trained it.
            listener.finished(store.record(run_id))


def _start(store: RunStore, specs: Sequence[RunSpec], messages: queue.Queue[tuple[_Worker, dict[str, Any]]]) -> _Worker:
    # Threads that spin while they wait slow each other down by an order of magnitude on a busy machine.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(spec.training.threads for spec in specs)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "steadytune.sweep.worker", str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    worker = _Worker(process)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps([spec.model_dump(mode="json") for spec in specs]))
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once: its exit code says so below

    def listen(stream: Any = process.stdout) -> None:
        for line in stream:
            messages.put((worker, json.loads(line)))
        messages.put((worker, {"event": "ended"}))

    threading.Thread(target=listen, daemon=True).start()
    return worker


def _record_death(store: RunStore, spec: RunSpec, code: int, listener: Listener) -> None:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    reason = f"the training process died ({how}) {_ATTEMPTS} times; {'out of memory?' if code == -9 else 'see above'}"
    with store.claim(spec.id) as mine:
        if mine:
            listener.finished(store.write(RunRecord(spec=spec, status="failed", reason=reason), {}))
