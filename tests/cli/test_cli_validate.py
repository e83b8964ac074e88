"""`steadytune validate`: what it prints and writes, and what it refuses."""

import csv

from commands import command, refused
from made_runs import made_store, made_study
from saying import names


def test_a_folder_is_validated_and_the_numbers_are_written_beside_it(tmp_path, monkeypatch):
    # Enough for a tenth of them to be measured.
    monkeypatch.setattr("made_runs.EXAMPLES", 60)
    store = made_store(tmp_path / "out", made_study(seeds=4, recipes=["standard", "mmr"]))
    result = command("validate", store.path)
    assert result.code == 0, result
    assert "what to report" in result.out
    assert names(result.out, "- ", "score SD")
    assert f"report: {store.path / 'report.html'}" in result.out
    assert "Which measures to trust here" in (store.path / "report.html").read_text(encoding="utf-8")
    rows = list(csv.DictReader((store.path / "validity.csv").open(encoding="utf-8")))
    # At all layers, not at the last alone.
    assert {row["layer"] for row in rows if row["analysis"] == "subsampling" and row["measure"] == "cka"} == {"1", "2"}
    assert {"standard", "mmr"} <= {row["recipe"] for row in rows}


def test_a_folder_with_one_run_of_a_recipe_is_refused(tmp_path):
    store = made_store(tmp_path / "out", made_study(seeds=1))
    assert names(refused("validate", store.path), "recipe", "two finished runs")


def test_a_folder_without_a_study_is_refused(tmp_path):
    assert str(tmp_path) in refused("validate", tmp_path)
