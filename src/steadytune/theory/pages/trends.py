"""How a value changes with a factor over many data sets, whether that was predicted, and both in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.sentences import percent
from steadytune.reporting.blocks import Claim, Verdict

if TYPE_CHECKING:
    import pandas as pd

Way = Literal["falls", "rises", "stays"]

FLAT = 0.05
"""A relative change below this counts as none."""
SEEN, MOSTLY = 0.9, 0.6
"""Shares of the groups from which a prediction is supported, or mostly supported."""
FEWEST = 5
"""Fewer groups than this are inconclusive."""
CLEAR = 2.0
"""A change of this many standard errors is more than sampling of examples explains."""
CORRELATED = 0.2
"""A rank correlation below this counts as none."""
NOTHING = 1e-9
"""An instability below this is rounding."""


@dataclass(frozen=True)
class Trend:
    """The ratio of a value at the largest x to that at the smallest, for every group in which both are known.

    Attributes:
        ends: The smallest and largest x, as lower medians over the groups.
        ratios: (groups,).
        between: An x between the ends at which the median ratio to the first is below or above that at both ends by
            more than `FLAT`, and "lowest" or "highest"; None if there is none. Values of x that most groups lack do not
            count.
        last: The smallest and the largest x at which a group ends.
        separable: (groups,) whether the data of a group are separable; None if unknown or not constant in a group.
        clear: In how many groups the change is more than `CLEAR` of its standard errors; None if these are unknown.
    """

    ends: tuple[float, float]
    ratios: NDArray[np.float64]
    between: tuple[float, str] | None = None
    last: tuple[float, float] | None = None
    separable: NDArray[np.bool_] | None = None
    clear: int | None = None

    def share(self, way: Way, some: NDArray[np.bool_] | None = None) -> float:
        """Return the share of the groups, or of some of them, that go this way; NaN without groups."""
        ratios = self.ratios if some is None else self.ratios[some]
        falls, rises = ratios < 1 - FLAT, ratios > 1 + FLAT
        going = {"falls": falls, "rises": rises, "stays": ~(falls | rises)}[way]
        return float(going.mean()) if len(going) else math.nan

    def verdict(self, expected: Way) -> Verdict:
        """Return whether the expectation is supported."""
        if len(self.ratios) < FEWEST:
            return "inconclusive"
        if self.share(expected) >= MOSTLY:
            return graded(self.share(expected))
        if expected == "stays":
            return "not supported"
        if self.share("rises" if expected == "falls" else "falls") >= MOSTLY:
            return "contradicted"
        return "no effect" if self.share("stays") >= MOSTLY else "mixed"

    def words(self, setting: str, groups: str) -> str:
        """Describe the change from the smallest to the largest x.

        Args:
            setting: Text before a value of x, such as "n =".
            groups: Name of the groups.
        """
        if not len(self.ratios):
            return f"There are no {groups} with two values to compare."
        names: dict[Way, str] = {"falls": "falls", "rises": "rises", "stays": f"changes by less than {percent(FLAT)}"}
        ways = [f"{name} in {percent(self.share(way))}" for way, name in names.items() if self.share(way)]
        low, high = (f"{end:g}" for end in self.ends)
        if self.last and self.last[0] < self.last[1]:
            high = f"{self.last[0]:g}–{self.last[1]:g}"
        between = f" It is {self.between[1]} in between, at {setting} {self.between[0]:g}." if self.between else ""
        few = "" if len(self.ratios) >= FEWEST else f" Fewer than {FEWEST} are inconclusive."
        clear = "" if self.clear is None else f" The change exceeds {CLEAR:g} standard errors in {self.clear} of them."
        return (
            f"From {setting} {low} to {high} it {', '.join(ways)} of {len(self.ratios)} {groups}; the median ratio "
            f"is {np.median(self.ratios):.2g}.{clear}{between}{few}"
        )

    def where(self, expected: Way) -> str:
        """Describe in which data the expectation is supported, unless it is in all of them."""
        if self.separable is None or self.verdict(expected) in ("supported", "inconclusive"):
            return ""
        with_it, without = (percent(self.share(expected, some)) for some in (self.separable, ~self.separable))
        return f" It {expected} in {with_it} of the separable ones, and in {without} of the others."


def trend(table: pd.DataFrame, x: str, y: str, by: Sequence[str] = ("dataset",), error: str | None = None) -> Trend:
    """Compare the value y at the ends of x.

    Args:
        table: A row per group and value of x. Rows without a value do not count.
        x: Column of the factor.
        y: Column of the value, at least 0. From 0 to 0 is no change; from 0 to more is an infinite ratio.
        by: Columns that define a group.
        error: Column of the standard error of y, if it has one.
    """
    known = table.dropna(subset=[x, y]).sort_values(x, kind="stable")
    known = known.assign(**{y: known[y].where(known[y] >= NOTHING, 0.0)})
    grouped = known.groupby(list(by), dropna=False)
    first, last = (grouped[[x, y]].transform(end) for end in ("first", "last"))
    usable = first[x] < last[x]
    relative = known.assign(ratio=(known[y] / first[y]).where(first[y] > 0, np.where(known[y] > 0, np.inf, 1.0)))
    relative = relative[usable]
    if relative.empty:
        return Trend((math.nan, math.nan), np.zeros(0))
    ending = relative[x] == last[x][usable]
    ratios, ended = relative["ratio"][ending].to_numpy(np.float64), relative[x][ending]
    ends = float(first[x][usable][ending].quantile(interpolation="lower")), float(ended.quantile(interpolation="lower"))
    each = relative.groupby(x)["ratio"]
    medians = each.median()[each.size() * 2 > len(ratios)]
    separable = None
    if "separable" in known and bool((grouped["separable"].transform("nunique")[usable] == 1).all()):
        found = relative["separable"][ending].to_numpy(np.bool_)
        separable = found if found.any() and not found.all() else None
    between = _between(medians) if len(medians) else None
    last_ones = (float(ended.min()), float(ended.max()))
    clear = None if error is None else _clear(grouped[[y, error]].first(), grouped[[y, error]].last(), y, error)
    return Trend(ends, ratios, between, last_ones, separable, clear)


def _clear(first: pd.DataFrame, last: pd.DataFrame, y: str, error: str) -> int | None:
    """Count the groups whose change exceeds sampling error; None if no group has both errors."""
    errors = (first[error] ** 2 + last[error] ** 2) ** 0.5
    known = errors.notna()
    return int(((last[y] - first[y]).abs() > CLEAR * errors)[known].sum()) if known.any() else None


def _between(medians: pd.Series[float]) -> tuple[float, str] | None:
    settings, values = medians.index.to_numpy(np.float64), medians.to_numpy(np.float64)
    lowest, highest = int(values.argmin()), int(values.argmax())
    if values[lowest] < values[[0, -1]].min() * (1 - FLAT):
        return float(settings[lowest]), "lowest"
    if values[highest] > values[[0, -1]].max() * (1 + FLAT):
        return float(settings[highest]), "highest"
    return None


def claim(prediction: str, source: str, expected: Way, found: Trend, setting: str, groups: str = "data sets") -> Claim:
    """Return a claim that compares a predicted trend with the measured one."""
    words = found.words(setting, groups) + found.where(expected)
    return Claim(prediction, source, found.verdict(expected), words)


def bounded(
    prediction: str, source: str, table: pd.DataFrame, value: str, bound: str, rows: str, what: str = "bound"
) -> Claim:
    """Return a claim that compares a bound with the values, in the rows where both are known.

    Args:
        prediction: A sentence.
        source: Where it comes from.
        table: The rows.
        value: Column of the values.
        bound: Column of their bounds.
        rows: Name of the rows.
        what: Name of the bound, if it is not a true bound.
    """
    known = table.dropna(subset=[value, bound])
    if not len(known):
        return Claim(prediction, source, "inconclusive", f"There are no {rows}.")
    share = known[value] / known[bound]
    # Solvers meet their conditions to about 1e-8.
    above = int((share > 1 + 1e-6).sum())
    return Claim(
        prediction,
        source,
        "not supported" if above else "supported",
        f"It exceeds the {what} in {above} of {len(known)} {rows}; its median is {percent(share.median())} of the "
        f"{what}, its maximum {percent(share.max())}.",
    )


def graded(share: float) -> Verdict:
    """Return the verdict for something that holds in a share of the groups; NaN means that there are none."""
    if math.isnan(share):
        return "inconclusive"
    return "supported" if share >= SEEN else "mostly supported" if share >= MOSTLY else "not supported"


def ranked(correlations: NDArray[np.float64]) -> Verdict:
    """Return whether rank correlations (groups,) are positive as predicted; below `CORRELATED` in size is none."""
    if len(correlations) < FEWEST:
        return "inconclusive"
    agree, against = ((sign * correlations >= CORRELATED).mean() for sign in (1, -1))
    if against >= MOSTLY:
        return "contradicted"
    return graded(float(agree)) if agree >= MOSTLY else "mixed"
