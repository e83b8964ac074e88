"""All measures by name: the built-in ones, in a fixed order, and those of other packages."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from steadytune.registry import Registry

from .base import LEVELS, CombinedMeasure, LayerMeasure, Level, Measure, Outputs, PairMeasure


def _check(name: str, given: Any) -> str:
    if not isinstance(given, (PairMeasure, CombinedMeasure, LayerMeasure)) or given.name != name:
        return f"is not a PairMeasure, CombinedMeasure or LayerMeasure with name = {name!r}"
    arrays = [one.name for one in fields(Outputs) if one.init]
    if given.level == "prediction" and (unknown := [need for need in given.needs if need not in arrays]):
        return f"needs '{unknown[0]}', which runs never have: valid: {', '.join(arrays)}"
    return ""


MEASURES: Registry[Measure] = Registry(
    "measure",
    {
        "sd": "measures.score:SD",
        "disagreement": "measures.prediction:DISAGREEMENT",
        "kappa": "measures.prediction:KAPPA",
        "label_disagreement": "measures.sets:LABEL_DISAGREEMENT",
        "jensen_shannon": "measures.prediction:JENSEN_SHANNON",
        "chrf": "measures.text:CHRF",
        "rouge_l": "measures.text:ROUGE_L",
        "token_disagreement": "measures.tokens:TOKEN_DISAGREEMENT",
        "prediction_rmse": "measures.regression:PREDICTION_RMSE",
        "prediction_correlation": "measures.regression:PREDICTION_CORRELATION",
        "icc": "measures.regression:ICC",
        "svcca": "measures.distances:SVCCA",
        "procrustes": "measures.distances:PROCRUSTES",
        "cka": "measures.distances:CKA",
    },
    _check,
    # The names in differences.csv that stand for the score and the runs.
    reserved=("mean", "mean_here", "sd_ratio", "sd_ratio_here", "failed"),
)


def declared(level: Level | None = None) -> list[Measure]:
    """Return the measures in display order: scores, predictions, representations."""
    found = sorted(MEASURES.values(), key=lambda measure: LEVELS.index(measure.level))
    return [measure for measure in found if level in (None, measure.level)]


def judged() -> list[Measure]:
    """Return the measures that the validity analyses include."""
    return [measure for measure in declared() if measure.judged]


def layer_measures() -> list[LayerMeasure]:
    """Return the representation measures."""
    return [measure for measure in declared() if isinstance(measure, LayerMeasure)]
