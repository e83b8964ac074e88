"""What a sweep tells while it works."""

from __future__ import annotations

from typing import Any

from steadytune.records import RunRecord
from steadytune.study import RunSpec


class Listener:
    """Hears of runs as they start, advance and end. Every method does nothing unless overridden."""

    def began(self, specs: list[RunSpec], missing: int) -> None:
        """Hear that a sweep of `specs` begins, of which `missing` are still to be trained."""

    def started(self, run_id: str) -> None:
        """Hear that a run is being trained."""

    def advanced(self, run_id: str, share: float) -> None:
        """Hear that a share, 0 to 1, of a run is done."""

    def finished(self, record: RunRecord) -> None:
        """Hear that a run is stored."""

    def elsewhere(self, record: RunRecord) -> None:
        """Hear that another process stored a run of this sweep."""

    def ended(self) -> None:
        """Hear that nothing is left to do, or that the sweep was stopped."""

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: Any) -> None:
        self.ended()
