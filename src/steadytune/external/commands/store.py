"""The folder of the runs of a command: its plan, and a folder per run with its record, its log and what it wrote."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from steadytune.config import first_problem, read_yaml
from steadytune.errors import UserError, check_path
from steadytune.external.commands.cohorts import cohorts_of
from steadytune.external.commands.record import CommandRecord
from steadytune.external.commands.results import results_of, why_unreadable
from steadytune.external.commands.sweep import PLAN, Sweep, is_sweep
from steadytune.files import CorruptFile, sha256_file, write_text
from steadytune.grouped import grouped
from steadytune.records.cohort import Cohort
from steadytune.records.folder import RunFolder, held
from steadytune.shown import Shown, plural

if TYPE_CHECKING:
    import pandas as pd

OUT, PARTIAL, LOG = "out", "partial", "log.txt"
_FOLDERS = ("runs", "claims")


class CommandStore(RunFolder, Shown):
    """The output folder of a sweep of a command.

    sweep.yaml contains the command with its seeds and values, runs/<id>/ one run each: run.json, log.txt and out/, the
    folder that the command wrote into (partial/ if it failed); claims/ a lock per run while it is being done.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a folder that contains a sweep.

        Raises:
            UserError: There is none in it.
        """
        check_path(path, "a folder of runs")
        super().__init__(path)
        if not is_sweep(self.path):
            raise UserError(f"{self.path} has no {PLAN}: give the --out folder of a 'steadytune sweep'")

    @classmethod
    def create(cls, path: str | Path, sweep: Sweep, versions: Mapping[str, str]) -> CommandStore:
        """Open the folder of a sweep, or create it. Seeds and values may be added; the command may not change.

        Raises:
            UserError: The folder belongs to something else, or cannot be created.
        """
        path = Path(path)
        with held(path, PLAN, _FOLDERS):
            if is_sweep(path):
                sweep = sweep.joined(cls(path).sweep, path)
            header = "".join(f"# {name} {version}\n" for name, version in versions.items())
            content = sweep.model_dump(mode="json", exclude_defaults=True)
            body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            write_text(path / PLAN, f"# Written by steadytune with:\n{header}{body}")
        return cls(path)

    @cached_property
    def _command(self) -> tuple[str, ...]:
        # It never changes.
        return self.sweep.command

    @property
    def sweep(self) -> Sweep:
        """The sweep in sweep.yaml."""
        try:
            return Sweep.model_validate(read_yaml(self.path / PLAN))
        except ValidationError as error:
            raise UserError(f"{self.path / PLAN}: {first_problem(error, Sweep)}") from None

    @property
    def resume(self) -> str:
        """The command that does the missing runs, to be given in the same folder."""
        return self._again()

    @property
    def retry(self) -> str:
        """The same command, which also does failed runs again."""
        return self._again("--retry-failed")

    def _again(self, *options: str) -> str:
        sweep = self.sweep
        sets = [word for name, values in sweep.values.items() for word in ("--set", f"{name}={','.join(values)}")]
        asked = ["--seeds", seeds_words(sweep.seeds), *sets, "--out", str(self.path), *options]
        return shlex.join(["steadytune", "sweep", *asked, "--", *sweep.command])

    def record(self, run_id: str) -> CommandRecord:
        """Read one run.

        Raises:
            UserError: It is damaged or does not belong here; says how to do it again.
        """
        try:
            record = CommandRecord.from_json(self._content(run_id))
        except CorruptFile as error:
            raise UserError(f"run {run_id} in {self.path} is corrupted: {error}.\nRedo it: {self.retry}") from error
        if record.id != run_id:
            raise UserError(f"run {run_id} in {self.path} holds run {record.id}. {self._remove(run_id)}")
        if record.command != self._command:
            raise UserError(f"run {run_id} in {self.path} was run by another command. {self._remove(run_id)}")
        return record

    def records(self) -> list[CommandRecord]:
        """Read all runs, by values and then seed; damaged ones are skipped with a `FolderWarning`, see `skipped`."""
        found = []
        for name in self.names():
            try:
                found.append(self.record(name))
            except UserError as error:
                self._skip(name, str(error))
        values = self.sweep.values

        def place(record: CommandRecord) -> tuple[int, ...]:
            own = {name: record.values.get(name, "") for name in values}
            at = [(*held, own[name]).index(own[name]) for name, held in values.items()]
            return (*at, record.seed)

        return sorted(found, key=place)

    def _redone(self, run_id: str) -> bool:
        try:
            record = self.record(run_id)
            return record.status != "done" or bool(self.unmeasured(record))
        except UserError:
            return True

    def write(self, folder: Path, record: CommandRecord) -> None:
        """Finish a run's folder, as yielded by `made`, with its record."""
        if record.status != "done":
            (folder / OUT).rename(folder / PARTIAL)
        write_text(folder / "run.json", record.to_json())

    def log(self, record: CommandRecord) -> Path:
        """Return the path of what a run printed."""
        return self._folder(record.id) / LOG

    def results(self, record: CommandRecord) -> list[Path]:
        """Return the files of a finished run that are measured, as `results_of` does.

        Raises:
            UserError: There is none, or one is no longer what the run wrote.
        """
        out = self._folder(record.id) / OUT
        found = results_of(self.sweep, record.run, out)
        for path in found:
            known = record.results.get(path.relative_to(out).as_posix())
            if known is not None and known != sha256_file(path):
                raise UserError(f"{path} is not what the run wrote: it does not match its checksum")
        return found

    def unmeasured(self, record: CommandRecord) -> str:
        """Return why what a finished run left cannot be measured, or ""."""
        try:
            return why_unreadable(self.results(record), self.sweep)
        except UserError as error:
            return str(error)

    def cohorts(self) -> list[Cohort]:
        """Return the cohorts of what the runs left to be measured, one per combination of values and task.

        Raises:
            UserError: Fewer than two runs left something, or it cannot be measured together.
        """
        return cohorts_of(self)[0]

    def summary(self) -> str:
        """Return the folder, the command, and for each combination of values the number of runs and their status."""
        records = self.records()
        lines = [f"CommandStore {self.path}: {plural(len(records), 'run')} of {shlex.join(self.sweep.command)}"]
        for name, members in grouped(records, lambda record: record.run.recipe).items():
            counts = Counter(record.status for record in members)
            said = ", ".join(f"{count} {status}" for status, count in counts.items())
            lines.append(f"  {name or 'runs'}: {said}")
        return "\n".join([*lines, *(f"  left out: {what}" for what in self.skipped)])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run, as in runs.csv."""
        import pandas as pd

        rows: list[dict[str, Any]] = [record.row() for record in self.records()]
        return pd.DataFrame(rows, dtype=object)


def seeds_words(seeds: Sequence[int]) -> str:
    """Return seeds as the command line takes them: 5 for 0 to 4, or a list, which ends in a comma if it has one."""
    if tuple(seeds) == tuple(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) if len(seeds) > 1 else f"{seeds[0]},"
