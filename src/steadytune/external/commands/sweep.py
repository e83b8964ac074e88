"""A command with placeholders, and the seeds and values that are put in their place."""

from __future__ import annotations

import glob
import hashlib
import itertools
import math
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from steadytune.config import Config
from steadytune.errors import UserError, unknown_name
from steadytune.seeds import MOST_SEEDS

PLAN = "sweep.yaml"
"""File in the folder of the runs."""
SEED, OUT = "seed", "out"
# {name}, or {{name}} for the text {name} itself. Other braces, as in JSON, are text.
_PLACE = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
# What may stand in the name of a folder as it is; capitals are the same file as small letters on some systems.
_PLAIN = re.compile(r"[a-z0-9.+-]{1,40}")
_LONGEST = 150


@dataclass(frozen=True)
class CommandRun:
    """One run of a command.

    Attributes:
        seed: Its seed.
        values: Name -> value, sorted by name.
    """

    seed: int
    values: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, seed: int, values: Mapping[str, str]) -> CommandRun:
        """Make one from a mapping."""
        return cls(seed, tuple(sorted(values.items())))

    @cached_property
    def id(self) -> str:
        """The name of its folder: lr-1e-5_seed-3."""
        chosen = "_".join(f"{name}-{_plain(value)}" for name, value in self.values)
        if len(chosen) > _LONGEST:
            chosen = _digest(chosen)
        return "_".join(filter(None, (chosen, f"{SEED}-{self.seed}")))

    @property
    def recipe(self) -> str:
        """What it shares with the runs that differ only in the seed: "lr=1e-5, size=8", or ""."""
        return ", ".join(f"{name}={value}" for name, value in self.values)

    @property
    def name(self) -> str:
        """What it is called: "lr=1e-5, seed 3"."""
        return ", ".join(filter(None, (self.recipe, f"seed {self.seed}")))

    def filled(self, text: str, out: str, *, pattern: bool = False) -> str:
        """Put seed, values and folder in the place of their names.

        Args:
            text: A word with placeholders.
            out: The folder that the run writes into.
            pattern: Whether the text is a pattern of file names, in which values stand for themselves.
        """
        held = {SEED: str(self.seed), OUT: out, **dict(self.values)}
        kept = glob.escape if pattern else str
        return _PLACE.sub(lambda found: kept(held[found[2]]) if found[2] else f"{{{found[1]}}}", text)


