"""Find what will make training unstable, or did: sourced rules for studies, arguments and recorded runs."""

from __future__ import annotations

import shlex
from pathlib import Path

from steadytune.analysis.learned import chance_loss
from steadytune.doctor.data import data_findings
from steadytune.doctor.findings import Diagnosis, Finding, Remedy, in_order
from steadytune.doctor.remedies import remedies, usage
from steadytune.doctor.rules import RULES
from steadytune.doctor.runs import run_findings
from steadytune.doctor.setup import Setup, arguments_setup, study_setups
from steadytune.errors import UserError
from steadytune.external.read import ARRAY_SUFFIXES
from steadytune.grouped import grouped
from steadytune.kinds import KINDS
from steadytune.records import RunRecord, RunStore
from steadytune.records.trained import as_trained
from steadytune.study import Study

__all__ = ["Diagnosis", "Finding", "Remedy", "Setup", "diagnose"]


def diagnose(target: str | Path) -> Diagnosis:
    """Diagnose a study file, `TrainingArguments` as JSON, or a folder of recorded runs.

    Raises:
        UserError: The target is none of these, or is damaged.
    """
    target = Path(target)
    _refuse_recordings(target)
    if not target.exists():
        raise UserError(f"no file or folder {target}: give a study file, a TrainingArguments JSON, or a folder of runs")
    recorded: list[Finding] = []
    if target.is_dir():
        store = RunStore(target)
        records = store.records()
        groups = grouped(records, lambda record: record.spec.cohort)
        study = as_trained(store.study, records)[0]
        named, unknown = study_setups(study, {names: _accuracies(runs) for names, runs in groups.items()})
        setups = list(named.values())
        for names, runs in groups.items():
            where = named[names].where if names in named else " / ".join(names)
            recorded += run_findings(runs, where, _chance(store, runs))
            if unsaid := sum(run.failed is None for run in runs):
                unknown = (
                    *unknown,
                    f"whether {unsaid} of {len(runs)} runs of {where} failed, which they do not record",
                )
        if (missing := sum(1 for _ in study.grid()) - len(records) - store.damaged) > 0:
            unknown = (*unknown, f"{missing} of the study's runs, which are not trained yet")
    elif target.suffix == ".json":
        setups = [arguments_setup(target)]
        unknown = setups[0].unsaid()
    elif target.suffix == ".bin":
        raise UserError(
            f"{target} is a pickle, which steadytune does not load: write the arguments with args.to_json_string()"
        )
    else:
        named, unknown = study_setups(Study.from_yaml(target))
        setups = list(named.values())
    found = (rule(setup) for rule in RULES for setup in setups)
    about_data = [finding for setup in setups for finding in data_findings(setup)]
    findings = [*about_data, *recorded, *filter(None, found)]
    chosen = remedies(findings, setups)
    read = dict.fromkeys(line for setup in setups if setup.data for line in setup.data.described())
    return Diagnosis(in_order(findings), unknown, chosen, usage(chosen, setups[0].stock), tuple(read))


def _refuse_recordings(target: Path) -> None:
    folder = target if target.is_dir() else target.parent
    files = [target] if target.is_file() else [] if (target / "study.yaml").is_file() else target.glob("*")
    if any(file.suffix in ARRAY_SUFFIXES for file in files):
        raise UserError(
            f"{target} is not a study: runs recorded by StabilityRecorder have no curves to diagnose.\n"
            f"Measure how much they differ: steadytune measure {shlex.quote(str(folder))}"
        )


def _accuracies(records: list[RunRecord]) -> tuple[float, ...]:
    scores = (record.scores.get("accuracy") for record in records)
    return tuple(score for score in scores if score is not None)


def _chance(store: RunStore, records: list[RunRecord]) -> float | None:
    """Return the loss at chance of these runs' task; None if it has no classes or no run finished."""
    done = next((record for record in records if record.status == "done"), None)
    if done is None or not KINDS[store.examples(done.spec)["kind"]].has_classes:
        return None
    return chance_loss(store.arrays(done)["labels"])
