"""Ray: the processors or GPUs of this machine, parts of a GPU, or a cluster that exists.

A task does one job, through the same claims as every other process on the folder, and yields what happens as a stream
of JSON. What is sent to a task is `packed` JSON; how Ray carries it is its own affair.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from steadytune.errors import UserError, type_of
from steadytune.sweep.executors.base import Executor
from steadytune.sweep.executors.watch import Watch
from steadytune.sweep.executors.worker import Teller, environment, work
from steadytune.sweep.job import AnyJob, packed
from steadytune.sweep.listener import Listener

# Tasks that Ray knows of at a time: those that run and those that wait.
_MOST = 500
# How many nodes may die below a job: of those that it kills itself, the last would be the whole cluster.
_NODES = 3


class Ray(Executor):
    """Executes jobs as tasks of Ray, on this machine or on a cluster whose nodes share the folder of the results.

    A job whose process dies, or that fails for lack of memory beside others, is tried once more when no other runs; a
    job whose node dies is done elsewhere.

    Args:
        workers: Number of concurrent jobs; 0 means as many as processors, or GPUs, allow.
        address: A cluster that exists, such as "10.0.0.1:6379" or "auto", to be called on one of its machines. By
            default that of the environment variable RAY_ADDRESS, and without it one on this machine that ends with the
            sweep. If the process is connected already, that cluster is used.
        gpus_per_run: Share of a GPU for each job, such as 0.25, or a number of them; by default 1 if there is any.
    """

    name: ClassVar[str] = "ray"
    fits: ClassVar[bool] = True

    def __init__(self, workers: int = 0, *, address: str | None = None, gpus_per_run: float | None = None) -> None:
        super().__init__(workers)
        if address is not None and (not isinstance(address, str) or "://" in address or not address.strip()):
            raise UserError(
                f"the address of a Ray cluster is that of its head, such as 10.0.0.1:6379, or auto, not {address!r:.60}"
            )
        self.address, self.gpus_per_run = address, gpus_per_run
        if gpus_per_run is None:
            return
        if isinstance(gpus_per_run, bool) or not isinstance(gpus_per_run, (int, float)):
            raise UserError(f"gpus_per_run must be a number, not {type_of(gpus_per_run)}")
        if not 0 <= gpus_per_run < math.inf or (gpus_per_run > 1 and gpus_per_run != int(gpus_per_run)):
            raise UserError(
                f"gpus_per_run must be a share of a GPU, such as 0.25, or a whole number, not {gpus_per_run}"
            )

    def run(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        """Have the jobs done by tasks, and monitor these.

        Raises:
            UserError: A job raised it, Ray is missing or cannot be reached, or no node has the processors or GPUs.
            RuntimeError: A job raised another error, whose traceback is included.
        """
        if not jobs:
            return
        with _connected(_library(), self.address) as ray:
            fleet = _Fleet(ray, jobs, store, listener, self)
            try:
                fleet.work()
            finally:
                fleet.end()
            fleet.close()


def _library() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise UserError("executor 'ray' needs Ray: pip install 'steadytune[ray]'") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[Any]:
    """Connect to Ray while the block runs, silently."""
    if ray.is_initialized():
        yield ray
        return
    from steadytune.sweep.capacity import processors

    address = address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    # What it prints of workers that died is said here, in other words.
    with _environment(), _changed(ray._private.worker, print_to_stdstream=lambda *_, **__: None):
        with _handlers_kept(), _loopback(ray, address):
            try:
                if address:
                    ray.init(address=address, **quiet)
                else:
                    ray.init(address="local", num_cpus=processors(), include_dashboard=False, **quiet)
            except Exception as error:  # it raises many types, some of them plain Exception
                where = f"cannot connect to a Ray cluster at {address}" if address else "Ray cannot be started"
                raise UserError(f"{where}: {' '.join(str(error).split())[:300]}") from error
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _loopback(ray: Any, address: str | None) -> Iterator[None]:
    """Keep what Ray starts, or looks for, on this machine to 127.0.0.1, where no other machine can reach it.

    Ray has this switch for systems on which it cannot make clusters, and no public one: it takes an address of the
    network even if it is given this one.
    """
    here = not address or address.rpartition(":")[0] in {"127.0.0.1", "localhost"}
    with _changed(ray._private.ray_constants, **({"ENABLE_RAY_CLUSTER": False} if here else {})):
        yield


@contextmanager
def _changed(module: Any, **values: Any) -> Iterator[None]:
    """Give variables of a module other values while the block runs."""
    held = {name: getattr(module, name) for name in values if hasattr(module, name)}
    for name in held:
        setattr(module, name, values[name])
    try:
        yield
    finally:
        for name, value in held.items():
            setattr(module, name, value)


@contextmanager
def _environment() -> Iterator[None]:
    """Set what Ray reads of the environment, unless the user has; take it back in the end, and what Ray adds to it."""
    held = set(os.environ)
    # No statistics to its makers; and workers as nice as this process, where Ray would have them nicer.
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name in set(os.environ) - held:
            del os.environ[name]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Put signal handlers back that the block replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


def _do(said: str, folder: str) -> Iterator[str]:
    """Do one job on a node, and yield what happens.

    Args:
        said: The job and its store, see `packed`.
        folder: Working directory of the process that started the sweep, in which paths may be relative.
    """
    # A stream can be fed from the main thread alone, so that training has another.
    messages: queue.Queue[str | None] = queue.Queue()
    teller = _Surely(messages)

    def do() -> None:
        try:
            os.chdir(folder)
            work(said, teller)
        except OSError as error:
            teller.tell(event="error", text=f"node {os.uname().nodename} does not have {folder}: {error.strerror}")
        finally:
            messages.put(None)

    threading.Thread(target=do, daemon=True).start()
    while (message := messages.get()) is not None:
        yield message
        messages.task_done()


class _Surely(Teller):
    """A teller that waits until it has been heard which run begins: should it kill the process, it is known which."""

    def __init__(self, messages: queue.Queue[str | None]) -> None:
        super().__init__(messages.put)
        self.messages = messages

    def started(self, run_id: str) -> None:
        """Say that a run is being trained."""
        super().started(run_id)
        self.messages.join()


@dataclass(eq=False)
class _Task:
    """A job that Ray has been given, the ids that it reports to be working on, and those that had too little memory."""

    job: AnyJob
    at_work: set[str] = field(default_factory=set)
    short: set[str] = field(default_factory=set)


class _Fleet(Watch):
    """The tasks of one sweep."""

    def __init__(self, ray: Any, jobs: Sequence[AnyJob], store: Any, listener: Listener, asked: Ray) -> None:
        super().__init__(jobs, store, listener)
        self.ray = ray
        self.waiting = deque(jobs)
        # Jobs that died or lacked memory: tried again when nothing else runs.
        self.alone: deque[AnyJob] = deque()
        self.tasks: dict[Any, _Task] = {}
        self._most = min(asked.workers or _MOST, _MOST)
        self._lost: Counter[AnyJob] = Counter()
        self._options: dict[str, Any] = {
            "num_gpus": self._checked(asked.gpus_per_run),
            # Trying again is decided here.
            "max_retries": 0,
            "num_returns": "streaming",
            # The stream goes on only when what it yielded has been read, on which `_Surely` relies.
            "_generator_backpressure_num_objects": 1,
            "runtime_env": {"env_vars": environment(jobs)},
        }

    def _checked(self, gpus: float | None) -> float:
        """Return the GPUs of a job.

        Raises:
            UserError: No node has what a job needs, which would wait for ever.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU")}
        needed = float(most["GPU"] >= 1) if gpus is None else gpus
        threads = max(job.threads for job in self.owners.values())
        for name, number in (("CPU", threads), ("GPU", needed)):
            if number > most[name]:
                raise UserError(f"a run needs {number:g} {name}, but no node of Ray has more than {most[name]:g}")
        return needed

    def work(self) -> None:
        """Have all jobs done."""
        while self.waiting or self.tasks or self.alone:
            while self.waiting and len(self.tasks) < self._most:
                self._start(self.waiting.popleft())
            if not self.tasks:
                self._start(self.alone.popleft())
            ready, _ = self.ray.wait(list(self.tasks), num_returns=1, fetch_local=False)
            for stream in ready:
                self._next(stream)

    def end(self) -> None:
        """Kill what still runs."""
        for stream in self.tasks:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(stream, force=True)

    def _start(self, job: AnyJob) -> None:
        store = type(self.store)(self.store.path.absolute())
        task = self.ray.remote(_do).options(num_cpus=job.threads or 1, **self._options)
        stream = task.remote(packed([job], store), str(Path.cwd()))
        self.tasks[stream] = _Task(job)

    def _next(self, stream: Any) -> None:
        """Handle what a task yielded, or its end."""
        task, errors = self.tasks[stream], self.ray.exceptions
        try:
            message = json.loads(self.ray.get(next(stream)))
            if message["event"] == "finished" and self._short(task.job, message["run"]):
                task.at_work.discard(message["run"])
                task.short.add(message["run"])
            else:
                self.hear(message, task.at_work)
        except StopIteration:
            del self.tasks[stream]
            for one in task.short:
                task.job.forget(one, self.store)
            if task.short:
                self.alone.append(task.job)
        except (errors.NodeDiedError, errors.ObjectLostError):
            del self.tasks[stream]
            self._lost[task.job] += 1
            if self._lost[task.job] < _NODES:
                self.waiting.append(task.job)
            else:
                self._again(task, f"the end of its node, {_NODES} times")
        except errors.OutOfMemoryError:
            del self.tasks[stream]
            self._again(task, "Ray, as its node was out of memory")
        except errors.WorkerCrashedError:
            del self.tasks[stream]
            self._again(task, "SIGKILL or the like")
        except errors.RayError as error:
            raise RuntimeError(f"unexpected error in a task of Ray:\n{error}") from error

    def _short(self, job: AnyJob, one: str) -> bool:
        """Return whether an id may have failed because others took the memory, beside which it ran."""
        return len(self.tasks) > 1 and job.short_of_memory(one, self.store)

    def _again(self, task: _Task, how: str) -> None:
        self.died(task.at_work, how, ": out of memory?")
        if not self.told.issuperset(task.job.ids):
            self.alone.append(task.job)
