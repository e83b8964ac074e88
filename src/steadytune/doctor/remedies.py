"""Which stabilizers are most worth trying, given what was found."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from steadytune.doctor.findings import Finding, Remedy

_MOST = 3

_TABLE: tuple[tuple[frozenset[str], Remedy], ...] = (
    (
        frozenset({"learning-rate", "collapsed", "diverged"}),
        Remedy(
            "llrd",
            "gives the lower blocks, whose gradients vanish in collapsed runs, smaller learning rates",
            "Howard & Ruder, arXiv 1801.06146; Zhang et al., arXiv 2006.05987",
        ),
    ),
    (
        frozenset({"warm-up", "collapsed", "diverged"}),
        Remedy(
            "lp_ft",
            "trains the head first, so that no gradients of a random head reach the encoder",
            "Kumar et al., arXiv 2202.10054",
        ),
    ),
    (
        frozenset({"epochs", "collapsed"}),
        Remedy(
            "reinit",
            "draws the top blocks anew, which made runs on few examples faster and alike",
            "Zhang et al., arXiv 2006.05987",
        ),
    ),
    (
        frozenset({"epochs", "majority"}),
        Remedy(
            "mixout",
            "pulls weights back to the pre-trained ones, for large models on few examples",
            "Lee, Cho & Kang, arXiv 1909.11299",
        ),
    ),
    (
        frozenset({"diverged", "learning-rate"}),
        Remedy(
            "cngc",
            "clips each tensor by itself, so that one large gradient does not slow down all others",
            "Yang & Ma, arXiv 2210.10325",
        ),
    ),
)
"""(rules that call for it, the stabilizer). Papers claim it, recalled; which of them helps here only runs can say."""


def remedies(findings: Sequence[Finding], tried: Collection[str]) -> tuple[Remedy, ...]:
    """Return the stabilizers that answer most of the findings; none where no finding calls for one.

    Args:
        findings: What was found; what only has to be checked calls for nothing.
        tried: Stabilizers that every recipe has already.
    """
    rules = {finding.rule for finding in findings if finding.severity != "check"}
    rows = [
        (len(calls & rules), remedy) for calls, remedy in _TABLE if calls & rules and remedy.stabilizer not in tried
    ]
    # Sorting is stable: among equals the table's order counts.
    return tuple(remedy for _, remedy in sorted(rows, key=lambda row: -row[0]))[:_MOST]
