"""One file per published method, looked up by name. Torch is imported only when a stabilizer is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from steadytune.config import first_problem
from steadytune.registry import Registry
from steadytune.stabilizers.base import EXCLUSIVE, Stabilizer
from steadytune.stabilizers.context import Backward, Changes, Forward, Parts, Pretraining, Run, Step

__all__ = [
    "STABILIZERS",
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
]


def _check(name: str, cls: Any) -> str:
    if isinstance(cls, type) and issubclass(cls, Stabilizer) and getattr(cls, "name", None) == name:
        return ""
    return f"is not a Stabilizer with name = {name!r}"


STABILIZERS: Registry[type[Stabilizer]] = Registry(
    "stabilizer",
    {
        "mhloss": "stabilizers.mhloss:MHLoss",
        "mmr": "stabilizers.mmr:MMR",
        "surt": "stabilizers.surt:SURT",
        "bitfit": "stabilizers.bitfit:BitFit",
        "centre_loss": "stabilizers.centre_loss:CentreLoss",
        "child_tuning": "stabilizers.child_tuning:ChildTuning",
        "cngc": "stabilizers.cngc:CNGC",
        "ema": "stabilizers.ema:EMA",
        "freelb": "stabilizers.freelb:FreeLB",
        "freeze": "stabilizers.freeze:Freeze",
        "hype": "stabilizers.hype:HyPe",
        "l2_sp": "stabilizers.l2_sp:L2SP",
        "large_margin": "stabilizers.large_margin:LargeMargin",
        "llrd": "stabilizers.llrd:LLRD",
        "lnsr": "stabilizers.lnsr:LNSR",
        "lp_ft": "stabilizers.lp_ft:LPFT",
        "mixout": "stabilizers.mixout:Mixout",
        "neftune": "stabilizers.neftune:NEFTune",
        "no_bias_correction": "stabilizers.no_bias_correction:NoBiasCorrection",
        "no_warmup": "stabilizers.no_warmup:NoWarmup",
        "r3f": "stabilizers.r3f:R3F",
        "r4f": "stabilizers.r4f:R4F",
        "rdrop": "stabilizers.rdrop:RDrop",
        "reinit": "stabilizers.reinit:Reinit",
        "smart": "stabilizers.smart:SMART",
        "supcon": "stabilizers.supcon:SupCon",
        "swa": "stabilizers.swa:SWA",
        "wd_pre": "stabilizers.wd_pre:WDPre",
    },
    _check,
    # The recipe without any stabilizer.
    reserved={"standard"},
    hints={
        "soup": "soups are made from finished runs with st.uniform_soup(states) or st.greedy_soup(states, score)",
        "ensemble": "ensembles are made from finished runs with st.ensemble(cohort)",
        "bias_correction": "AdamW corrects the bias by default; the stabilizer no_bias_correction disables it",
    },
)
"""Name of a method -> its class."""


def parse_stabilizer(entry: Any) -> Stabilizer:
    """Turn "mmr" or {"mmr": {"alpha": 0.1}} into a stabilizer; a stabilizer is returned unchanged.

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
        raise ValueError(f"a stabilizer must be a name or {{name: {{parameter: value}}}}, not {entry!r}")
    cls = STABILIZERS[name]
    try:
        return cls.model_validate(dict(parameters or {}))
    except SystemExit as error:
        raise ValueError(f"stabilizer '{name}': its package called sys.exit({error.code!r})") from error
    except ValidationError as error:
        raise ValueError(f"stabilizer '{name}': {first_problem(error, cls)}") from error


def as_stabilizers(entries: Iterable[Any]) -> tuple[Stabilizer, ...]:
    """Parse the `stabilizers=[...]` of a script; each entry as for `parse_stabilizer`.

    Raises:
        ValueError: It is not a list, an entry is not a stabilizer, or two cannot be combined.
    """
    if isinstance(entries, (str, Mapping, Stabilizer)) or not isinstance(entries, Iterable):
        raise ValueError(f"stabilizers must be a list, such as [{_spelled(entries)}], not {_spelled(entries)}")
    stabilizers = tuple(map(parse_stabilizer, entries))
    check_together(stabilizers)
    return stabilizers


def _spelled(entry: Any) -> str:
    return f"{type(entry).__name__}()" if isinstance(entry, Stabilizer) else repr(entry)


def check_together(stabilizers: Iterable[Stabilizer]) -> None:
    """Check that stabilizers can be combined in one recipe.

    Raises:
        ValueError: There is a duplicate, or two would replace the same thing.
    """
    owners: dict[str, str] = {}
    for stabilizer in stabilizers:
        if stabilizer.name in owners.values():
            raise ValueError(f"duplicate stabilizer '{stabilizer.name}' in one recipe")
        owners[stabilizer.name] = stabilizer.name
        replaced = [(hook, what) for hook, what in EXCLUSIVE.items() if stabilizer.has(hook)]
        for hook, what in [*replaced, *((f"argument {name}", f"`{name}`") for name in stabilizer.arguments())]:
            if owners.setdefault(hook, stabilizer.name) != stabilizer.name:
                raise ValueError(f"'{owners[hook]}' and '{stabilizer.name}' both replace {what}: use one of them")
