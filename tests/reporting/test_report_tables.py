from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import Sample, make_store
from rich.console import Console

from steadytune.analysis.comparison.compare import compare
from steadytune.records import Cohort, RunStore
from steadytune.reporting import comparison_table, report
from steadytune.reporting.frames import comparison_frames, frame_csv


def read(store: RunStore, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((store.path / name).read_text(encoding="utf-8"))))


def printed(comparison, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    return console.export_text()


def test_runs_csv_has_a_row_per_run_and_the_promised_columns_first(study_folder: RunStore) -> None:
    rows = read(study_folder, "runs.csv")
    assert len(rows) == 15
    seeds = "seed init_seed order_seed dropout_seed data_seed decoding_seed replicate"
    promised = f"run model task recipe {seeds} status failed metric score majority_score seconds reason"
    assert ",".join(rows[0]).startswith(promised.replace(" ", ","))
    assert {"scores.f1", "measurements.distance_from_start", "timings.train"} <= set(rows[0])


def test_runs_csv_holds_what_the_records_hold(study_folder: RunStore) -> None:
    records = {record.spec.id: record for record in study_folder.records()}
    for row in read(study_folder, "runs.csv"):
        record = records[row["run"]]
        assert row["recipe"] == record.spec.recipe
        assert row["order_seed"] == str(record.spec.seeds.order)
        assert row["failed"] == str(record.failed).lower()
        assert row["measurements.margin"] == ""
        if record.score is not None:
            assert float(row["score"]) == record.score


def test_what_a_frozen_encoder_leaves_nothing_to_compare_of_is_a_dash_and_an_empty_field(tmp_path: Path) -> None:
    store = make_store(tmp_path / "out", Sample({"standard": 1.0}, mode="head", layers=0, seeds=3))
    report(store)
    rows = {row["measure"]: row for row in read(store, "measures.csv")}
    for measure in ("svcca", "procrustes", "cka"):
        assert {rows[measure][field] for field in ("layer", "value", "low", "high", "null")} == {""}
    text = printed(compare(store), 80)
    line = next(line for line in text.splitlines() if line.startswith("standard") and "[" not in line)
    # disagreement, 1 - kappa and JSD are known.
    assert line.split()[-3:] == ["–", "–", "–"]
    assert "–" not in line.split()[1:4]
    assert "frozen" in text


def test_a_lost_run_stands_in_runs_csv_with_its_reason_and_without_a_score(study_folder: RunStore) -> None:
    (row,) = [row for row in read(study_folder, "runs.csv") if row["status"] == "diverged"]
    assert (row["recipe"], row["seed"], row["failed"], row["score"]) == ("mmr", "2", "true", "")
    assert row["reason"] == "the loss is <NaN> from step 12"


def test_measures_csv_has_exactly_the_promised_columns_and_a_row_per_cohort_measure_and_layer(
    study_folder: RunStore,
) -> None:
    rows = read(study_folder, "measures.csv")
    assert list(rows[0]) == ["model", "task", "recipe", "measure", "layer", "value", "low", "high", "null"]
    assert len(rows) == 3 * (4 + 3 * 4)
    assert {row["layer"] for row in rows if row["measure"] == "cka"} == {"1", "2", "3", "4"}
    assert {row["layer"] for row in rows if row["measure"] == "disagreement"} == {""}


def test_measures_csv_holds_fractions_that_can_be_recomputed(study_folder: RunStore) -> None:
    rows = read(study_folder, "measures.csv")
    (sd,) = [row for row in rows if row["recipe"] == "standard" and row["measure"] == "sd"]
    scores = study_folder.cohort("standard").scores
    assert float(sd["value"]) == pytest.approx(np.std(scores, ddof=1))
    assert sd["null"] == ""


def test_an_unknown_value_is_an_empty_field(tmp_path) -> None:
    comparison = compare(make_store(tmp_path / "one", Sample(seeds=1)))
    text = frame_csv(comparison_frames(comparison, {})["measures.csv"])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["value"] for row in rows} == {""}
    assert "nan" not in text


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_table_fits_and_names_every_measure(study_folder: RunStore, width: int) -> None:
    text = printed(compare(study_folder), width)
    assert max(map(len, text.splitlines())) <= width
    for name in ("mean", "SD", "failed", "time/run", "disagree", "1 − κ", "JSD", "SVCCA", "OP", "CKA", "surt+mhloss"):
        assert name in text
    assert "…" not in text


def test_twenty_long_recipe_names_stay_whole_at_80_columns(tmp_path) -> None:
    names = {f"a-recipe-with-a-really-long-name-{i}": 1.0 for i in range(20)}
    text = printed(compare(make_store(tmp_path / "many", Sample(names, seeds=2, layers=0))), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "[80.0, 80.0]" not in text


def test_a_recipe_name_is_no_markup_of_the_terminal() -> None:
    cohort = Cohort(scores=np.array([0.5, 0.6]), recipe="[red]odd[/red]", task="[bold]t")
    text = printed(compare([cohort]), 80)
    assert "[red]odd[/red]" in text
    assert "[bold]t" in text


def test_failed_and_lost_runs_are_counted_in_the_terminal(study_folder: RunStore) -> None:
    lines = printed(compare(study_folder), 80).splitlines()
    assert any(line.startswith("standard") and "1/5" in line for line in lines)
    assert any(line.startswith("mmr") and "0/4 +1 " in line for line in lines)


def test_runs_without_recipe_time_or_spread_are_printed() -> None:
    text = printed(compare([Cohort(scores=np.array([0.5]))]), 80)
    assert "these runs" in text
    assert str(math.nan) not in text


def test_cells_that_a_spreadsheet_would_compute_are_text_and_numbers_stay_numbers():
    texts = {
        "=1+1": "'=1+1",
        "+cmd": "'+cmd",
        "-x": "'-x",
        "@sum": "'@sum",
        "\tx": "'\tx",
        "\rx": "'\nx",
        "-inf": "'-inf",
    }
    others = {"-1.5": "-1.5", "+3": "+3", "plain": "plain", "a=b": "a=b", -2.5: "-2.5", None: "", True: "true"}
    cells, wanted = [*texts, *others], [*texts.values(), *others.values()]
    names = [f"c{n}" for n in range(len(cells))]
    text = frame_csv(pd.DataFrame([cells], columns=names, dtype=object))
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == wanted


def test_a_recipe_without_a_finished_run_does_not_hide_the_metric_of_the_others(tmp_path: Path) -> None:
    recipes = {"standard": 0.3, "mmr": 0.2}
    store = make_store(tmp_path / "x", Sample(recipes=recipes, seeds=3, diverged={"standard": [0, 1, 2]}))
    comparison = compare(store.cohorts())
    title = printed(comparison, 120).splitlines()[0]
    assert "accuracy in points" in title
    page = report(store, out=tmp_path / "page")
    assert "Mean score (accuracy)" in Path(page).read_text(encoding="utf-8")
