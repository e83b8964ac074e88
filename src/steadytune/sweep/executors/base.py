"""Interface of executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from steadytune.sweep.job import AnyJob
from steadytune.sweep.listener import Listener


class Executor(ABC):
    """Executes jobs: in this process, in several, or on a cluster.

    Args:
        workers: Number of concurrent jobs.

    Attributes:
        name: Its name in `st.run(executor=...)` and on the command line.
        fits: Whether it finds out by itself how many jobs fit, so that 0 workers mean as many.
    """

    name: ClassVar[str]
    fits: ClassVar[bool] = False

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    @abstractmethod
    def run(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        """Return once every id of the jobs has been recorded, by this or another process.

        A process first claims the ids of a job in the store, computes those that it gets, and leaves the others to the
        process that holds them. Other processes may work on the same store.

        Args:
            jobs: Jobs, in the order in which to start them.
            store: Records the results; see `steadytune.sweep.job.Store`.
            listener: Receives for every id `started`, `advanced`, and once `finished`, or `elsewhere` if another
                process recorded it.

        Raises:
            UserError: A job raised one, so no other job can succeed.
        """
