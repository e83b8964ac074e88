"""Leave-one-out trainings as runs: those of one seed, each compared with the training on every example.

Weights are compared, and a run keeps none. So the weights of the training with every example are kept in the cache of
the store, one file per seed of the cohorts at work, and those of the trainings without an example are not kept: each
training is compared with the cached weights as it ends, and its distances are measurements of its record. The weights
of different seeds are compared when the last training of a cohort is recorded, and all files of the cohort are removed
then. A cohort never has more than S files, however many examples are left out. Like everything in a cache, they may be
deleted: the training with every example is then repeated, but none of those without one.
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
"""Arrays (classes,) of such a run: logits of the left-out example by the run with every example, and by this one."""


@dataclass(frozen=True)
class _Weights:
    """The weights of a trained model.

    Attributes:
        names: In the order of the model, in which squares are summed.
        head: Name of the last layer's weights.
        arrays: The weights by name.
    """

    names: Sequence[str]
    head: str
    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, model: nn.Module) -> _Weights:
        """Return the weights of a model, sharing its memory if it is on the CPU."""
        last = find_head(model)[2].weight
        named = dict(model.named_parameters())
        head = next(name for name, weight in named.items() if weight is last)
        return cls(list(named), head, {name: weight.detach().cpu().numpy() for name, weight in named.items()})

    @property
    def cached(self) -> tuple[Arrays, dict[str, Any]]:
        """The arrays and the description that a cache holds."""
        return dict(self.arrays), {"names": list(self.names), "head": self.head}

    def tensor(self, name: str) -> Tensor:
        """Return the weights with a name."""
        return torch.from_numpy(self.arrays[name])

    def apart(self, other: _Weights) -> tuple[float, float]:
        """Return the distances of all weights, and of the last layer's weights scaled to norm 1."""
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
        place: Index in `cohort` of the run of this seed.
        examples: Indices in the training set of the examples to leave out, one at a time.
    """

    cohort: tuple[RunSpec, ...]
    place: int
    examples: tuple[int, ...]

    def __post_init__(self) -> None:
        """Parse plain data."""
        object.__setattr__(self, "cohort", tuple(map(RunSpec.model_validate, self.cohort)))
        object.__setattr__(self, "examples", tuple(map(int, self.examples)))

    def plain(self) -> dict[str, Any]:
        """Return the attributes as plain data."""
        cohort = [spec.model_dump(mode="json") for spec in self.cohort]
        return {"cohort": cohort, "place": self.place, "examples": list(self.examples)}

    @property
    def whole(self) -> RunSpec:
        """The run with every example."""
        return self.cohort[self.place]

    @property
    def threads(self) -> int:  # type: ignore[override]
        """The threads of each run."""
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
        """Train, record and compare one run after the other; after the last run of a cohort, compare its seeds."""
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
            # An error of the machine stops everything; a refusal by a method or model stops only this cohort.
            if isinstance(error.__cause__, OSError) or isinstance(getattr(error.__cause__, "__cause__", None), OSError):
                raise
            return _stopped(spec, str(error).partition("\n")[0]), {}

    def give_up(self, one: str, reason: str, store: RunStore) -> None:
        """Record a run that crashed."""
        store.write(crashed(self.specs[one], reason), {})


def without(whole: RunSpec, examples: Sequence[int]) -> list[RunSpec]:
    """Return copies of a run that each leave one of the examples out."""
    return [whole.model_copy(update={"left_out": int(example)}) for example in examples]


def _advance(listener: Listener, run_id: str) -> Callable[[float], None]:
    return lambda share: listener.advanced(run_id, share)


def _stopped(spec: RunSpec, reason: str) -> RunRecord:
    return RunRecord(spec=spec, status="stopped", reason=reason, versions=versions())


def _keep(trainer: RunTrainer, store: RunStore) -> tuple[dict[str, float], Arrays]:
    _forget(store, trainer.spec)  # weights of a training that was killed before it was recorded
    cached_arrays(store.cache, _file(trainer.spec), lambda: _Weights.of(trainer.model).cached)
    return {}, {}


def _weights(store: RunStore, whole: RunSpec) -> _Weights:
    """Return the weights of a run with every example; if they are missing, it is trained again."""

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
    """Compare a model trained without an example with the one trained with it: distances, and logits of the example."""
    weights, directions = kept.apart(_Weights.of(trainer.model))
    without = _asked(trainer)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            weight.copy_(kept.tensor(name))
    return {WEIGHTS: weights, DIRECTIONS: directions}, {WITH: _asked(trainer), WITHOUT: without}


def _asked(trainer: RunTrainer) -> NDArray[np.float32]:
    assert trainer.spec.left_out is not None
    # In a batch of its own, so that its padding does not depend on other examples.
    batch = trainer.data.collate([trainer.data.train.rows[trainer.spec.left_out]])
    logits, _ = logits_of(trainer.model, [batch], trainer.args.device, trainer.spec.training.precision == "bf16")
    answer: NDArray[np.float32] = logits[0]
    return answer


def settle(store: RunStore, cohort: Sequence[RunSpec]) -> NDArray[np.float64]:
    """Compare the weights of the seeds of a cohort once all its trainings are recorded, and delete them.

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
