"""The one interface of executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from steadytune.sweep.job import AnyJob
from steadytune.sweep.listener import Listener


class Executor(ABC):
    """Has jobs done: in this process, in several, on a cluster.

    Args:
        workers: How many jobs may be done at the same time.

    Attributes:
        name: What it is called in `st.run(executor=...)` and on the command line.
    """

    name: ClassVar[str]

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    @abstractmethod
    def run(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        """Have every id of the jobs recorded, by whomever; return then.

        Whoever does a job claims its ids in the store first, does those that it got, and leaves the others to the
        process that holds them. Another process may be at work on the same store.

        Args:
            jobs: What to do, in the order in which to begin it.
            store: Records the results; see `steadytune.sweep.job.Store`.
            listener: Hears of every id `started`, `advanced`, and once `finished`, or `elsewhere` where another process
                recorded it.

        Raises:
            UserError: A job raised one, so that nothing else can go better.
        """
