"""Measure how much a fine-tuned model owes to luck, and make it owe less.

Names are imported when they are used: `import steadytune` loads no torch. `dir(steadytune)` lists them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__: str
"""Of the installed package."""

if TYPE_CHECKING:
    from steadytune import measures as measures
    from steadytune import metrics as metrics
    from steadytune import theory as theory
    from steadytune.analysis.comparison.compare import compare as compare
    from steadytune.analysis.comparison.power import seeds_to_detect_difference as seeds_to_detect_difference
    from steadytune.analysis.comparison.power import seeds_to_detect_ratio as seeds_to_detect_ratio
    from steadytune.analysis.comparison.power import seeds_to_pin_sd as seeds_to_pin_sd
    from steadytune.analysis.comparison.single import compare_runs as compare_runs
    from steadytune.analysis.ensemble import ensemble as ensemble
    from steadytune.analysis.profile import profile as profile
    from steadytune.analysis.validity.validate import validate as validate
    from steadytune.decoding import Decoding as Decoding
    from steadytune.errors import UserError as UserError
    from steadytune.external import read_runs as read_runs
    from steadytune.external import record_run as record_run
    from steadytune.external.commands.store import CommandStore as CommandStore
    from steadytune.external.recorder import StabilityRecorder as StabilityRecorder
    from steadytune.external.recorder import record_model as record_model
    from steadytune.kinds import Kind as Kind
    from steadytune.records import Cohort as Cohort
    from steadytune.records import RunRecord as RunRecord
    from steadytune.records import RunStore as RunStore
    from steadytune.reporting import report as report
    from steadytune.seeds import Seeds as Seeds
    from steadytune.stabilizers import Stabilizer as Stabilizer
    from steadytune.stabilizers.bitfit import BitFit as BitFit
    from steadytune.stabilizers.centre_loss import CentreLoss as CentreLoss
    from steadytune.stabilizers.child_tuning import ChildTuning as ChildTuning
    from steadytune.stabilizers.cngc import CNGC as CNGC
    from steadytune.stabilizers.ema import EMA as EMA
    from steadytune.stabilizers.freelb import FreeLB as FreeLB
    from steadytune.stabilizers.freeze import Freeze as Freeze
    from steadytune.stabilizers.hype import HyPe as HyPe
    from steadytune.stabilizers.l2_sp import L2SP as L2SP
    from steadytune.stabilizers.large_margin import LargeMargin as LargeMargin
    from steadytune.stabilizers.llrd import LLRD as LLRD
    from steadytune.stabilizers.lnsr import LNSR as LNSR
    from steadytune.stabilizers.lp_ft import LPFT as LPFT
    from steadytune.stabilizers.mhloss import MHLoss as MHLoss
    from steadytune.stabilizers.mixout import Mixout as Mixout
    from steadytune.stabilizers.mmr import MMR as MMR
    from steadytune.stabilizers.neftune import NEFTune as NEFTune
    from steadytune.stabilizers.no_bias_correction import NoBiasCorrection as NoBiasCorrection
    from steadytune.stabilizers.no_warmup import NoWarmup as NoWarmup
    from steadytune.stabilizers.r3f import R3F as R3F
    from steadytune.stabilizers.r4f import R4F as R4F
    from steadytune.stabilizers.rdrop import RDrop as RDrop
    from steadytune.stabilizers.reinit import Reinit as Reinit
    from steadytune.stabilizers.smart import SMART as SMART
    from steadytune.stabilizers.supcon import SupCon as SupCon
    from steadytune.stabilizers.surt import SURT as SURT
    from steadytune.stabilizers.swa import SWA as SWA
    from steadytune.stabilizers.wd_pre import WDPre as WDPre
    from steadytune.study import Recipe as Recipe
    from steadytune.study import RunSpec as RunSpec
    from steadytune.study import Study as Study
    from steadytune.study import Training as Training
    from steadytune.sweep.commands import run_command as run_command
    from steadytune.sweep.execute import run as run
    from steadytune.training.soup import greedy_soup as greedy_soup
    from steadytune.training.soup import uniform_soup as uniform_soup
    from steadytune.training.stabilization import Stabilization as Stabilization
    from steadytune.training.trainer import StableTrainer as StableTrainer
    from steadytune.training.trainer import stabilized as stabilized

_PLACES = {
    "compare": "analysis.comparison.compare",
    "compare_runs": "analysis.comparison.single",
    "seeds_to_detect_difference": "analysis.comparison.power",
    "seeds_to_detect_ratio": "analysis.comparison.power",
    "seeds_to_pin_sd": "analysis.comparison.power",
    "ensemble": "analysis.ensemble",
    "profile": "analysis.profile",
    "validate": "analysis.validity.validate",
    "Decoding": "decoding",
    "UserError": "errors",
    "read_runs": "external",
    "record_run": "external",
    "CommandStore": "external.commands.store",
    "Kind": "kinds",
    "Cohort": "records",
    "RunRecord": "records",
    "RunStore": "records",
    "report": "reporting",
    "Stabilizer": "stabilizers",
    "BitFit": "stabilizers.bitfit",
    "CentreLoss": "stabilizers.centre_loss",
    "ChildTuning": "stabilizers.child_tuning",
    "CNGC": "stabilizers.cngc",
    "EMA": "stabilizers.ema",
    "FreeLB": "stabilizers.freelb",
    "Freeze": "stabilizers.freeze",
    "HyPe": "stabilizers.hype",
    "L2SP": "stabilizers.l2_sp",
    "LargeMargin": "stabilizers.large_margin",
    "LLRD": "stabilizers.llrd",
    "LNSR": "stabilizers.lnsr",
    "LPFT": "stabilizers.lp_ft",
    "MHLoss": "stabilizers.mhloss",
    "Mixout": "stabilizers.mixout",
    "MMR": "stabilizers.mmr",
    "NEFTune": "stabilizers.neftune",
    "NoBiasCorrection": "stabilizers.no_bias_correction",
    "NoWarmup": "stabilizers.no_warmup",
    "R3F": "stabilizers.r3f",
    "R4F": "stabilizers.r4f",
    "RDrop": "stabilizers.rdrop",
    "Reinit": "stabilizers.reinit",
    "SMART": "stabilizers.smart",
    "SupCon": "stabilizers.supcon",
    "SURT": "stabilizers.surt",
    "SWA": "stabilizers.swa",
    "WDPre": "stabilizers.wd_pre",
    "Recipe": "study",
    "RunSpec": "study",
    "Seeds": "seeds",
    "Study": "study",
    "Training": "study",
    "run": "sweep.execute",
    "run_command": "sweep.commands",
    "greedy_soup": "training.soup",
    "uniform_soup": "training.soup",
    "Stabilization": "training.stabilization",
    "StabilityRecorder": "external.recorder",
    "record_model": "external.recorder",
    "StableTrainer": "training.trainer",
    "stabilized": "training.trainer",
}

_ROOMS = ("measures", "metrics", "theory")

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("steadytune")
    elif name in _ROOMS:
        value = import_module(f"steadytune.{name}")
    elif name in _PLACES:
        value = getattr(import_module(f"steadytune.{_PLACES[name]}"), name)
    else:
        raise AttributeError(f"module 'steadytune' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
