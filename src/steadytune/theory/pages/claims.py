"""Predictions of the theory for head tuning, compared with the table of the studies.

"Abstract" is that of Fu, So & Collier, "A Stability Analysis of Fine-Tuning a Pre-Trained Model", arXiv 2301.09820. It
is about stability; here each of its claims is tested on leave-one-out instability and on seed instability, which are
different quantities. "Derived" is proved in `theory/margin/bound.py` or in the sentence itself. "Ours" is what this
toolkit expects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steadytune.analysis.sentences import percent
from steadytune.reporting.blocks import Claim
from steadytune.theory.pages.trends import FLAT, Trend, bounded, claim, ranked, trend
from steadytune.theory.studies.table import DESIGN

if TYPE_CHECKING:
    import pandas as pd

ABSTRACT, DERIVED, OURS = "abstract", "derived", "ours"
LOO_ZERO = "leave-one-out instability (zero start)"
LOO_DRAWN = "leave-one-out instability (drawn start, the same for both heads)"
SEED, ORDER = "seed instability (initial weights)", "seed instability (order of the examples)"
_OTHERS = [name for name in DESIGN if name != "n"]
_SERIES = "series of data sets that differ only in n"


def part(table: pd.DataFrame, name: str, **chosen: object) -> pd.DataFrame:
    """Return the rows of a part, filtered by column values."""
    rows = table[table["part"] == name]
    for column, value in chosen.items():
        rows = rows[rows[column] == value]
    return rows


def base(table: pd.DataFrame) -> dict[str, float]:
    """Return the values held fixed while others vary: the last step, the first rate and scale."""
    rows = part(table, "training")
    return {"steps": rows["steps"].max(), "rate": rows["rate"].iloc[0], "init_scale": rows["init_scale"].iloc[0]}


def size_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on the number of examples and the margin, where leave-one-out is compared with its bound."""
    separable = part(table, "geometry", separable=True)
    trained = part(table, "training")
    drawn = part(table, "training", **base(table))
    zero = part(table, "training", **base(table) | {"init_scale": 0.0})
    more = "More examples make head tuning more stable"
    claims = [
        bounded(
            "Leaving out one example rotates the max-margin direction, on average over the examples, by at most "
            "min(√(2 (1 + B/γ) / n), 4 B / (γ n)).",
            DERIVED,
            separable,
            "max_margin_loo",
            "loo_bound",
            "separable data sets",
        )
    ]
    claims += [
        claim(f"{more}: {name} falls.", ABSTRACT, "falls", trend(rows, "n", column, _OTHERS), "n =", _SERIES)
        for name, rows, column in (
            ("leave-one-out instability (max-margin head)", separable, "max_margin_loo"),
            (LOO_ZERO, zero, "loo_directions"),
            (SEED, drawn, "seed_directions"),
        )
    ]
    descent = bounded(
        "The leave-one-out instability of descent is at most that of the max-margin head plus both direction errors of "
        "descent, and so at most the bound plus these.",
        DERIVED,
        trained,
        "loo_directions",
        "descent_loo_bound",
        "trainings",
    )
    bounds = trained["descent_loo_bound"].dropna()
    idle = f" That bound is above 2, and so vacuous, in {percent(float((bounds > 2).mean()))}." if len(bounds) else ""
    return [
        *claims,
        _margin_claim(separable),
        Claim(descent.prediction, descent.source, descent.verdict, descent.measured + idle),
    ]


def _margin_claim(separable: pd.DataFrame) -> Claim:
    """Rank data sets of one size, width and number of classes by margin and by leave-one-out instability."""
    both = ["norm_over_margin", "max_margin_loo"]
    cells = [cell[both] for _, cell in separable.groupby(["n", "d", "classes"]) if cell[both].nunique().min() >= 5]
    ranks = np.array([cell.corr(method="spearman").iloc[0, 1] for cell in cells])
    prediction = (
        "Among data sets of the same size, those with a larger margin γ/B have the smaller leave-one-out instability."
    )
    if not len(ranks):
        return Claim(prediction, ABSTRACT, "inconclusive", "No group has five separable data sets to rank.")
    return Claim(
        prediction,
        ABSTRACT,
        ranked(ranks),
        f"Spearman's ρ between B/γ and the leave-one-out instability of the max-margin head has a median of "
        f"{np.median(ranks):.2f} over {len(ranks)} groups of data sets with the same n, d and classes, from "
        f"{ranks.min():.2f} to {ranks.max():.2f}. A larger margin lowers the bound in any case.",
    )


def step_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on the number of steps."""
    rows = part(table, "training", rate=base(table)["rate"])
    more = "More steps make head tuning more stable"
    return [
        claim(f"{more}: {name} falls.", ABSTRACT, "falls", trend(some, "steps", column), "step")
        for name, some, column in _quantities(table, rows)
    ]


def rate_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on the learning rate, at a fixed number of steps."""
    rows = part(table, "training", steps=base(table)["steps"])
    smaller = "A smaller learning rate makes head tuning more stable"
    quantities = [*_quantities(table, rows), (ORDER, part(table, "order"), "seed_directions")]
    claims = [
        claim(f"{smaller}: {name} rises with it.", ABSTRACT, "rises", trend(some, "rate", column), "β × rate =")
        for name, some, column in quantities
    ]
    return [*claims, _product_claim(part(table, "training", init_scale=base(table)["init_scale"]))]


def _quantities(table: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame, str]]:
    """Return name, rows and column of both instabilities, from both starts."""
    zero, drawn = (rows[rows["init_scale"] == scale] for scale in (0.0, base(table)["init_scale"]))
    return [
        (LOO_ZERO, zero, "loo_directions"),
        (LOO_DRAWN, drawn, "loo_directions"),
        (SEED, drawn, "seed_directions"),
    ]


def _product_claim(rows: pd.DataFrame) -> Claim:
    """Compare trainings with the same product of rate and steps."""
    groups = rows.assign(product=(rows["rate"] * rows["steps"]).round(9)).groupby("product")
    ratios = np.concatenate([trend(group, "steps", "seed_directions").ratios for _, group in groups])
    found = Trend((0.0, 0.0), ratios)
    prediction = "In full-batch descent the seed instability depends only on the product of rate and steps."
    if not len(ratios):
        return Claim(prediction, OURS, "inconclusive", "No two trainings have the same product.")
    return Claim(
        prediction,
        OURS,
        found.verdict("stays"),
        f"Between two trainings with the same product it differs by a median of "
        f"{percent(float(np.median(np.abs(ratios - 1))))}, and by less than {percent(FLAT)} in "
        f"{percent(found.share('stays'))} of {len(ratios)} pairs.",
    )


def scale_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on the scale of the initial weights, after the last step."""
    here = base(table)
    rows = part(table, "training", steps=here["steps"], rate=here["rate"])
    drawn = rows[rows["init_scale"] > 0]
    zero = rows[rows["init_scale"] == 0]["seed_directions"]
    return [
        Claim(
            "From a zero start there is no seed instability: full-batch descent has no other randomness.",
            DERIVED,
            "supported" if bool((zero < 1e-9).all()) else "not supported",
            f"It is at most {zero.max():.1g} over {len(zero)} data sets.",
        ),
        claim(
            f"Larger initial weights make head tuning less stable: {SEED} rises.",
            OURS,
            "rises",
            trend(drawn, "init_scale", "seed_directions"),
            "a scale of",
        ),
        claim(
            f"The limit of descent does not depend on the start, so after many steps {LOO_DRAWN} does not change.",
            OURS,
            "stays",
            trend(drawn, "init_scale", "loo_directions"),
            "a scale of",
        ),
    ]
