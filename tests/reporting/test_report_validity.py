from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from report_samples import Sample, make_store
from rich.console import Console
from saying import names

from steadytune.analysis.comparison.compare import Comparison, compare
from steadytune.analysis.validity.validate import ValidityRow, validate
from steadytune.reporting.figures import looks
from steadytune.reporting.frames import frame_csv, study_frames
from steadytune.reporting.validity import (
    agreement_matrix,
    convergent_remark,
    overall_remark,
    ranking_remark,
    tau_matrix,
    validity_figures,
)
from steadytune.reporting.validity_table import validity_table

RECIPES = {"standard": 1.0, "mmr": 0.6, "surt+mhloss": 0.4}


@pytest.fixture(scope="module")
def validations(tmp_path_factory):
    sample = Sample(RECIPES, seeds=6, collapsed=(1, 3))
    return validate(compare(make_store(tmp_path_factory.mktemp("validity") / "study", sample)).profiles)


@pytest.fixture(scope="module")
def found(validations):
    return validations["minilm", "glue/rte"]


@pytest.fixture(scope="module")
def figures(found):
    return validity_figures(found, looks(list(RECIPES)))


def printed(validations, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(validity_table(validations))
    return console.export_text()


def test_every_analysis_has_its_figure(figures) -> None:
    groups = {f"groups-{measure}" for measure in ("svcca", "procrustes", "cka")}
    assert set(figures) == {"convergent", *groups, "subsampling", "ranking", "bootstrap"}


def test_no_figure_has_a_width_of_its_own_or_a_colour_of_the_page(figures) -> None:
    for figure in figures.values():
        assert "width" not in figure["layout"]
        assert figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
        assert figure["layout"]["height"] >= 140


def test_successful_runs_are_solid_and_failed_ones_dashed(figures, found) -> None:
    solid, dashed = figures["groups-cka"]["data"]
    assert (solid["name"], solid["line"]["dash"]) == ("successful", "solid")
    assert (dashed["name"], dashed["line"]["dash"]) == ("failed", "dash")
    assert {trace["meta"]["recipe"] for trace in (solid, dashed)} == {"standard"}
    last = found.groups[0].last()["cka"]
    assert solid["y"][-1] == pytest.approx(last.successful, abs=1e-5)
    assert dashed["y"][-1] == pytest.approx(last.failed, abs=1e-5)


def test_sub_samples_are_points_with_their_range(figures) -> None:
    traces = figures["subsampling"]["data"]
    assert [trace["name"] for trace in traces] == ["50 % of the examples", "10 % of the examples"]
    for trace in traces:
        assert len(trace["x"]) == 7
        assert min(trace["error_x"]["array"]) >= 0
        assert min(trace["error_x"]["arrayminus"]) >= 0


def test_the_tau_matrix_holds_each_pair_once(found) -> None:
    names, values = tau_matrix(found.ranking)
    assert np.isnan(values[np.triu_indices(len(names))]).all()
    assert np.isfinite(values[np.tril_indices(len(names), -1)]).all()


def test_self_pairs_are_above_the_diagonal(found) -> None:
    names, values = agreement_matrix(found.agreements)
    row, column = names.index("cka"), names.index("disagreement")
    without = np.median([entry.between("disagreement", "cka") for entry in found.agreements])
    with_pairs = np.median([entry.between("disagreement", "cka", "published") for entry in found.agreements])
    assert values[row, column] == pytest.approx(without)
    assert values[column, row] == pytest.approx(with_pairs)
    assert np.isnan(np.diagonal(values)).all()


def test_the_remarks_name_the_sizes_that_decide(found) -> None:
    assert "4 layers" in convergent_remark(found)
    assert "0.95" in convergent_remark(found)
    assert names(ranking_remark(found), "3 recipes", "tau", "five")
    assert "3 cohorts" in overall_remark(found)


def test_the_terminal_shows_all_parts_within_80_columns(validations, found) -> None:
    text = printed(validations)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("layers", "failed", "fewer examples", "rank", "resampled"):
        assert words in text
    squeezed = " ".join(text.split())
    for sentence in found.recommendation.sentences:
        assert sentence in squeezed
    assert names(squeezed, "mmr: ", "6 successful")


def test_names_are_no_markup(tmp_path) -> None:
    profiles = compare(make_store(tmp_path / "study", Sample({"standard": 1.0}, seeds=4))).profiles
    object.__setattr__(profiles[0].cohort, "recipe", "[red]odd[/red]")
    assert "[red]odd[/red]" in printed(validate(profiles))


def test_the_file_has_the_promised_columns_and_leaves_unknown_values_empty(validations) -> None:
    text = frame_csv(study_frames(Comparison((), {}), [], {}, validations)["validity.csv"])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == ValidityRow._fields
    assert "nan" not in text
    assert {row["recipe"] for row in rows if row["analysis"] == "bootstrap"} == set(RECIPES)


def test_a_study_of_two_runs_without_states_has_few_figures_and_all_its_words(tmp_path) -> None:
    sample = Sample({"standard": 1.0}, seeds=2, layers=0, collapsed=())
    validations = validate(compare(make_store(tmp_path / "study", sample)).profiles)
    (found,) = validations.values()
    assert set(validity_figures(found, looks(["standard"]))) == {"subsampling"}
    assert "nconclusive" in printed(validations)
