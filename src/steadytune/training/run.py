"""RunSpecs -> RunRecords, whatever happens: a run that diverges or raises is a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from steadytune.errors import UserError, machine_fault
from steadytune.files import Arrays
from steadytune.records import RunRecord
from steadytune.study import RunSpec
from steadytune.training.full import Look, train_full
from steadytune.training.head import train_heads
from steadytune.training.loading import quiet
from steadytune.training.run_record import lost


def train(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None], look: Look | None = None
) -> list[tuple[RunRecord, Arrays]]:
    """Train runs that are done together: one in full fine-tuning, a cohort's on one training set in head tuning.

    Args:
        specs: The runs.
        cache: Folder of what seeds share.
        progress: Called with the share that is done, 0 to 1.
        look: Looks at each model in full fine-tuning, once it is trained; see `train_full`.

    Raises:
        UserError: The input is at fault, so that no other run can go better; or the machine is, and all of them can go
            better once it is mended.
    """
    started = time.perf_counter()
    try:
        with quiet():
            return _train(specs, cache, progress, look)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever else it is, it is this run's fate and not the sweep's
        fault = error if isinstance(error, OSError) else error.__cause__
        if isinstance(fault, OSError):
            raise UserError(
                f"{machine_fault(fault)}. This is a fault of the machine, so no run is recorded as failed.\n"
                "Finished runs are kept: fix it and run the same command again."
            ) from error
        seconds = (time.perf_counter() - started) / len(specs)
        return [(lost(spec, error, seconds), {}) for spec in specs]


def _train(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None], look: Look | None
) -> list[tuple[RunRecord, Arrays]]:
    if specs[0].training.mode == "head":
        return train_heads(specs, cache, progress)
    looks = [] if look is None else [look]
    return [train_full(spec, cache, progress, *looks) for spec in specs]
