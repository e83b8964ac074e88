"""From RunSpecs to RunRecords, whatever happens: a run that diverges or raises is also recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from steadytune.errors import UserError, machine_fault
from steadytune.files import Arrays
from steadytune.records import RunRecord
from steadytune.study import RunSpec
from steadytune.training.full import Look, train_once
from steadytune.training.head import train_heads
from steadytune.training.loading import quiet
from steadytune.training.run_record import lost


def train(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None], look: Look | None = None
) -> list[tuple[RunRecord, Arrays]]:
    """Train a group of runs, as `sweep.plan.jobs` makes them: see `train_once` and `train_heads`.

    Args:
        specs: The runs.
        cache: Folder of data shared between seeds.
        progress: Called with the share done, 0 to 1.
        look: Examines each model of full fine-tuning once it is trained; see `train_once`.

    Raises:
        UserError: The input is wrong, so every run would fail; or the machine failed, and all of them can
            succeed once it is fixed.
    """
    started = time.perf_counter()
    results: list[tuple[RunRecord, Arrays]] = []
    try:
        with quiet():
            for result in _train(specs, cache, progress, look):
                results.append(result)
        return results
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # any other error ends only this run, not the sweep
        fault = error if isinstance(error, OSError) else error.__cause__
        if isinstance(fault, OSError):
            raise UserError(
                f"{machine_fault(fault)}. This is a fault of the machine, so no run is recorded as failed.\n"
                "Finished runs are kept: fix it and run the same command again."
            ) from error
        seconds = (time.perf_counter() - started) / len(specs)
        return [*results, *((lost(spec, error, seconds), {}) for spec in specs[len(results) :])]


def _train(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None], look: Look | None
) -> Iterable[tuple[RunRecord, Arrays]]:
    if specs[0].training.mode == "head":
        return train_heads(specs, cache, progress)
    return train_once(specs, cache, progress, *([] if look is None else [look]))
