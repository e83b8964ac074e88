"""The theory made measurable: bounds and their terms, leave-one-out stability, generated data.

Names are imported when they are used: `import steadytune.theory` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.theory.full.bound import full_tuning_bound as full_tuning_bound
    from steadytune.theory.full.curvature import MeanLoss as MeanLoss
    from steadytune.theory.full.curvature import run_loss as run_loss
    from steadytune.theory.full.formula import full_bound as full_bound
    from steadytune.theory.full.task_bound import task_bound as task_bound
    from steadytune.theory.full.taylor import taylor_check as taylor_check
    from steadytune.theory.loo.full import leave_one_out_full as leave_one_out_full
    from steadytune.theory.loo.head import leave_one_out as leave_one_out
    from steadytune.theory.loo.influence import head_influence as head_influence
    from steadytune.theory.loo.influence import model_influence as model_influence
    from steadytune.theory.loo.logistic import solve_heads as solve_heads
    from steadytune.theory.loo.logistic_loo import approximate_leave_one_out as approximate_leave_one_out
    from steadytune.theory.loo.logistic_loo import exact_leave_one_out as exact_leave_one_out
    from steadytune.theory.margin.bound import head_tuning_bound as head_tuning_bound
    from steadytune.theory.margin.max_margin import max_margin as max_margin
    from steadytune.theory.margin.max_margin import max_margin_leave_one_out as max_margin_leave_one_out
    from steadytune.theory.predictor.cohorts import cohort_table as cohort_table
    from steadytune.theory.predictor.prediction import predict_instability as predict_instability
    from steadytune.theory.studies.features import feature_study as feature_study
    from steadytune.theory.studies.table import synthetic_study as synthetic_study

_PLACES = {
    "approximate_leave_one_out": "loo.logistic_loo",
    "cohort_table": "predictor.cohorts",
    "exact_leave_one_out": "loo.logistic_loo",
    "feature_study": "studies.features",
    "full_bound": "full.formula",
    "full_tuning_bound": "full.bound",
    "head_influence": "loo.influence",
    "head_tuning_bound": "margin.bound",
    "leave_one_out": "loo.head",
    "leave_one_out_full": "loo.full",
    "max_margin": "margin.max_margin",
    "max_margin_leave_one_out": "margin.max_margin",
    "MeanLoss": "full.curvature",
    "model_influence": "loo.influence",
    "predict_instability": "predictor.prediction",
    "run_loss": "full.curvature",
    "solve_heads": "loo.logistic",
    "synthetic_study": "studies.table",
    "task_bound": "full.task_bound",
    "taylor_check": "full.taylor",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steadytune.theory' has no attribute '{name}'")
    value = getattr(import_module(f"steadytune.theory.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
