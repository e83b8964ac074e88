"""What is told while work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.records import RunStore
    from steadytune.study import RunSpec


class Listener:
    """Hears of runs, or what else is recorded under an id, as they start, advance and end.

    Every method does nothing unless overridden. An executor calls those that take an id.
    """

    def began(self, store: RunStore, specs: list[RunSpec], missing: int) -> None:
        """Hear that a sweep of `specs` begins, of which `missing` are still to be trained; `store` has the records."""

    def started(self, run_id: str) -> None:
        """Hear that a run is being trained."""

    def advanced(self, run_id: str, share: float) -> None:
        """Hear that a share, 0 to 1, of a run is done."""

    def finished(self, run_id: str) -> None:
        """Hear that a run is stored."""

    def elsewhere(self, run_id: str) -> None:
        """Hear that another process stored a run of this sweep."""

    def ended(self) -> None:
        """Hear that nothing is left to do, or that the sweep was stopped."""

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: Any) -> None:
        self.ended()


class Share(Listener):
    """Makes one number of it all: the share of the whole effort that is done, 0 to 1.

    Args:
        efforts: How long each id takes, in any unit.
        progress: Called with the share, whenever it changes.
    """

    def __init__(self, efforts: Mapping[str, float], progress: Callable[[float], None]) -> None:
        self.efforts, self.progress = efforts, progress
        self.shares: dict[str, float] = {}

    def advanced(self, run_id: str, share: float) -> None:
        """Tell the share of the whole; of ids that are no part of it, which were done before, nothing."""
        if run_id not in self.efforts:
            return
        self.shares[run_id] = share
        done = sum(effort * self.shares.get(one, 0.0) for one, effort in self.efforts.items())
        self.progress(min(1.0, done / sum(self.efforts.values())))

    def finished(self, run_id: str) -> None:
        """Count it as done."""
        self.advanced(run_id, 1.0)

    elsewhere = finished
