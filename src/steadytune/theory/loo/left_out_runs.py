"""Trainings that leave an example out, as runs: one seed's, each compared with the training that has every example.

What is compared is weights, of which a run keeps none. So those of the training with every example lie in the cache
of the store, one file per seed of the cohorts at work, while the trainings without an example come and go: each is
measured against them as it ends, and its distances are measurements of its record. The weights of two seeds are
compared when the last training of a cohort is recorded, and all its files are removed then. At no time are there more
than S files of a cohort, however many examples are left out; and like everything in a cache they may be lost, which
costs the training with every example once more, never those without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.cache import cached_arrays
from steadytune.errors import UserError
from steadytune.files import Arrays, canonical_json, sha256
from steadytune.models.modules import find_head
from steadytune.models.states import logits_of
from steadytune.records import RunRecord, RunStore
from steadytune.study import RunSpec
from steadytune.sweep.job import Job, crashed
from steadytune.sweep.listener import Listener
from steadytune.theory.loo.heads import canonical, direction
from steadytune.training.full import RunTrainer
from steadytune.training.run import train
from steadytune.training.versions import versions

WEIGHTS, DIRECTIONS = "weights_from_whole", "directions_from_whole"
"""Measurements of a run without an example: distances from the run with every example."""
WITH, WITHOUT = "logits_with", "logits_without"
"""Its arrays (classes,): logits of the left-out example by the run with every example, and by this one."""


@dataclass(frozen=True)
class _Weights:
    """Of a trained model.

    Attributes:
        names: In the order of the model, in which squares are added up.
        head: The name of the last layer's.
        arrays: By name.
    """

    names: Sequence[str]
    head: str
    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, model: nn.Module) -> _Weights:
        """Return those of a model, in its memory where that is the processor's."""
        last = find_head(model)[2].weight
        named = dict(model.named_parameters())
        head = next(name for name, weight in named.items() if weight is last)
        return cls(list(named), head, {name: weight.detach().cpu().numpy() for name, weight in named.items()})

    @property
    def cached(self) -> tuple[Arrays, dict[str, Any]]:
        """As a cache holds them."""
        return dict(self.arrays), {"names": list(self.names), "head": self.head}

    def tensor(self, name: str) -> Tensor:
        """Return one."""
        return torch.from_numpy(self.arrays[name])

    def apart(self, other: _Weights) -> tuple[float, float]:
        """Return how far all weights lie apart, and the directions of the last layer, scaled to norm 1."""
        squares = [float((self.tensor(name) - other.tensor(name)).double().square().sum()) for name in self.names]
        return math.sqrt(sum(squares)), float((self._direction - other._direction).norm())

    @property
    def _direction(self) -> Tensor:
        return direction(canonical(self.tensor(self.head).double(), "softmax"))


