"""Jobs of executors, whose results are recorded under ids in a store shared by all processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec
from steadytune.sweep.listener import Listener


class Store(Protocol):
    """Store of results, such as a `RunStore`; can be pickled, and a copy refers to the same store."""

    def claim(self, run_id: str, /) -> AbstractContextManager[bool]:
        """Claim an id for this process; yields False if another one holds it, or it is recorded."""
        ...

    def __contains__(self, run_id: str, /) -> bool:
        """Return whether a result is recorded under an id."""
        ...


AnyStore = TypeVar("AnyStore", bound=Store)


class Job(ABC, Generic[AnyStore]):
    """Work to be done together, in one process; can be pickled.

    Attributes:
        threads: Number of CPU threads that it uses.
    """

    threads: int = 1

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """The ids of its results, one or more."""

    @abstractmethod
    def do(self, ids: Sequence[str], store: AnyStore, listener: Listener) -> None:
        """Compute some of its ids and record each in the store, reporting start, progress and end to the listener.

        Args:
            ids: Ids to compute, claimed by this process.
            store: Where to record them.
            listener: Receives `started`, `advanced` and `finished`.

        Raises:
            UserError: No other job can succeed, so everything is stopped.
        """

    @abstractmethod
    def give_up(self, one: str, reason: str, store: AnyStore) -> None:
        """Record that an id cannot be computed because it killed its process each time; this process has claimed it.

        Raises:
            UserError: The sweep cannot continue.
        """


class TrainingJob(Job[RunStore]):
    """Runs that are trained together: one in full fine-tuning, a cohort's runs on one training set in head tuning.

    Args:
        specs: The runs.
    """

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self.specs = tuple(specs)
        self.threads = max(spec.training.threads for spec in specs)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the runs."""
        return tuple(spec.id for spec in self.specs)

    def do(self, ids: Sequence[str], store: RunStore, listener: Listener) -> None:
        """Train the runs. An error in a training is recorded as its result."""
        from steadytune.training.run import train

        for run_id in ids:
            listener.started(run_id)

        def advance(share: float) -> None:
            for run_id in ids:
                listener.advanced(run_id, share)

        for record, arrays in train([spec for spec in self.specs if spec.id in ids], store.cache, advance):
            store.write(record, arrays)
            listener.finished(record.spec.id)

    def give_up(self, one: str, reason: str, store: RunStore) -> None:
        """Record a run that crashed."""
        store.write(crashed(next(spec for spec in self.specs if spec.id == one), reason), {})


def crashed(spec: RunSpec, reason: str) -> RunRecord:
    """Return the record of a run whose process died."""
    from steadytune.training.versions import versions

    return RunRecord(spec=spec, status="crashed", reason=reason, versions=versions())


AnyJob = Job[Any]
