"""The theory made measurable: bounds and their terms, leave-one-out stability, generated data.

Names are imported when they are used: `import steadytune.theory` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadytune.theory.curvature import MeanLoss as MeanLoss
    from steadytune.theory.curvature import run_loss as run_loss
    from steadytune.theory.full_bound import full_bound as full_bound
    from steadytune.theory.full_tuning import full_tuning_bound as full_tuning_bound
    from steadytune.theory.head_bound import head_tuning_bound as head_tuning_bound
    from steadytune.theory.influence import head_influence as head_influence
    from steadytune.theory.influence import model_influence as model_influence
    from steadytune.theory.logistic import solve_heads as solve_heads
    from steadytune.theory.logistic_loo import approximate_leave_one_out as approximate_leave_one_out
    from steadytune.theory.logistic_loo import exact_leave_one_out as exact_leave_one_out
    from steadytune.theory.loo import leave_one_out as leave_one_out
    from steadytune.theory.loo_full import leave_one_out_full as leave_one_out_full
    from steadytune.theory.margin import max_margin as max_margin
    from steadytune.theory.margin import max_margin_leave_one_out as max_margin_leave_one_out
    from steadytune.theory.taylor import taylor_check as taylor_check

_PLACES = {
    "MeanLoss": "curvature",
    "run_loss": "curvature",
    "full_bound": "full_bound",
    "full_tuning_bound": "full_tuning",
    "taylor_check": "taylor",
    "approximate_leave_one_out": "logistic_loo",
    "exact_leave_one_out": "logistic_loo",
    "solve_heads": "logistic",
    "head_tuning_bound": "head_bound",
    "head_influence": "influence",
    "model_influence": "influence",
    "leave_one_out": "loo",
    "leave_one_out_full": "loo_full",
    "max_margin": "margin",
    "max_margin_leave_one_out": "margin",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steadytune.theory' has no attribute '{name}'")
    value = getattr(import_module(f"steadytune.theory.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