@dataclass(frozen=True)
class LeaveOneOut(Job[RunStore]):
    """The trainings of one seed: with every example, and without each of some.

    Attributes:
        cohort: The runs with every example, of all seeds, or the plain data of each.
        place: Which of them this is about.
        examples: Indices in their training set.
    """

    cohort: tuple[RunSpec, ...]
    place: int
    examples: tuple[int, ...]

    def __post_init__(self) -> None:
        """Read plain data."""
        object.__setattr__(self, "cohort", tuple(map(RunSpec.model_validate, self.cohort)))
        object.__setattr__(self, "examples", tuple(map(int, self.examples)))

    def plain(self) -> dict[str, Any]:
        """Return its attributes."""
        cohort = [spec.model_dump(mode="json") for spec in self.cohort]
        return {"cohort": cohort, "place": self.place, "examples": list(self.examples)}

    @property
    def whole(self) -> RunSpec:
        """The run with every example."""
        return self.cohort[self.place]

    @property
    def threads(self) -> int:  # type: ignore[override]
        """Of the runs."""
        return self.whole.training.threads

    @cached_property
    def specs(self) -> dict[str, RunSpec]:
        """All runs by id: the one with every example, then those without one, in the order of the examples."""
        return {spec.id: spec for spec in (self.whole, *without(self.whole, self.examples))}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all runs."""
        return tuple(self.specs)

    def do(self, ids: Sequence[str], store: RunStore, listener: Listener) -> None:
        """Train, record and compare one run after the other; the last of a cohort compares its seeds."""
        for run_id, spec in self.specs.items():
            if run_id in ids:
                listener.started(run_id)
                store.write(*self._train(spec, store, _advance(listener, run_id)))
                listener.finished(run_id)
        everything = [run_id for place in range(len(self.cohort)) for run_id in self._of(place).ids]
        if all(run_id in store for run_id in everything):
            settle(store, self.cohort)

    def _of(self, place: int) -> LeaveOneOut:
        return LeaveOneOut(self.cohort, place, self.examples)

    def _train(self, spec: RunSpec, store: RunStore, progress: Callable[[float], None]) -> tuple[RunRecord, Arrays]:
        try:
            if spec.left_out is None:
                return train([spec], store.cache, progress, lambda trainer: _keep(trainer, store))[0]
            whole = store.record(self.whole.id)
            if whole.status != "done":
                return _stopped(spec, f"the training with every example {whole.status}"), {}
            kept = _weights(store, self.whole)
            return train([spec], store.cache, progress, lambda trainer: _compare(trainer, kept))[0]
        except UserError as error:
            # What the machine refuses stops everything; what a method or model refuses, this cohort alone.
            if isinstance(error.__cause__, OSError) or isinstance(getattr(error.__cause__, "__cause__", None), OSError):
                raise
            return _stopped(spec, str(error).partition("\n")[0]), {}

    def give_up(self, one: str, reason: str, store: RunStore) -> None:
        """Record a run that crashed."""
        store.write(crashed(self.specs[one], reason), {})


def without(whole: RunSpec, examples: Sequence[int]) -> list[RunSpec]:
    """Return the runs that leave one of some examples out of a run."""
    return [whole.model_copy(update={"left_out": int(example)}) for example in examples]


def _advance(listener: Listener, run_id: str) -> Callable[[float], None]:
    return lambda share: listener.advanced(run_id, share)


def _stopped(spec: RunSpec, reason: str) -> RunRecord:
    return RunRecord(spec=spec, status="stopped", reason=reason, versions=versions())


def _keep(trainer: RunTrainer, store: RunStore) -> tuple[dict[str, float], Arrays]:
    _forget(store, trainer.spec)  # those of a training that was killed before it was recorded
    cached_arrays(store.cache, _file(trainer.spec), lambda: _Weights.of(trainer.model).cached)
    return {}, {}


def _weights(store: RunStore, whole: RunSpec) -> _Weights:
    """Return the weights of a run with every example; it is trained again where they are lost."""

    def again() -> tuple[Arrays, dict[str, Any]]:
        found: list[_Weights] = []

        def look(trainer: RunTrainer) -> tuple[dict[str, float], Arrays]:
            found.append(_Weights.of(trainer.model))
            return {}, {}

        record, _ = train([whole], store.cache, lambda share: None, look)[0]
        if not found:
            raise UserError(f"the training with all examples {record.status} when it was repeated: {record.reason}")
        return found[0].cached

    arrays, about = cached_arrays(store.cache, _file(whole), again)
    return _Weights(about["names"], about["head"], arrays)


def _file(whole: RunSpec) -> str:
    return f"weights-{whole.id}"


def _forget(store: RunStore, whole: RunSpec) -> None:
    for ending in ("safetensors", "json"):
        (store.cache / f"{_file(whole)}.{ending}").unlink(missing_ok=True)


def _compare(trainer: RunTrainer, kept: _Weights) -> tuple[dict[str, float], Arrays]:
    """Measure a model without an example against the one with it, and ask both about the example."""
    weights, directions = kept.apart(_Weights.of(trainer.model))
    without = _asked(trainer)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            weight.copy_(kept.tensor(name))
    return {WEIGHTS: weights, DIRECTIONS: directions}, {WITH: _asked(trainer), WITHOUT: without}


def _asked(trainer: RunTrainer) -> NDArray[np.float32]:
    assert trainer.spec.left_out is not None
    # Alone: what an example is padded to must not depend on what it is asked together with.
    batch = trainer.data.collate([trainer.data.train.rows[trainer.spec.left_out]])
    logits, _ = logits_of(trainer.model, [batch], trainer.args.device, trainer.spec.training.precision == "bf16")
    answer: NDArray[np.float32] = logits[0]
    return answer


def settle(store: RunStore, cohort: Sequence[RunSpec]) -> NDArray[np.float64]:
    """Compare the weights of the seeds of a cohort, whose trainings are all recorded, and let go of them.

    Returns:
        (2, S, S) distances of the weights, and of the directions of the last layer; NaN where a training is not done.
    """

    def compare() -> tuple[Arrays, dict[str, Any]]:
        kept = [_weights(store, spec) for spec in cohort]
        apart = [[one.apart(other) for other in kept] for one in kept]
        return {"apart": np.moveaxis(np.array(apart), -1, 0).copy()}, {}

    found: NDArray[np.float64] = np.full((2, len(cohort), len(cohort)), math.nan)
    if all(store.record(spec.id).status == "done" for spec in cohort):
        key = sha256(canonical_json([spec.id for spec in cohort]))[:16]
        found = np.array(cached_arrays(store.cache, f"seeds-{key}", compare)[0]["apart"])
    for spec in cohort:
        _forget(store, spec)
    return found
