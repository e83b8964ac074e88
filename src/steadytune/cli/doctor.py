"""`steadytune doctor`: find what will make training unstable, or did."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steadytune.doctor import Diagnosis, Finding

_WIDTH = 110
_MEANING = {
    "high": "known to make trainings fail, or did",
    "medium": "makes runs differ, or hides that they do",
    "low": "worth knowing",
    "check": "the target does not show it: check your script",
}


def doctor(
    target: Annotated[
        Path,
        typer.Argument(
            help="Study file (YAML), TrainingArguments as JSON, or the --out folder of a 'steadytune run'.",
            show_default=False,
        ),
    ],
) -> None:
    """Find what will make training unstable, or did, and explain each finding: rule, source and what to do.

    Nothing is trained. A missing model or task is downloaded, as `steadytune run` would do. The exit code is 0
    whatever is found, except 2 if a task of the study cannot be used.

    **Example**

    `steadytune doctor study.yaml`

    `steadytune doctor runs/rte`

    `python -c "print(args.to_json_string())" > args.json` in your own script, then `steadytune doctor args.json`
    """
    from steadytune.doctor import diagnose
    from steadytune.terminal.lines import say

    diagnosis = diagnose(target)
    say("\n".join(_lines(diagnosis, target)))
    if diagnosis.unusable:
        raise typer.Exit(2)


def _lines(diagnosis: Diagnosis, target: Path) -> list[str]:
    findings = diagnosis.findings
    count = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}" if findings else "nothing found"
    lines = [f"{target}: {count}", *(_wrapped("  ", line) for line in diagnosis.data)]
    shown = ""
    for finding in findings:
        if finding.severity != shown:
            shown = finding.severity
            lines += ["", f"{shown.upper()} - {_MEANING[shown]}"]
        lines += ["", *_about(finding)]
    if diagnosis.unknown:
        lines += ["", "NOT KNOWN", *(_wrapped("- ", text) for text in diagnosis.unknown)]
    if diagnosis.remedies:
        lines += ["", "WORTH TRYING, once the rest is fixed. Papers claim a benefit (from memory); runs must show it:"]
        lines += [_wrapped(f"- {one.stabilizer}: ", f"{one.reason} ({one.source})") for one in diagnosis.remedies]
        lines += [_wrapped("  ", diagnosis.usage)]
    elif findings and not diagnosis.unusable:
        lines += ["", "No finding calls for a stabilizer."]
    return lines


def _about(finding: Finding) -> list[str]:
    rows = {"found": finding.found, "why": finding.why, "source": finding.source, "do": finding.advice}
    head = _wrapped("* ", f"{finding.title} ({finding.where})")
    return [head, *(_wrapped(f"  {name:<8}", text) for name, text in rows.items())]


def _wrapped(start: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * min(len(start), 10),
        break_long_words=False,
        break_on_hyphens=False,
    )