class Sweep(Config):
    """A command, and what is put in the place of its placeholders; sweep.yaml.

    Attributes:
        command: The words of the command, run without a shell. {seed} and {out} are the run's seed and folder.
        folder: Where it runs.
        seeds: One run each, for every combination of the values.
        values: Name -> values of the placeholder of this name.
        results: Pattern of the files that a run leaves to be measured, see `results.results_of`; None to look for them.
        metric: As in `read_runs`, and so are `positive` and `columns`.
        positive: Positive class of the metric.
        columns: Meaning of columns.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    folder: str
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    values: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    results: str | None = None
    metric: str | None = None
    positive: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)

    def runs(self) -> Iterator[CommandRun]:
        """Yield all runs, seed by seed, so that an interrupted sweep has runs of every combination."""
        for seed in self.seeds:
            for chosen in itertools.product(*self.values.values()):
                yield CommandRun.of(seed, dict(zip(self.values, chosen, strict=True)))

    @property
    def outside(self) -> bool:
        """Whether results are looked for outside the folder of the run, relative to where the command runs."""
        if self.results is None or self.results.startswith(f"{{{OUT}}}"):
            return False
        return OUT not in self.mentioned or Path(self.results).is_absolute()

    @property
    def mentioned(self) -> set[str]:
        """Names of the placeholders in the command."""
        return {name for word in self.command for name in _names(word)}

    def joined(self, held: Sweep, path: Path) -> Sweep:
        """Return what a folder holds, with the seeds and values of this sweep added.

        Raises:
            UserError: The folder holds the runs of another command, or of one that runs elsewhere.
        """
        if self.command != held.command:
            raise UserError(
                f"{path} holds runs of another command: {shlex.join(held.command)}\n"
                "Choose another --out, or give that command"
            )
        if self.folder != held.folder:
            raise UserError(f"{path} holds runs of this command in {held.folder}: go there, or choose another --out")
        if self.values.keys() != held.values.keys():
            raise UserError(
                f"{path} holds runs with values of {', '.join(held.values) or 'nothing'}, not of "
                f"{', '.join(self.values) or 'nothing'}: choose another --out"
            )
        values = {name: tuple(dict.fromkeys((*held.values[name], *self.values[name]))) for name in held.values}
        seeds = tuple(sorted({*held.seeds, *self.seeds}))
        given = {
            name: getattr(self, name) or getattr(held, name) for name in ("results", "metric", "positive", "columns")
        }
        return self.model_copy(update={"seeds": seeds, "values": values, **given})

    def check(self) -> None:
        """Look for whatever would make all runs fail, or all of them equal.

        Raises:
            UserError: There is something.
        """
        self._check_names()
        if (runs := len(self.seeds) * math.prod(map(len, self.values.values()))) > MOST_SEEDS:
            raise UserError(f"{len(self.seeds)} seeds of every combination make {runs:,} runs: at most {MOST_SEEDS:,}")
        if SEED not in self.mentioned:
            raise UserError(
                "the command does not mention {seed}, so that all runs would be the same: pass it on, as in "
                "--seed {seed}, or as a variable with env SEED={seed} before the command"
            )
        if unused := [name for name in self.values if name not in self.mentioned]:
            raise UserError(f"the command does not mention {{{unused[0]}}}, so that its values would change nothing")
        if OUT not in self.mentioned and self.results is None:
            raise UserError(
                "the command does not mention {out}, the folder that a run writes into: pass it on, as in "
                "--output {out}, or say with --results which files it writes, as in --results 'outputs/{seed}/*.csv'"
            )
        lacking = [name for name in (SEED, *self.values) if name not in _names(self.results or "")]
        if self.outside and lacking:
            raise UserError(
                f"--results {self.results} names the same files for several runs: it must mention {{{lacking[0]}}}"
            )
        for program, script in {self._started(run) for run in self.runs()}:
            self._check_program(program, script)

    def _check_names(self) -> None:
        for name in self.values:
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in (SEED, OUT):
                raise UserError(f"--set {name}: a placeholder has a name of its own, as in --set lr=1e-5,2e-5")
        for name, values in self.values.items():
            if len(set(values)) < len(values):
                raise UserError(f"--set {name}: a value is given twice")
        known = [SEED, OUT, *self.values]
        for word in (*self.command, self.results or ""):
            for name in _names(word):
                if name not in known:
                    raise UserError(
                        f"{unknown_name('placeholder', name, known)}. Give its values with --set {name}=a,b, or write "
                        f"{{{{{name}}}}} for the text itself"
                    )

    def _started(self, run: CommandRun) -> tuple[str, str]:
        program, *words = (run.filled(word, OUT) for word in self.command[:2])
        return program, next(iter(words), "")

    def _check_program(self, program: str, script: str) -> None:
        # As the system looks for it: in PATH, or, if it is a path, from where the command runs.
        where = str(Path(self.folder, program)) if "/" in program else program
        if shutil.which(where) is None:
            wrong = "is not executable" if "/" in program and Path(where).exists() else "is not found"
            raise UserError(
                f"the program '{program}' {wrong}: a command is a program and its arguments, run without a shell"
            )
        python = re.fullmatch(r"python[\d.]*", Path(program).name) and script.endswith(".py")
        if python and not Path(self.folder, script).is_file():
            raise UserError(f"there is no script {script} in {self.folder}")

    @property
    def files(self) -> tuple[str, ...]:
        """Words of the command that name files: a script, its configuration."""
        words = {part for word in self.command if not _names(word) for part in (word, word.partition("=")[2]) if part}
        return tuple(sorted(word for word in words if Path(self.folder, word).is_file()))


def _names(text: str) -> list[str]:
    return [found[2] for found in _PLACE.finditer(text) if found[2]]


def _plain(value: str) -> str:
    """Return a value as a part of the name of a folder, unlike that of any other value."""
    if _PLAIN.fullmatch(value):
        return value
    return f"{re.sub('[^A-Za-z0-9.+-]+', '-', value)[:30].strip('.')}-{_digest(value)[:6]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def is_sweep(path: str | Path) -> bool:
    """Return whether a folder holds the runs of a command."""
    return (Path(path) / PLAN).is_file()
