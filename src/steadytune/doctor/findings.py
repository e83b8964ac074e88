"""The doctor's output: findings, most important first, and methods worth trying."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

SEVERITIES = ("high", "medium", "low", "check")
"""From known causes of failed trainings to what the target cannot show, so that the user must check."""
UNUSABLE = "unusable-task"
"""The rule for a task that `steadytune run` would refuse."""


@dataclass(frozen=True)
class Finding:
    """One thing that will make training unstable, made it so, or hides that it is.

    Attributes:
        rule: Name of the rule, one word or two with a hyphen.
        severity: One of `SEVERITIES`.
        title: What is wrong, in a few words.
        where: Recipe or file that it concerns.
        found: The value found.
        why: What the rule says.
        source: Where the rule comes from, and how certain it is.
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
        reason: How it addresses the findings.
        source: Who claims that.
    """

    stabilizer: str
    reason: str
    source: str


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of one target.

    Attributes:
        findings: The most severe first.
        unknown: What the target does not show, one sentence each.
        remedies: The two or three stabilizers most worth trying; empty if no finding calls for one.
        usage: How to try them.
        data: What was read from the data, one sentence each.
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
    """Sort findings, the most severe first, and merge those that several recipes share."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, where=""), []).append(finding.where)
    merged = [replace(finding, where=", ".join(dict.fromkeys(where))) for finding, where in places.items()]
    return tuple(sorted(merged, key=lambda finding: SEVERITIES.index(finding.severity)))
