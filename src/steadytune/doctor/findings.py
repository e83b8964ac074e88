"""What the doctor says: findings, in the order of how much they matter, and methods worth trying."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

SEVERITIES = ("high", "medium", "low", "check")
"""From what is known to make trainings fail to what the target does not show, so that somebody has to look."""
UNUSABLE = "unusable-task"
"""The rule of a task that `steadytune run` would refuse."""


@dataclass(frozen=True)
class Finding:
    """One thing that will make a training unstable, did so, or hides that it is.

    Attributes:
        rule: Name of the rule, one word or two with a hyphen.
        severity: One of `SEVERITIES`.
        title: What is wrong, in a few words.
        where: Recipe or file that it is true of.
        found: The value that was found.
        why: What the rule says.
        source: Where the rule comes from, and how sure that is.
        advice: What to do.
    """

    rule: str
    severity: str
    title: str
    where: str
    found: str
    why: str
    source: str
    advice: str


@dataclass(frozen=True)
class Remedy:
    """A stabilizer worth trying.

    Attributes:
        stabilizer: Its name.
        reason: What it does about what was found.
        source: Where that is claimed.
    """

    stabilizer: str
    reason: str
    source: str


@dataclass(frozen=True)
class Diagnosis:
    """What there is to say about one target.

    Attributes:
        findings: The worst first.
        unknown: What the target does not say, one sentence each.
        remedies: The two or three stabilizers most worth trying; none where nothing calls for one.
        usage: How to try them.
        data: What was read of the data, a sentence each.
    """

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    usage: str
    data: tuple[str, ...] = ()

    @property
    def unusable(self) -> bool:
        """Whether a task of the study cannot be used."""
        return any(finding.rule == UNUSABLE for finding in self.findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings, the worst first, and say once what is true of several recipes."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, where=""), []).append(finding.where)
    merged = [replace(finding, where=", ".join(dict.fromkeys(where))) for finding, where in places.items()]
    return tuple(sorted(merged, key=lambda finding: SEVERITIES.index(finding.severity)))
