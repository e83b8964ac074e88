"""Choose the stabilizers most worth trying, given the findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steadytune.doctor.findings import Finding, Remedy
from steadytune.doctor.setup import Setup
from steadytune.stabilizers import STABILIZERS

_MOST = 3
_DEEP = 24
_FEW_SAMPLE = "Zhang et al., arXiv 2006.05987"
_REFUSE_ADAPTERS = frozenset({"reinit", "mixout", "wd_pre", "child_tuning"})
"""What acts on pre-trained weights that are trained, of which a training with an adapter has none."""
_ABOUT_FU = "Fu, So & Collier, arXiv 2301.09820"


@dataclass(frozen=True)
class _Row:
    """A stabilizer, the rules that call for it, and the least model depth that it is said to help."""

    rules: frozenset[str]
    remedy: Remedy
    layers: int = 0

    def suits(self, setup: Setup) -> bool:
        if setup.adapter and self.remedy.stabilizer in _REFUSE_ADAPTERS:
            return False
        mode, method = "full" if setup.full else "head", STABILIZERS[self.remedy.stabilizer]
        serves = setup.kind is None or method.serves(setup.kind)
        return serves and mode in method.modes and (setup.layers or 0) >= self.layers

    def answers(self, rule: str, broken_by: Sequence[Setup]) -> bool:
        """Whether it addresses a rule that these ways of training break and none of them has tried it."""
        tried = any(self.remedy.stabilizer in setup.stabilizers for setup in broken_by)
        return rule in self.rules and not tried and any(map(self.suits, broken_by))


_TABLE = (
    _Row(
        frozenset({"learning-rate", "warm-up", "collapsed", "diverged"}),
        Remedy(
            "llrd",
            "gives the lower blocks, whose gradients vanish in collapsed runs, smaller learning rates",
            f"Howard & Ruder, arXiv 1801.06146; {_FEW_SAMPLE}",
        ),
    ),
    _Row(
        frozenset({"warm-up", "collapsed", "diverged"}),
        Remedy(
            "lp_ft",
            "trains the head first, so that no gradients of a random head reach the encoder",
            "Kumar et al., arXiv 2202.10054",
        ),
    ),
    _Row(
        frozenset({"epochs", "collapsed"}),
        Remedy(
            "reinit",
            "re-initialises the top blocks, which made runs on few examples faster and more alike",
            _FEW_SAMPLE,
        ),
    ),
    _Row(
        frozenset({"diverged", "learning-rate", "warm-up"}),
        Remedy(
            "cngc",
            "clips each tensor separately, so that one large gradient does not slow down all others",
            "Yang & Ma, arXiv 2210.10325",
        ),
    ),
    _Row(
        frozenset({"epochs", "majority"}),
        Remedy(
            "mixout",
            "pulls weights back to their pre-trained values, for large models on few examples",
            "Lee, Cho & Kang, arXiv 1909.11299, on models of 24 blocks",
        ),
        _DEEP,
    ),
    _Row(
        frozenset({"epochs", "majority", "learning-rate"}),
        Remedy(
            "wd_pre",
            "decays weights to their pre-trained values instead of 0, so that few examples move them less",
            f"{_FEW_SAMPLE}, one of the compared methods",
        ),
    ),
    _Row(
        frozenset({"majority"}),
        Remedy(
            "smart",
            "keeps predictions smooth around each example, so that few examples are not overfitted",
            "Jiang et al., arXiv 1911.03437",
        ),
    ),
    _Row(
        frozenset({"epochs", "majority"}),
        Remedy(
            "child_tuning",
            "updates only the weights that matter to the task, so that fewer are fitted to few examples",
            "Xu et al., arXiv 2109.05687",
        ),
    ),
    _Row(
        frozenset({"collapsed", "majority"}),
        Remedy(
            "surt",
            "continues pre-training on the task's own texts, which changes the features; it can also hurt",
            _ABOUT_FU,
        ),
    ),
    _Row(
        frozenset({"collapsed", "majority"}),
        Remedy(
            "mhloss",
            "averages many heads with different initial weights, so that the draw of each matters less",
            _ABOUT_FU,
        ),
    ),
)
"""Claimed in papers, from memory; only runs can show which of them helps. Ties go to the first.

Only the last two work on a frozen encoder.
"""


def remedies(findings: Iterable[Finding], setups: Iterable[Setup]) -> tuple[Remedy, ...]:
    """Return the stabilizers that address most of the findings; none if no finding calls for one.

    Args:
        findings: Each concerns one way of training; those of severity "check" call for nothing.
        setups: These ways of training.
    """
    named = {setup.where: setup for setup in setups}
    broken: dict[str, list[Setup]] = {}
    for finding in findings:
        if finding.severity != "check" and finding.where in named:
            broken.setdefault(finding.rule, []).append(named[finding.where])
    counts = [(sum(row.answers(*item) for item in broken.items()), row.remedy) for row in _TABLE]
    # Sorting is stable: ties keep the table's order.
    ranked = sorted(counts, key=lambda count: -count[0])
    return tuple(remedy for count, remedy in ranked if count)[:_MOST]


def usage(chosen: Sequence[Remedy], stock: bool) -> str:
    """Return how to try them one at a time, in the user's own script or as a study; "" for none."""
    if not chosen:
        return ""
    if stock:
        first, *others = (f"st.{STABILIZERS[one.stabilizer].__name__}()" for one in chosen)
        likewise = f"; then {', '.join(others)} instead of {first}" if others else ""
        return f"import steadytune as st; st.StableTrainer(..., stabilizers=[{first}]) instead of Trainer{likewise}"
    recipes = " ".join(f"--recipe {name}" for name in ["standard", *(one.stabilizer for one in chosen)])
    return f"steadytune run ... {recipes} --seeds 10 --out runs/try"
