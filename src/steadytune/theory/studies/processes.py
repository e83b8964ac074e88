"""The jobs of a study in several processes, each of which computes with one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from steadytune.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[float], None]

_POLL_SECONDS = 0.5
_shares: Any = None


def do_all(
    work: Callable[[Job, Progress], Result],
    jobs: Sequence[Job],
    efforts: Sequence[float],
    *,
    workers: int = 1,
    progress: Progress = lambda share: None,
    done: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Do every job, those with the largest effort first, so that no process is left alone with one at the end.

    Args:
        work: Does a job; it is told whom to tell the share that is done. With several processes a function of a module.
        jobs: What to do.
        efforts: How long each takes, in any unit.
        workers: Processes that are started; 1 works in this one. More than 1 needs a script that can be imported, with
            its work under `if __name__ == "__main__"`.
        progress: Called with the share of the whole effort that is done, 0 to 1.
        done: Called with each result, as it comes.

    Returns:
        The results in the order of the jobs.

    Raises:
        UserError: A process was killed.
        Exception: As `work` raises it. What is under way is killed then, as it is by an interrupt.
    """
    order = sorted(range(len(jobs)), key=lambda place: -efforts[place])
    results: dict[int, Result] = {}

    def tell(shares: Sequence[float]) -> None:
        worked = sum(effort * share for effort, share in zip(efforts, shares, strict=True))
        progress(min(1.0, worked / sum(efforts)))

    def keep(place: int, result: Result) -> None:
        results[place] = result
        done(result)

    if min(workers, len(jobs)) <= 1:
        shares = [0.0] * len(jobs)

        def report(place: int, share: float) -> None:
            shares[place] = share
            tell(shares)

        for place in order:
            with _one_thread():
                keep(place, work(jobs[place], partial(report, place)))
            report(place, 1.0)
    else:
        _in_processes(work, [(place, jobs[place]) for place in order], workers, tell, keep)
    return [results[place] for place in range(len(jobs))]


def _in_processes(
    work: Callable[[Job, Progress], Result],
    jobs: Sequence[tuple[int, Job]],
    workers: int,
    tell: Callable[[Sequence[float]], None],
    keep: Callable[[int, Result], None],
) -> None:
    spawned = multiprocessing.get_context("spawn")
    # Each process writes the shares of its own jobs.
    shares = spawned.Array("d", len(jobs), lock=False)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(workers, len(jobs)), spawned, _begin, (shares,)) as pool:
        try:
            places = {pool.submit(_do, work, place, job): place for place, job in jobs}
            waiting = set(places)
            while waiting:
                ended, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
                for future in ended:
                    keep(places[future], future.result())
                tell(shares[:])
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a process was killed, for lack of memory perhaps: start the command again with fewer --workers"
                ) from error
            raise


def _begin(shares: Any) -> None:
    """Make a process ready."""
    global _shares  # noqa: PLW0603
    _shares = shares
    # Ctrl-C reaches every process of a terminal: let the first one stop the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By this name the masking of transformers tells processes of a data loader, which it seeds, from others, which it
    # refuses to seed.
    multiprocessing.current_process().name = "MainProcess"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the process that started this one was killed: nobody would hear of the results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(work: Callable[[Job, Progress], Result], place: int, job: Job) -> Result:
    def report(share: float) -> None:
        _shares[place] = share

    with _one_thread():
        result = work(job, report)
    report(1.0)
    return result


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: more make many small products no faster, and processes would be in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
