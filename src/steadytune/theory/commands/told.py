"""Progress while the cohorts of a study are trained: a bar over all, and a line for each finished one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from steadytune.records import RunStore
from steadytune.reporting.naming import count
from steadytune.study import RunSpec
from steadytune.sweep.listener import Share
from steadytune.terminal.progress import about_left, bars
from steadytune.theory.pages.full_tuning import outcome
from steadytune.theory.studies.full_cohorts import FullCohort


class Told(Share):
    """Shows the share of the work done, and the outcome of each cohort when its last run is recorded.

    Args:
        console: Where to show it.
        cohorts: The cohorts in training.
    """

    def __init__(self, console: Console, cohorts: Sequence[FullCohort]) -> None:
        super().__init__({}, self._move)
        self.console, self.cohorts = console, cohorts
        self.bars = bars(console)
        self.worked = 0.0

    def _move(self, share: float) -> None:
        self.worked = share
        self.bars.update(self.bar, completed=share)

    def began(self, store: RunStore, specs: list[RunSpec], missing: int) -> None:
        """Print how many cohorts there are to train, and which of them cannot be trained."""
        self.store, self.begun = store, time.monotonic()
        self.bar = self.bars.add_task("all cohorts", total=1.0)
        self.bars.start()
        self.left = [{one for one in cohort.ids if one not in store} for cohort in self.cohorts]
        pairs = list(zip(self.cohorts, self.left, strict=True))
        self.efforts = {one: float(cohort.effort) for cohort, ids in pairs for one in ids}
        kept = sum(not ids and not cohort.refused for cohort, ids in pairs)
        self.ended_cohorts = kept
        missing_cohorts = count(len(self.cohorts) - kept, "cohort")
        self._say(f"{missing_cohorts} to train" + (f", {kept} already trained" if kept else ""))
        for cohort in self.cohorts:
            if cohort.refused:
                self._done(cohort)

    def finished(self, run_id: str) -> None:
        """Print the outcome of its cohort, if this was its last run."""
        super().finished(run_id)
        for cohort, left in zip(self.cohorts, self.left, strict=True):
            if run_id in left:
                left.remove(run_id)
                if not left:
                    self._done(cohort)

    elsewhere = finished

    def _done(self, cohort: FullCohort) -> None:
        self.ended_cohorts += 1
        total = len(self.cohorts)
        line = f"[{self.ended_cohorts}/{total}] {outcome(cohort.result(self.store))}"
        self._say(line + (about_left(self.begun, self.worked) if self.worked and self.ended_cohorts < total else ""))

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def ended(self) -> None:
        """Remove the bar, and show the cursor again."""
        # If the terminal is gone, an error here would hide the reason why the work stopped.
        with suppress(OSError):
            self.bars.stop()
