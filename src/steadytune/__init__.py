"""Measure how much a fine-tuned model owes to luck, and make it owe less.

Names are imported when they are used: `import steadytune` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.analysis.comparison.compare import compare as compare
    from steadytune.analysis.comparison.power import seeds_to_detect_difference as seeds_to_detect_difference
    from steadytune.analysis.comparison.power import seeds_to_detect_ratio as seeds_to_detect_ratio
    from steadytune.analysis.comparison.power import seeds_to_pin_sd as seeds_to_pin_sd
    from steadytune.analysis.profile import profile as profile
    from steadytune.errors import UserError as UserError
    from steadytune.external import read_runs as read_runs
    from steadytune.external import record_run as record_run
    from steadytune.records import Cohort as Cohort
    from steadytune.records import RunRecord as RunRecord
    from steadytune.records import RunStore as RunStore
    from steadytune.report import write_report as write_report
    from steadytune.seeds import Seeds as Seeds
    from steadytune.stabilizers import Stabilizer as Stabilizer
    from steadytune.stabilizers.mhloss import MHLoss as MHLoss
    from steadytune.stabilizers.mmr import MMR as MMR
    from steadytune.stabilizers.surt import SURT as SURT
    from steadytune.study import Recipe as Recipe
    from steadytune.study import RunSpec as RunSpec
    from steadytune.study import Study as Study
    from steadytune.study import Training as Training
    from steadytune.sweep.execute import run as run
    from steadytune.training.recorder import StabilityRecorder as StabilityRecorder
    from steadytune.training.recorder import record_model as record_model
    from steadytune.training.trainer import StableTrainer as StableTrainer

_PLACES = {
    "compare": "analysis.comparison.compare",
    "seeds_to_detect_difference": "analysis.comparison.power",
    "seeds_to_detect_ratio": "analysis.comparison.power",
    "seeds_to_pin_sd": "analysis.comparison.power",
    "profile": "analysis.profile",
    "UserError": "errors",
    "read_runs": "external",
    "record_run": "external",
    "Cohort": "records",
    "RunRecord": "records",
    "RunStore": "records",
    "write_report": "report",
    "Stabilizer": "stabilizers",
    "MHLoss": "stabilizers.mhloss",
    "MMR": "stabilizers.mmr",
    "SURT": "stabilizers.surt",
    "Recipe": "study",
    "RunSpec": "study",
    "Seeds": "seeds",
    "Study": "study",
    "Training": "study",
    "run": "sweep.execute",
    "StabilityRecorder": "training.recorder",
    "record_model": "training.recorder",
    "StableTrainer": "training.trainer",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steadytune' has no attribute '{name}'")
    value = getattr(import_module(f"steadytune.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
