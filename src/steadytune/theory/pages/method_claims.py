"""Predictions for MHLoss and MMR in head tuning, compared with the table of the studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steadytune.analysis.sentences import percent
from steadytune.reporting.blocks import Claim
from steadytune.theory.pages.claims import ABSTRACT, DERIVED, LOO_DRAWN, OURS, SEED, base, part
from steadytune.theory.pages.trends import FEWEST, FLAT, NOTHING, Way, bounded, claim, graded, trend
from steadytune.theory.studies.varied import HEADS, SCALED, ZERO

if TYPE_CHECKING:
    import pandas as pd

_SOUDRY = "Soudry et al. 2018"
_SEPARABLE = "separable data sets"


def head_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on the number of heads of MHLoss after the last step, and on its controls."""
    last = part(table, "heads", steps=base(table)["steps"])
    heads = last[last["kind"] == HEADS]
    more = "More heads make head tuning more stable"
    claims = [
        claim(f"{more}: {name} falls.", ABSTRACT, "falls", trend(heads, "heads", column), "H =")
        for name, column in ((SEED, "seed_directions"), (LOO_DRAWN, "loo_directions"))
    ]
    nearer = claim(
        "More heads come closer to the max-margin direction: the distance falls.",
        OURS,
        "falls",
        trend(heads, "heads", "direction_error"),
        "H =",
        _SEPARABLE,
    )
    return [*claims, nearer, *_control_claims(last)]


def _control_claims(last: pd.DataFrame) -> list[Claim]:
    """Compare MHLoss at the largest H with one head from a smaller start and from zero."""
    most = last["heads"].max()
    cancelling = (
        "The gain from several heads is only that their initial weights cancel: one head drawn at 1/√H of the scale"
    )
    claims = []
    for column, words, what in (
        (
            "direction_error",
            f"{cancelling} is at least as close to the max-margin direction as H = {most:g} heads.",
            "",
        ),
        ("seed_directions", f"{cancelling} has at most the seed instability of H = {most:g} heads.", "seed "),
    ):
        heads, one, zero = (_values(last, column, kind, most) for kind in (HEADS, SCALED, ZERO))
        # Each has its own random start, so the median is meaningful and single data sets are not.
        ratios = (heads / one)[(one >= NOTHING) & (heads >= NOTHING)].to_numpy(np.float64)
        if len(ratios) < FEWEST:
            claims.append(Claim(words, OURS, "inconclusive", "Too few data sets have both."))
            continue
        median = float(np.median(ratios))
        distance = "instability" if what else "distance"
        measured = (
            f"The {what}{distance} of the heads divided by that of the one head has a median of {median:.2f} over "
            f"{len(ratios)} {_SEPARABLE if column == 'direction_error' else 'data sets'}; supported means at least "
            f"{1 - FLAT:g}."
        )
        if what:
            measured += " One head from a zero start has no seed instability and is not in the figure."
        claims.append(Claim(words, OURS, "supported" if median >= 1 - FLAT else "not supported", measured))
        if not what:
            above = (heads / zero).to_numpy(np.float64)
            beaten = float((above >= 1 - 1e-9).mean())
            claims.append(
                Claim(
                    f"One head from a zero start is at least as close as H = {most:g} heads.",
                    OURS,
                    graded(beaten),
                    f"It is in {percent(beaten)} of {len(above)} {_SEPARABLE}; the distance of the heads divided by "
                    f"that of the zero start has a median of {np.median(above):.2f}.",
                )
            )
    return claims


def _values(last: pd.DataFrame, column: str, kind: str, most: float) -> pd.Series[float]:
    """Return a value for every data set that has it, for H heads or a control."""
    rows = last[(last["kind"] == kind) & (last["heads"] == (1 if kind == ZERO else most))]
    found: pd.Series[float] = rows.set_index("dataset")[column].dropna()
    return found


def time_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on the directions of heads over time."""
    rows = part(table, "heads", separable=True)
    heads = rows[rows["kind"] == HEADS]
    several = heads[heads["heads"] == heads["heads"].max()]
    one, zero = heads[heads["heads"] == 1], rows[rows["kind"] == ZERO]
    return [
        claim(
            "Heads from different starts converge in direction: one minus the cosine between two of them falls.",
            _SOUDRY,
            "falls",
            trend(several.assign(apart=1 - several["cosine_between_heads"]), "steps", "apart"),
            "step",
            _SEPARABLE,
        ),
        claim(
            "That is the max-margin direction: the distance of a single head to it falls.",
            _SOUDRY,
            "falls",
            trend(one, "steps", "direction_error"),
            "step",
            _SEPARABLE,
        ),
        _speed_claim(zero),
    ]


def _speed_claim(zero: pd.DataFrame) -> Claim:
    """Compare the distance with 1 / log t over the last two recorded steps, where the start matters least."""
    late = zero[zero["steps"].isin(sorted(zero["steps"].unique())[-2:])]
    found = trend(late.assign(scaled=late["direction_error"] * np.log(late["steps"])), "steps", "scaled")
    kept = 1 - found.share("rises")
    return Claim(
        "From a zero start that distance shrinks like 1 / log t or faster, for almost all data: multiplied by log t it "
        "does not rise.",
        _SOUDRY,
        graded(kept),
        found.words("step", _SEPARABLE) + " The prediction is asymptotic; it does not concern these steps.",
    )


def mmr_claims(table: pd.DataFrame) -> list[Claim]:
    """Return claims on MMR's alpha, with features tuned by a linear adapter."""
    rows = part(table, "mmr")
    expected: tuple[tuple[str, str, Way, str], ...] = (
        ("MMR moves the class centres apart: their distance rises.", ABSTRACT, "rises", "centre_distance"),
        ("MMR raises the margin: γ rises.", ABSTRACT, "rises", "margin"),
        ("MMR can do so through larger features: the largest norm B rises.", OURS, "rises", "norm"),
        ("MMR lowers what the bound depends on: B/γ falls.", ABSTRACT, "falls", "norm_over_margin"),
        (
            "MMR makes a max-margin head on its features, held fixed, more stable: leave-one-out instability falls.",
            ABSTRACT,
            "falls",
            "max_margin_loo",
        ),
        (
            "MMR makes adapter and head, both retrained, more stable: leave-one-out instability falls.",
            ABSTRACT,
            "falls",
            "loo_directions",
        ),
        (f"MMR makes adapter and head more stable: {SEED} falls.", ABSTRACT, "falls", "seed_directions"),
    )
    return [
        *(claim(words, source, way, trend(rows, "alpha", column), "α =") for words, source, way, column in expected),
        bounded(
            "On its features, held fixed, the bound of the max-margin head also holds.",
            DERIVED,
            rows,
            "max_margin_loo",
            "loo_bound",
            "adapted separable data sets",
        ),
    ]
