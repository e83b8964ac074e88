"""What the report calls things, and how it writes numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

from steadytune.analysis.sentences import scored
from steadytune.metrics import Scale


class Definition(NamedTuple):
    """One measure, in words.

    Attributes:
        title: Name in the page.
        short: Name in a narrow column.
        level: What the measure compares: "score", "prediction" or "representation".
        meaning: Definition, and what both ends of the range mean.
    """

    title: str
    short: str
    level: str
    meaning: str


MEASURES = {
    "sd": Definition(
        "Score SD",
        "SD",
        "score",
        "Standard deviation of the score over the runs, in its unit. 0: every run scores the same, which "
        "does not mean that they answer alike.",
    ),
    "disagreement": Definition(
        "Disagreement",
        "disagree",
        "prediction",
        "Share of the examples on which two runs predict different classes, averaged over all pairs of runs. 0: all "
        "runs answer alike. Two runs with equal scores may still disagree on many examples.",
    ),
    "kappa": Definition(
        "1 − Fleiss’ κ",
        "1 − κ",
        "prediction",
        "Disagreement relative to what chance would give for these class frequencies. 0: all runs answer alike; 1: "
        "they agree as often as independent guesses.",
    ),
    "jensen_shannon": Definition(
        "Jensen–Shannon",
        "JSD",
        "prediction",
        "Divergence between the predicted probabilities of two runs, in nats, averaged over examples and pairs. 0: the "
        "same probabilities; ln 2 ≈ 0.693: certain and contradictory.",
    ),
    "chrf": Definition(
        "1 − chrF",
        "1 − chrF",
        "prediction",
        "One minus the overlap of the character n-grams of two runs’ texts (chrF), averaged over examples and pairs. "
        "0: the same texts; 1: no n-gram in common. Of generated texts alone.",
    ),
    "prediction_rmse": Definition(
        "Pairwise RMSE",
        "RMSE",
        "prediction",
        "Root mean square difference between the predictions of two runs, averaged over all pairs of runs, in the unit "
        "of the target: set it beside the SD of the labels. 0: the same predictions. Of regressions alone.",
    ),
    "prediction_correlation": Definition(
        "1 − Pearson’s r",
        "1 − r",
        "prediction",
        "One minus the correlation between the predictions of two runs, averaged over all pairs of runs. 0: one is a "
        "rising linear function of the other, though it may be shifted or scaled; 1: unrelated; 2: reversed. Of "
        "regressions alone.",
    ),
    "icc": Definition(
        "1 − ICC",
        "1 − ICC",
        "prediction",
        "One minus the intraclass correlation ICC(2,1): the differences between runs, shifts among them, relative to "
        "the spread of the predictions. 0: the same predictions; 1: which example it is explains nothing. Of "
        "regressions alone.",
    ),
    "svcca": Definition(
        "SVCCA",
        "SVCCA",
        "representation",
        "One minus the mean canonical correlation of the directions that hold 99 % of the spectrum. 0: the same "
        "subspace. It is blind when there are fewer examples than dimensions; look at the null.",
    ),
    "procrustes": Definition(
        "Orthogonal Procrustes",
        "OP",
        "representation",
        "What remains of the difference between two runs’ hidden states after the best rotation. 0: the same up to "
        "rotation and scale. Small samples pull it down; look at the null.",
    ),
    "cka": Definition(
        "Linear CKA",
        "CKA",
        "representation",
        "One minus the unbiased linear centred kernel alignment of two runs’ hidden states. 0: the same geometry of "
        "the examples; about 1: unrelated.",
    ),
}
PAIRWISE = tuple(name for name in MEASURES if name != "sd")
"""The measures that compare runs with one another."""

SCALES = {"prediction_rmse": Scale("prediction_rmse")}
"""The measures that have a unit, which are shown as they are."""

MISSING = "–"
_ELLIPSIS = "…"


def known(value: float | None) -> bool:
    """Whether a number is there to be shown."""
    return value is not None and math.isfinite(value)


def number(value: float | None, scale: Scale | None = None) -> str:
    """Write a measure with three decimals, or on its scale a score, or a measure that has one."""
    if value is None or not math.isfinite(value):
        return MISSING
    if scale is not None:
        return scored(value, scale)
    # Plus zero, which has no sign once it is rounded.
    return "<0.001" if 0 < value < 0.0005 else f"{round(value, 3) + 0.0:.3f}"


def interval(low: float, high: float, scale: Scale | None = None) -> str:
    """Write an interval, or nothing where there is none."""
    return f"[{number(low, scale)}, {number(high, scale)}]" if known(low) and known(high) else ""


def seconds(value: float | None) -> str:
    """Write a duration."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def called(recipe: str) -> str:
    """Name a recipe; runs that were trained elsewhere may have none."""
    return recipe or "these runs"


def count(amount: int, noun: str) -> str:
    """Write "1 run", "2 runs"."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def shortened(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, between words where that is possible."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip() + _ELLIPSIS
