"""One job after the other, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from steadytune.sweep.executors.base import Executor
from steadytune.sweep.job import AnyJob
from steadytune.sweep.listener import Listener

_POLL_SECONDS = 0.5


class Local(Executor):
    """Executes jobs in this process, whatever the number of workers."""

    name: ClassVar[str] = "local"

    def run(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        """Execute unclaimed jobs one by one until everything is recorded, by this or another process."""
        waiting = list(jobs)
        told: set[str] = set()
        while waiting:
            worked = False
            for job in waiting:
                with ExitStack() as stack:
                    mine = [one for one in job.ids if stack.enter_context(store.claim(one))]
                    if mine:
                        worked = True
                        job.do(mine, store, listener)
                        told.update(mine)
            for one in (one for job in waiting for one in job.ids):
                if one not in told and one in store:
                    listener.elsewhere(one)
                    told.add(one)
            waiting = [job for job in waiting if not told.issuperset(job.ids)]
            if waiting and not worked:
                # Another process holds these; if it dies, this one takes over its claims.
                time.sleep(_POLL_SECONDS)
