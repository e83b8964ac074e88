"""The record of one run of a command."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from steadytune.external.commands.sweep import CommandRun
from steadytune.records.sealed import Sealed


class CommandRecord(Sealed):
    """What became of one run of a command. Its log and what it wrote are beside it, see `CommandStore`.

    Attributes:
        command: The command with its placeholders.
        seed: The run's seed.
        values: Name -> value of the other placeholders.
        status: "done" if the command ended with exit code 0; "crashed" if it did not; "stopped" at the time limit.
        reason: Why it failed, in one line: how it ended, and the end of its log.
        code: Exit code; the negative number of the signal that ended it; None if it is unknown.
        seconds: Wall-clock seconds.
        files: File named in the command -> SHA-256 of its content when the run began.
        results: What was to be measured when the run ended, path below the run's out/ -> SHA-256.
    """

    command: tuple[str, ...]
    seed: int
    values: dict[str, str] = Field(default_factory=dict)
    status: Literal["done", "crashed", "stopped"]
    reason: str | None = None
    code: int | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    files: dict[str, str] = Field(default_factory=dict)
    results: dict[str, str] = Field(default_factory=dict)

    @property
    def run(self) -> CommandRun:
        """The run."""
        return CommandRun.of(self.seed, self.values)

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.run.id

    def row(self) -> dict[str, Any]:
        """Return a row of runs.csv: column -> value, None if unknown."""
        facts = {"status": self.status, "code": self.code, "seconds": self.seconds, "reason": self.reason}
        return {"run": self.id, **self.values, "seed": self.seed, **facts}
