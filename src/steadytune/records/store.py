"""A folder of runs: each appears by one rename, none is trained twice, and every file is verified when read."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from steadytune.config import read_yaml
from steadytune.errors import FolderWarning, UserError, check_path, unknown_name
from steadytune.files import (
    Arrays,
    CorruptFile,
    read_arrays,
    read_content,
    sealed,
    write_arrays,
    write_bytes,
    write_text,
)
from steadytune.grouped import grouped
from steadytune.records.examples import examples_name, read_examples
from steadytune.records.folder import RunFolder, held
from steadytune.records.record import RunRecord
from steadytune.records.sealed import NotUnderstood
from steadytune.records.states import stamp, stored_states
from steadytune.records.stored import cohort_fields, one_encoder, rows_of
from steadytune.records.trained import as_trained, difference, retrained_apart
from steadytune.records.union import union
from steadytune.shown import Shown, plural
from steadytune.study import RunSpec, Study

if TYPE_CHECKING:
    import pandas as pd

    from steadytune.records.cohort import Cohort

ARRAYS = "arrays.safetensors"
# Folders beside study.yaml.
_FOLDERS = ("runs", "examples", "cache", "claims")
_RUN_ID = re.compile("[0-9a-f]{16}")
# In run.json; within a text of it the second quotation mark would be escaped.
_LEAVES_OUT = re.compile(rb'"left_out":\s*\d')


class _Stray(CorruptFile):
    """A run in the folder of another, which no command removes."""


class RunStore(RunFolder, Shown):
    """The output folder of a study.

    study.yaml contains the study with versions, runs/<id>/ one finished run each, examples/ the evaluation texts,
    cache/ data shared between seeds, and claims/ a lock per run while it is being trained.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a folder that contains a study.

        Raises:
            UserError: There is no study in it.
        """
        check_path(path, "a folder of runs")
        super().__init__(path)
        self._unsealed: set[str] = set()
        self._otherwise: tuple[str, ...] = ()
        if not (self.path / "study.yaml").is_file():
            raise UserError(f"{self.path} has no study.yaml: give the --out folder of a 'steadytune run'")

    @classmethod
    def create(cls, path: str | Path, study: Study, versions: Mapping[str, str]) -> RunStore:
        """Open the folder of a study, or create it.

        Seeds, recipes, models and tasks may be added to a folder; existing ones may not change.

        Raises:
            UserError: The folder belongs to another study, or cannot be created.
        """
        path = Path(path)
        file = path / "study.yaml"
        with held(path, file.name, _FOLDERS):
            if file.exists():
                study = union(cls(path).study, study, path)
            header = "".join(f"# {name} {version}\n" for name, version in versions.items())
            body = yaml.safe_dump(study.to_dict(), sort_keys=False, allow_unicode=True)
            write_text(file, f"# Written by steadytune with:\n{header}{body}")
        return cls(path)

    def summary(self) -> str:
        """Return the folder, and for each cohort the number of runs and their status."""
        records = self.records()
        groups = grouped(records, lambda record: " / ".join(record.spec.cohort))
        lines = [f"RunStore {self.path}: {plural(len(records), 'run')}"]
        for name, members in groups.items():
            counts = Counter(record.status for record in members)
            at_chance = sum(record.at_chance for record in members)
            said = ", ".join(f"{count} {status}" for status, count in counts.items())
            said += f", {at_chance} no better than a constant answer" if at_chance else ""
            unknown = sum(record.failed is None for record in members)
            said += f", whether {unknown} failed is not recorded" if unknown else ""
            lines.append(f"  {name}: {said}")
        return "\n".join([*lines, *(f"  left out: {what}" for what in self.skipped)])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run, as in runs.csv."""
        import pandas as pd

        return pd.DataFrame([record.row() for record in self.records()])

    @property
    def study(self) -> Study:
        """The study in study.yaml."""
        return Study.parse(read_yaml(self.path / "study.yaml"), str(self.path / "study.yaml"), held=True)

    @property
    def damaged(self) -> int:
        """Number of skipped entries that are runs, judging by the names of their folders."""
        return sum(_RUN_ID.fullmatch(name) is not None for name in self._skipped)

    @property
    def cache(self) -> Path:
        """Folder of data shared between seeds."""
        return self.path / "cache"

    def _corrupt(self, run_id: str, error: CorruptFile) -> UserError:
        if isinstance(error, NotUnderstood):
            return UserError(f"run {run_id} in {self.path} cannot be used: {error}")
        if isinstance(error, _Stray):
            return UserError(f"run {run_id} in {self.path} is not a valid run: {error}.\n{self._remove(run_id)}")
        return UserError(f"run {run_id} in {self.path} is corrupted: {error}.\nRedo it: {self.retry}")

    @property
    def resume(self) -> str:
        """The command that trains the missing runs."""
        return shlex.join(["steadytune", "run", str(self.path / "study.yaml"), "--out", str(self.path)])

    @property
    def retry(self) -> str:
        """The command that also retrains runs that crashed, diverged or are damaged, or what to do in its place."""
        if any(map(self._leaves_out, self.names())):
            return "repeat the 'steadytune theory loo' that wrote this folder"
        return f"{self.resume} --retry-failed"

    def _redone(self, run_id: str) -> bool:
        try:
            record = self._read(run_id)
            return record.status != "done" or self._read_arrays(record) is None
        except NotUnderstood:
            return False
        except CorruptFile:
            return True

    def write(self, record: RunRecord, arrays: Mapping[str, NDArray[Any]]) -> RunRecord:
        """Store a run and return the record with checksums. The caller must hold the claim."""
        with self.made(record.id) as folder:
            checksums = {ARRAYS: write_arrays(folder / ARRAYS, arrays)} if arrays else {}
            shapes = {name: array.shape for name, array in arrays.items()}
            record = record.model_copy(update={"checksums": checksums, "arrays": shapes})
            write_text(folder / "run.json", record.to_json())
        return record

    def record(self, run_id: str) -> RunRecord:
        """Read one run.

        Raises:
            UserError: The run is corrupted; names it and the command that redoes it.
        """
        try:
            return self._read(run_id)
        except CorruptFile as error:
            raise self._corrupt(run_id, error) from error

    def _read(self, run_id: str) -> RunRecord:
        record = RunRecord.from_json(self._content(run_id))
        if record.spec.id != run_id:
            raise _Stray(f"run.json belongs to run {record.spec.id}")
        return record

    def records(self) -> list[RunRecord]:
        """Read all runs, in the order of the study: model, task, recipe, seeds.

        Runs that leave an example out are each compared with another run and are not part of the study: `record` reads
        them. Other damaged runs and other entries are skipped with a `FolderWarning` and listed in `skipped`. If
        study.yaml contradicts the runs, the runs are used, with a warning.
        """
        study = self.study
        # Not even checked: they may be a hundred times as many.
        names = [name for name in self.names() if not self._leaves_out(name)]
        records = list(filter(None, map(self._readable, names)))
        if (said := as_trained(study, records)[1]) and said != self._otherwise:
            self._otherwise = said
            what = ", ".join(said)
            warnings.warn(
                f"{self.path / 'study.yaml'} contradicts the runs, and the runs are used: {what}",
                FolderWarning,
                stacklevel=2,
            )
        models, tasks, recipes = list(study.model), [task.name for task in study.task], list(study.recipes)

        def place(record: RunRecord) -> tuple[int, ...]:
            model, task, recipe = record.spec.cohort
            seeds = record.spec.seeds
            return (
                models.index(model) if model in models else len(models),
                tasks.index(task) if task in tasks else len(tasks),
                recipes.index(recipe) if recipe in recipes else len(recipes),
                seeds.init,
                seeds.order,
                seeds.dropout,
                seeds.data,
                seeds.decoding,
                seeds.replicate,
            )

        return sorted(records, key=place)

    def _leaves_out(self, name: str) -> bool:
        try:
            return _LEAVES_OUT.search(read_content(self._folder(name) / "run.json")) is not None
        except UserError:
            return False

    def _readable(self, name: str) -> RunRecord | None:
        if name in self._skipped:
            return None
        if not _RUN_ID.fullmatch(name):
            self._skip(name, f"{self.path / 'runs' / name} is not a run")
            return None
        try:
            return self.record(name)
        except UserError as error:
            self._skip(name, str(error))
            return None

    def arrays(self, record: RunRecord) -> Arrays:
        """Read and verify the arrays of a run; empty for a run without any.

        Raises:
            UserError: The file is corrupted; names the run and the command that redoes it.
        """
        try:
            return self._read_arrays(record)
        except CorruptFile as error:
            raise self._corrupt(record.spec.id, error) from error

    def _read_arrays(self, record: RunRecord) -> Arrays:
        if not record.checksums:
            return {}
        return read_arrays(self._folder(record.spec.id) / ARRAYS, record.checksums[ARRAYS])

    def cohorts(self) -> list[Cohort]:
        """Return every cohort of the folder, in the order of the study; damaged runs are skipped as in `records`.

        Raises:
            UserError: All runs, or the examples that they measure, are damaged.
        """
        groups = grouped(self.records(), lambda record: record.spec.cohort)
        cohorts = [cohort for records in groups.values() if (cohort := self._cohort(records)) is not None]
        if not cohorts and any(map(_RUN_ID.fullmatch, self._skipped)):
            raise UserError(f"{self.path}: every run is damaged. Redo them: {self.retry}")
        return cohorts

    def cohort(self, recipe: str, model: str | None = None, task: str | None = None) -> Cohort:
        """Return one cohort; model and task may be left out if the study has only one.

        Raises:
            UserError: No cohort or several match the names.
        """
        groups = grouped(self.records(), lambda record: record.spec.cohort)
        if recipe not in {name for _, _, name in groups}:
            raise unknown_name("recipe", recipe, {name for _, _, name in groups})
        matches = [key for key in groups if key[2] == recipe and model in (None, key[0]) and task in (None, key[1])]
        if len(matches) != 1:
            raise UserError(
                f"{len(matches)} cohorts match recipe '{recipe}', model {model}, task {task}: "
                f"name one of {', '.join(' / '.join(key) for key in groups if key[2] == recipe)}"
            )
        cohort = self._cohort(groups[matches[0]])
        if cohort is None:
            raise UserError(f"{self.path}: every run of recipe '{recipe}' is damaged: {self.retry}")
        return cohort

    def _cohort(self, records: list[RunRecord]) -> Cohort | None:
        """Return the cohort of some runs; None if all of them are damaged."""
        from steadytune.records.cohort import Cohort, LostRun

        for record in records[1:]:
            if differs := difference(records[0].spec, record.spec):
                raise UserError(
                    f"{self.path}: runs {records[0].spec.id} and {record.spec.id} differ in {differs}, so they are not "
                    "runs of one recipe: remove those that do not belong"
                )
        done, arrays = [], []
        # Before the files are verified, so that no later change goes unseen.
        stamps = {record.spec.id: stamp(self._folder(record.spec.id) / ARRAYS) for record in records}
        for record in records:
            if record.status == "done":
                try:
                    arrays.append(self.arrays(record))
                    done.append(record)
                except UserError as error:
                    self._skip(record.spec.id, str(error))
        records = [record for record in records if record.spec.id not in self._skipped]
        if not records:
            return None
        first = records[0].spec
        examples, measured = self.examples(first), rows_of(arrays[0]) if arrays else None
        if measured is not None and len(examples["texts"]) != measured:
            raise UserError(
                f"{self._examples_file(examples_name(first))} has {len(examples['texts'])} texts, but the runs "
                f"measure {measured} examples. Rewrite it with: {self.resume}"
            )
        model, task, recipe = first.cohort
        # Older versions did not record what a constant text scores: the cohort then computes it of the answers.
        known = all(record.majority_score is not None for record in done)
        return Cohort(
            scores=np.array([record.score for record in done], dtype=np.float64),
            seeds=tuple(record.spec.seeds.label for record in done),
            failed=np.array([record.failed for record in done], dtype=bool) if known else None,
            majority_score=done[0].majority_score if done and known else None,
            seconds=np.array([record.seconds for record in done]),
            losses=np.array([record.loss_ends for record in done]).reshape(-1, 2),
            model=model,
            task=task,
            recipe=recipe,
            metric=done[0].metric if done else "score",
            kind=examples["kind"],
            frozen_encoder=one_encoder([record.spec for record in records]),
            lost=tuple(
                LostRun(record.spec.seeds.label, record.status, record.reason or "")
                for record in records
                if record.status != "done"
            ),
            examples=examples_name(first),
            label_names=examples["labels"] or None,
            notes=retrained_apart(done),
            references=[tuple(texts) for texts in examples["references"]] or None if arrays else None,
            **(cohort_fields(arrays) | stored_states(done, arrays, stamps, self.cache) if arrays else {}),
        )

    def write_examples(
        self,
        spec: RunSpec,
        kind: str,
        texts: list[str],
        labels: list[str],
        data: Sequence[str] = (),
        references: Sequence[Sequence[str]] = (),
    ) -> None:
        """Store the texts and label names of the measured examples, so that a report can show which ones flip.

        Args:
            spec: A run that measures them.
            kind: The task's kind.
            texts: N texts.
            labels: Class names.
            data: Sentences about the task's data.
            references: The accepted texts of each example, where texts are generated.
        """
        file = self._examples_file(examples_name(spec))
        about: dict[str, Any] = {"kind": kind, "texts": texts, "labels": labels, "data": list(data)}
        if references:
            about["references"] = [list(accepted) for accepted in references]
        content = json.dumps(sealed(about)).encode()
        if not file.is_file() or file.read_bytes() != content:
            write_bytes(file, content)

    def examples(self, spec: RunSpec) -> dict[str, Any]:
        """Return what `write_examples` stored of a run's measured examples, by the names of its parameters."""
        return self.examples_named(examples_name(spec))

    def _examples_file(self, name: str) -> Path:
        return self.path / "examples" / f"{name}.json"

    def examples_named(self, name: str) -> dict[str, Any]:
        """Return the same as `examples`, by a cohort's `examples` name."""
        file = self._examples_file(name)
        try:
            found, whole = read_examples(file)
        except CorruptFile as error:
            raise UserError(f"{file} is missing or unreadable. Rewrite it with: {self.resume}") from error
        if not whole and name not in self._unsealed:
            self._unsealed.add(name)
            warnings.warn(
                f"{file} has no checksum, like those of older versions, so changes cannot be detected. "
                f"Rewrite it with: {self.resume}",
                FolderWarning,
                stacklevel=2,
            )
        return found


__all__ = ["ARRAYS", "RunStore"]
