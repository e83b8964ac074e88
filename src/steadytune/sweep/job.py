"""What an executor does: jobs, whose results are recorded under ids in a store that all processes see."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec
from steadytune.sweep.listener import Listener


class Store(Protocol):
    """Where results are recorded, such as a `RunStore`: a class that is given the path of a folder.

    Attributes:
        path: The folder.
    """

    path: Path

    def claim(self, run_id: str, /) -> AbstractContextManager[bool]:
        """Hold an id for this process; yields False if another one holds it, or it is recorded."""
        ...

    def __contains__(self, run_id: str, /) -> bool:
        """Whether something is recorded under an id."""
        ...


AnyStore = TypeVar("AnyStore", bound=Store)


class Job(ABC, Generic[AnyStore]):
    """Work that is done together, in one process, here or elsewhere: it can be said in plain data.

    Attributes:
        threads: CPU threads that it computes with; 0 if it computes in processes of its own, whose environment is to be
            left as it is.
    """

    threads: int = 1

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """What it records its results under, one or more."""

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """Return it as what JSON can hold, by which another process makes it again: `type(job)(**plain)`."""

    @abstractmethod
    def do(self, ids: Sequence[str], store: AnyStore, listener: Listener) -> None:
        """Do some of its ids and record each in the store, telling the listener of each start, advance and end.

        Args:
            ids: Those to do; this process has claimed them.
            store: Where to record them.
            listener: Hears `started`, `advanced` and `finished`.

        Raises:
            UserError: Nothing else can go better, so that all is stopped.
        """

    @abstractmethod
    def give_up(self, one: str, reason: str, store: AnyStore) -> None:
        """Record that an id cannot be done, as it killed its process each time; this process has claimed it.

        Raises:
            UserError: There is nothing to go on with.
        """


class TrainingJob(Job[RunStore]):
    """Runs that are trained together: one in full fine-tuning, a cohort's on one training set in head tuning.

    Args:
        specs: The runs, or the plain data of each.
    """

    def __init__(self, specs: Sequence[RunSpec | dict[str, Any]]) -> None:
        self.specs = tuple(map(RunSpec.model_validate, specs))
        self.threads = max(spec.training.threads for spec in self.specs)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the runs."""
        return tuple(spec.id for spec in self.specs)

    def plain(self) -> dict[str, Any]:
        """Return the specs."""
        return {"specs": [spec.model_dump(mode="json") for spec in self.specs]}

    def do(self, ids: Sequence[str], store: RunStore, listener: Listener) -> None:
        """Train the runs. Whatever a training raises becomes its record."""
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


def packed(jobs: Sequence[AnyJob], store: Store) -> str:
    """Say jobs and their store in JSON, for another process that sees the same folder."""
    said = [{"job": _place(job), **job.plain()} for job in jobs]
    return json.dumps({"store": _place(store), "path": str(store.path), "jobs": said})


def unpacked(text: str) -> tuple[list[AnyJob], Any]:
    """Return the jobs and the store of what `packed` said; only ever from the process that started this one."""
    content = json.loads(text)
    jobs = [_named(job.pop("job"))(**job) for job in content["jobs"]]
    return jobs, _named(content["store"])(Path(content["path"]))


def _place(thing: object) -> str:
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
