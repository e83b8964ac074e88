"""What is heard of workers, wherever they are, and what follows when one dies over an id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from steadytune.errors import UserError
from steadytune.sweep.job import AnyJob
from steadytune.sweep.listener import Listener

ATTEMPTS = 2
"""How often an id may kill its process; it is given up then."""


class Watch:
    """The ids of a sweep, as seen by the process that monitors the workers and tells the listener of them.

    Attributes:
        owners: The job of each id.
        told: Ids whose end has been reported to the listener.
    """

    def __init__(self, jobs: Sequence[AnyJob], store: Any, listener: Listener) -> None:
        self.store, self.listener = store, listener
        self.owners = {one: job for job in jobs for one in job.ids}
        self.told: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._idle_deaths = 0

    def hear(self, message: dict[str, Any], at_work: set[str]) -> None:
        """Handle one message, as `worker.Teller` tells it.

        Args:
            message: What happened.
            at_work: The ids that its worker has begun and not ended, which this changes.

        Raises:
            UserError: A job raised it.
            RuntimeError: A job raised another error, whose traceback is included.
        """
        event, run_id = message["event"], message.get("run", "")
        if event == "started":
            at_work.add(run_id)
            self.listener.started(run_id)
        elif event == "advanced":
            self.listener.advanced(run_id, message["share"])
        elif event == "finished":
            at_work.discard(run_id)
            self._idle_deaths = 0
            self._tell(run_id)
        elif event == "error":
            raise UserError(message["text"])
        elif event == "bug":
            raise RuntimeError(f"unexpected error in a worker:\n{message['text']}")

    def died(self, at_work: set[str], how: str, guess: str = "") -> None:
        """Count the death of a worker, and give up ids that have killed too many.

        Args:
            at_work: The ids that it had begun and not ended.
            how: What ended it, such as the name of a signal.
            guess: Why, if that can be guessed.

        Raises:
            UserError: Workers die before they start anything, or a job cannot be given up.
        """
        self._idle_deaths += not at_work
        if self._idle_deaths > ATTEMPTS:
            raise UserError(f"worker processes die before they start any run ({how}); see their output above")
        self._deaths.update(at_work)
        for one in sorted(at_work):
            if self._deaths[one] >= ATTEMPTS:
                with self.store.claim(one) as mine:
                    if mine:
                        reason = f"the process died {ATTEMPTS} times, the last time by {how}{guess}"
                        self.owners[one].give_up(one, reason, self.store)
                        self._tell(one)

    def close(self) -> None:
        """Report what other processes recorded."""
        for one in self.owners:
            if one not in self.told:
                self.listener.elsewhere(one)

    def _tell(self, run_id: str) -> None:
        self.told.add(run_id)
        self.listener.finished(run_id)
