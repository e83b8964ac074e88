"""What the page says about the luck itself: its sources, the evaluation set, the best of n runs, the differences."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from report_parsing import Page
from report_samples import Sample, make_store
from saying import names

from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.evaluation import BestOf, EvaluationError
from steadytune.metrics import Scale
from steadytune.records import RunStore
from steadytune.reporting import report
from steadytune.reporting.sources import evaluation_sentence


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    sample = Sample({"standard": 1.0}, seeds=3, vary=("init", "order"), collapsed=())
    store = make_store(tmp_path_factory.mktemp("grid") / "study", sample)
    report(store)
    return store


ACCURACY = Scale("accuracy", "points")


def page_of(store: RunStore) -> Page:
    return Page((store.path / "report.html").read_text(encoding="utf-8"))


def rows_of(store: RunStore, name: str) -> list[dict[str, str]]:
    with (store.path / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_grid_of_seeds_says_where_the_luck_comes_from(grid: RunStore) -> None:
    page = page_of(grid)
    assert names(page.text, "init x order", "3 values")
    labels = page.data["figures"]["s1-shares"]["layout"]["yaxis"]["ticktext"]
    assert labels[:3] == ["score: init", "score: order", "score: init × order"]
    rows = rows_of(grid, "components.csv")
    assert {row["measure"] for row in rows} == {"score", "disagreement"}
    for measure in ("score", "disagreement"):
        shares = [float(row["share"]) for row in rows if row["measure"] == measure]
        assert sum(shares) == pytest.approx(1)


def test_plain_seeds_have_no_sources(study_folder: RunStore, study_page: Path) -> None:
    assert "s1-shares" not in study_page.read_text(encoding="utf-8")
    assert rows_of(study_folder, "components.csv") == []


def test_the_best_of_n_runs_is_drawn_from_the_expected_to_the_best_score(study_folder: RunStore) -> None:
    page = page_of(study_folder)
    scores = compare(study_folder).profiles[0].cohort.scores
    line = next(trace for trace in page.data["figures"]["s1-best"]["data"] if trace["name"] == "reported")
    assert line["x"] == list(range(1, len(scores) + 1))
    assert line["y"][0] == pytest.approx(100 * scores.mean(), abs=1e-3)
    assert line["y"][-1] == pytest.approx(100 * scores.max(), abs=1e-3)


def test_the_error_of_the_evaluation_set_is_said_beside_that_of_the_seeds() -> None:
    best = (BestOf(1, 0.6, 0.6), BestOf(2, 0.65, 0.61))
    words = evaluation_sentence(EvaluationError(200, 0.034, 0.05, 0.6, best), ACCURACY)
    assert names(words, "200 examples", "3.4 points", "seed", "5.0 (SD)", "best of 2", "65.0")
    assert "ensemble" not in words
    with_all = evaluation_sentence(EvaluationError(200, 0.034, 0.05, 0.6, best, 0.66), ACCURACY)
    assert names(with_all, "ensemble", "66.0")
    assert evaluation_sentence(EvaluationError(0, float("nan"), 0.05, 0.6, best), ACCURACY) == ""
    loss = evaluation_sentence(EvaluationError(200, 0.034, 0.05, 0.6, best), Scale("loss"))
    assert names(loss, " 0.034 ", "standard error")


def test_differences_stand_in_the_page_and_in_a_table_of_their_own(study_folder: RunStore) -> None:
    page = page_of(study_folder)
    assert "baseline" in page.text
    rows = rows_of(study_folder, "differences.csv")
    assert {row["recipe"] for row in rows} == {
        row.recipe for row in compare(study_folder).rows() if not row.is_baseline
    }
    for row in compare(study_folder).rows():
        if row.is_baseline:
            continue
        stored = next(line for line in rows if line["recipe"] == row.recipe and line["measure"] == "mean")
        difference = row.profile.cohort.scores.mean() - row.reference.cohort.scores.mean()
        assert float(stored["difference"]) == pytest.approx(difference)
        assert float(stored["p_adjusted"]) >= float(stored["p"])


def test_flips_have_a_row_for_every_cohort_and_example(study_folder: RunStore) -> None:
    rows = rows_of(study_folder, "flips.csv")
    profiles = compare(study_folder).profiles
    assert len(rows) == sum(profile.cohort.predictions.shape[1] for profile in profiles)
    first = profiles[0].cohort
    mine = [row for row in rows if row["recipe"] == first.recipe]
    rates = np.array([float(row["flip_rate"]) for row in mine])
    assert (np.diff(rates) <= 0).all()
    pairs = [np.bincount(answers, minlength=2) for answers in first.predictions.T]
    expected = sorted((1 - votes.max() / votes.sum() for votes in pairs), reverse=True)
    np.testing.assert_allclose(rates, expected)
