from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from report_samples import Sample, make_store
from saying import names, says
from typer.testing import CliRunner

from steadytune.cli.ls import ls
from steadytune.cli.report import report
from steadytune.errors import UserError
from steadytune.records import RunStore

app = typer.Typer()
app.command()(report)
app.command()(ls)


def told(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_report_prints_the_verdict_the_table_and_the_path(study_folder: RunStore) -> None:
    text = told("report", study_folder.path)
    assert text.index("seed 3 ") < text.index("disagree") < text.index("report: ")
    assert f"report: {study_folder.path / 'report.html'}" in text


def test_ls_prints_a_line_per_run_with_a_mark_for_failed_ones(study_folder: RunStore) -> None:
    lines = told("ls", study_folder.path).splitlines()
    runs = [line for line in lines if re.match(r"[0-9a-f]{16} ", line)]
    assert len(runs) == 15
    assert [line for line in runs if "FAILED" in line] == [runs[3], runs[7]]
    assert re.search(r"FAILED \S", runs[3]), "it says why"
    assert re.search(r"mmr +2 +diverged +- +3\.5  FAILED the loss is <NaN> from step 12$", runs[7])


def test_ls_sums_up_every_cohort(study_folder: RunStore) -> None:
    text = told("ls", study_folder.path)
    assert re.search(r"minilm / glue/rte / mmr: 5 of 5 runs, accuracy [\d.]+ \S+ [\d.]+, 1 failed\n", text)


def test_ls_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    store = make_store(tmp_path / "study", Sample(models=("minilm", "other"), seeds=2))
    folder = store.path / "runs" / store.records()[0].spec.id
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    text = told("ls", store.path)
    assert names(text, "1 of ", f"steadytune run {store.path}/study.yaml --out {store.path}")
    assert "minilm / glue/rte / standard: 1 of 2 runs" in text
    assert re.search(r"[0-9a-f]{16}  other / glue/rte / mmr +0 +done", text)


@pytest.mark.parametrize("command", ["report", "ls"])
def test_help_holds_a_worked_example(command: str) -> None:
    assert f"steadytune {command} runs/rte" in told(command, "--help")


@pytest.mark.parametrize("command", ["report", "ls"])
def test_a_folder_without_a_study_is_the_users_mistake(command: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says(str(tmp_path), "study.yaml")):
        told(command, tmp_path)
