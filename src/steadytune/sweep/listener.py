"""Progress events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Listener:
    """Receiver of events when runs, or other results with an id, start, advance and end.

    Every method does nothing unless overridden. Executors call those that take an id.
    """

    def began(self, store: Any, specs: list[Any], missing: int) -> None:
        """A sweep of `specs` begins, of which `missing` are still to be done; `store` has the records.

        In a study these are `RunSpec` and `RunStore`, of a command `CommandRun` and `CommandStore`.
        """

    def started(self, run_id: str) -> None:
        """A run is being trained."""

    def advanced(self, run_id: str, share: float) -> None:
        """A share, 0 to 1, of a run is done."""

    def finished(self, run_id: str) -> None:
        """A run is stored."""

    def elsewhere(self, run_id: str) -> None:
        """Another process stored a run of this sweep."""

    def ended(self) -> None:
        """Nothing is left to do, or the sweep was stopped."""

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: Any) -> None:
        self.ended()


class Share(Listener):
    """Combine all events to one number: the share of the total effort that is done, 0 to 1.

    Args:
        efforts: Duration of each id, in any unit.
        progress: Called with the share whenever it changes.
    """

    def __init__(self, efforts: Mapping[str, float], progress: Callable[[float], None]) -> None:
        self.efforts, self.progress = efforts, progress
        self.shares: dict[str, float] = {}

    def advanced(self, run_id: str, share: float) -> None:
        """Report the total share; ids that are not part of it, because they were done before, are ignored."""
        if run_id not in self.efforts:
            return
        self.shares[run_id] = share
        done = sum(effort * self.shares.get(one, 0.0) for one, effort in self.efforts.items())
        self.progress(min(1.0, done / sum(self.efforts.values())))

    def finished(self, run_id: str) -> None:
        """Count the id as done."""
        self.advanced(run_id, 1.0)

    elsewhere = finished
