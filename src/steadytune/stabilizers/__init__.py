"""One file per published method, found by name. Torch is imported only when a method is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from steadytune.config import first_problem
from steadytune.errors import FolderWarning, UserError, unknown_name
from steadytune.stabilizers.base import EXCLUSIVE, Stabilizer
from steadytune.stabilizers.context import Backward, Changes, Forward, Parts, Pretraining, Run, Step

__all__ = [
    "Backward",
    "Changes",
    "Forward",
    "Parts",
    "Pretraining",
    "Run",
    "Stabilizer",
    "Step",
    "as_stabilizers",
    "check_together",
    "parse_stabilizer",
    "stabilizer_names",
    "unknown_stabilizer",
]

ENTRY_POINTS = "steadytune.stabilizers"
"""Group under which another package names its own methods: `shrink = "their_package.shrink:Shrink"`."""

_CLASSES = {
    "mhloss": "MHLoss",
    "mmr": "MMR",
    "surt": "SURT",
    "bitfit": "BitFit",
    "centre_loss": "CentreLoss",
    "child_tuning": "ChildTuning",
    "cngc": "CNGC",
    "ema": "EMA",
    "freelb": "FreeLB",
    "freeze": "Freeze",
    "hype": "HyPe",
    "l2_sp": "L2SP",
    "large_margin": "LargeMargin",
    "llrd": "LLRD",
    "lnsr": "LNSR",
    "lp_ft": "LPFT",
    "mixout": "Mixout",
    "neftune": "NEFTune",
    "no_bias_correction": "NoBiasCorrection",
    "no_warmup": "NoWarmup",
    "r3f": "R3F",
    "r4f": "R4F",
    "rdrop": "RDrop",
    "reinit": "Reinit",
    "smart": "SMART",
    "supcon": "SupCon",
    "swa": "SWA",
    "wd_pre": "WDPre",
}

# What a recipe's name means without any method.
_RESERVED = {"standard"}
_NO_STABILIZERS = {
    "soup": "soups are made of finished runs, by st.uniform_soup(states) or st.greedy_soup(states, score)",
    "ensemble": "ensembles are made of finished runs, by st.ensemble(cohort)",
    "bias_correction": "AdamW has it; the stabilizer no_bias_correction takes it away",
}


def stabilizer_names() -> list[str]:
    """Return the names of all stabilizers, this package's own first."""
    return [*_CLASSES, *(name for name in _others() if name not in _CLASSES and name not in _RESERVED)]


@lru_cache
def _others() -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def unknown_stabilizer(name: str, kind: str = "stabilizer", also: Iterable[str] = ()) -> UserError:
    """Build the error for a name that no stabilizer has, which says what has it or which one is meant.

    Args:
        name: The name that was given.
        kind: What it stands for.
        also: Other names that would have been right.
    """
    if name in _NO_STABILIZERS:
        return UserError(f"unknown {kind} '{name}': {_NO_STABILIZERS[name]}")
    error = unknown_name(kind, name, [*also, *stabilizer_names()])
    return UserError(f"{error}; or install the package that provides it")


def stabilizer_class(name: str) -> type[Stabilizer]:
    """Import a stabilizer.

    Raises:
        UserError: There is none of this name or more than one, or another package's cannot be imported or is none.
    """
    others = _others().get(name, ())
    if name in _CLASSES:
        # Runs that were trained with the built-in method must not become another package's.
        if others:
            owners = " and ".join(map(_package, others))
            warnings.warn(
                f"stabilizer '{name}' is steadytune's own; that of {owners} needs another name",
                FolderWarning,
                stacklevel=2,
            )
        own: type[Stabilizer] = getattr(import_module(f"steadytune.stabilizers.{name}"), _CLASSES[name])
        return own
    if not others or name in _RESERVED:
        raise unknown_stabilizer(name)
    if len(others) > 1:
        owners = " and by ".join(map(_package, others))
        raise UserError(f"stabilizer '{name}' is given by {owners}: only one package can")
    (point,) = others
    try:
        cls: Any = point.load()
    except (Exception, SystemExit) as error:  # it is another package's code
        raise UserError(f"stabilizer '{name}': {point.value} cannot be imported: {error!r:.200}") from error
    if not (isinstance(cls, type) and issubclass(cls, Stabilizer) and getattr(cls, "name", None) == name):
        raise UserError(f"stabilizer '{name}': {point.value} is not a Stabilizer with name = {name!r}")
    return cls


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} ({point.value})" if point.dist else point.value


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
    cls = stabilizer_class(name)
    try:
        return cls.model_validate(dict(parameters or {}))
    except SystemExit as error:
        raise ValueError(f"stabilizer '{name}': its package called sys.exit({error.code!r})") from error
    except ValidationError as error:
        raise ValueError(f"stabilizer '{name}': {first_problem(error, cls)}") from error


def as_stabilizers(entries: Iterable[Any]) -> tuple[Stabilizer, ...]:
    """Read the `stabilizers=[...]` of somebody's script; each entry as `parse_stabilizer` takes it.

    Raises:
        ValueError: It is no list, an entry is no stabilizer, or two cannot stand together.
    """
    if isinstance(entries, (str, Mapping, Stabilizer)) or not isinstance(entries, Iterable):
        raise ValueError(f"stabilizers are a list, such as [{_spelled(entries)}], not {_spelled(entries)}")
    stabilizers = tuple(map(parse_stabilizer, entries))
    check_together(stabilizers)
    return stabilizers


def _spelled(entry: Any) -> str:
    return f"{type(entry).__name__}()" if isinstance(entry, Stabilizer) else repr(entry)


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
        replaced = [(hook, what) for hook, what in EXCLUSIVE.items() if stabilizer.has(hook)]
        for hook, what in [*replaced, *((f"argument {name}", f"`{name}`") for name in stabilizer.arguments())]:
            if owners.setdefault(hook, stabilizer.name) != stabilizer.name:
                raise ValueError(f"'{owners[hook]}' and '{stabilizer.name}' both replace {what}: use one of them")
