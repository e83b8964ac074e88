"""Measure how much a fine-tuned model owes to luck, and make it owe less.

Names are imported when they are used: `import steadytune` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.analysis.compare import compare as compare
    from steadytune.analysis.profile import profile as profile
    from steadytune.errors import UserError as UserError
    from steadytune.records import Cohort as Cohort
    from steadytune.records import RunRecord as RunRecord
    from steadytune.records import RunStore as RunStore
    from steadytune.report import write_report as write_report
    from steadytune.stabilizers import Stabilizer as Stabilizer
    from steadytune.stabilizers.mhloss import MHLoss as MHLoss
    from steadytune.stabilizers.mmr import MMR as MMR
    from steadytune.stabilizers.surt import SURT as SURT
    from steadytune.study import Recipe as Recipe
    from steadytune.study import RunSpec as RunSpec
    from steadytune.study import Seeds as Seeds
    from steadytune.study import Study as Study
    from steadytune.study import Training as Training
    from steadytune.sweep.execute import run as run
    from steadytune.training.trainer import StableTrainer as StableTrainer

_PLACES = {
    "compare": "analysis.compare",
    "profile": "analysis.profile",
    "UserError": "errors",
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
    "Seeds": "study",
    "Study": "study",
    "Training": "study",
    "run": "sweep.execute",
    "StableTrainer": "training.trainer",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steadytune' has no attribute '{name}'")
    value = getattr(import_module(f"steadytune.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
