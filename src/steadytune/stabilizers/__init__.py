"""One file per published method, found by name. Torch is imported only when a method is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from steadytune.config import first_problem
from steadytune.errors import unknown_name
from steadytune.stabilizers.base import Pretraining, Stabilizer, Step

__all__ = ["Pretraining", "Stabilizer", "Step", "check_together", "parse_stabilizer", "stabilizer_names"]

_CLASSES = {"mhloss": "MHLoss", "mmr": "MMR", "surt": "SURT"}


def stabilizer_names() -> list[str]:
    """Return the names of all stabilizers."""
    return list(_CLASSES)


def parse_stabilizer(entry: Any) -> Stabilizer:
    """Turn "mmr" or {"mmr": {"alpha": 0.1}} into a stabilizer; a stabilizer is returned as it is.

    Raises:
        ValueError: The name or a parameter is unknown, or a value is out of range.
    """
    if isinstance(entry, Stabilizer):
        return entry
    if isinstance(entry, Mapping) and len(entry) == 1:
        (name, parameters), *_ = entry.items()
    else:
        name, parameters = entry, {}
    if not isinstance(name, str) or not isinstance(parameters or {}, Mapping):
        raise ValueError(f"a stabilizer is a name or {{name: {{parameter: value}}}}, not {entry!r}")
    if name not in _CLASSES:
        raise unknown_name("stabilizer", name, _CLASSES)
    cls: type[Stabilizer] = getattr(import_module(f"steadytune.stabilizers.{name}"), _CLASSES[name])
    try:
        return cls.model_validate(dict(parameters or {}))
    except ValidationError as error:
        raise ValueError(f"stabilizer '{name}': {first_problem(error, cls)}") from error


def check_together(stabilizers: Iterable[Stabilizer]) -> None:
    """Check that methods can stand in one recipe.

    Raises:
        ValueError: One stands twice, or two would replace the same thing.
    """
    owners: dict[str, str] = {}
    for stabilizer in stabilizers:
        if stabilizer.name in owners.values():
            raise ValueError(f"stabilizer '{stabilizer.name}' stands twice in one recipe")
        owners[stabilizer.name] = stabilizer.name
        for hook, what in (("wrap_head", "the last layer"), ("task_loss", "the task loss")):
            if stabilizer.has(hook) and owners.setdefault(hook, stabilizer.name) != stabilizer.name:
                raise ValueError(f"'{owners[hook]}' and '{stabilizer.name}' both replace {what}: use one of them")
