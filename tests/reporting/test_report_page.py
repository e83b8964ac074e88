from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from report_parsing import Page
from report_samples import HOSTILE, Sample, make_store
from saying import names

from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.comparison.verdict import verdict
from steadytune.errors import UserError
from steadytune.measures import MEASURES
from steadytune.records import Cohort, RunStore
from steadytune.reporting import render, report
from steadytune.reporting.study_page import study_page


@pytest.fixture(scope="module")
def page(study_page: Path) -> Page:
    return Page(study_page.read_text(encoding="utf-8"))


def page_of(tmp_path: Path, sample: Sample) -> Page:
    path = report(make_store(tmp_path / "study", sample))
    return Page(path.read_text(encoding="utf-8"))


def cohort(recipe: str = "", **arrays) -> Cohort:
    rng = np.random.default_rng(3)
    given = {
        "scores": np.array([0.5, 0.6, 0.7]),
        "logits": rng.normal(size=(3, 40, 3)),
        "labels": rng.integers(0, 3, 40),
        "seeds": ("a", "b", "c"),
        "recipe": recipe,
    }
    return Cohort(**{**given, **arrays})


def rendered(*cohorts: Cohort, **options) -> Page:
    comparison = compare(cohorts)
    return Page(render(study_page(comparison, verdict(comparison), **options)))


def absent(page: Page) -> int:
    """How many parts of the page say that there is nothing to show."""
    return sum(element.get("class") == "absent" for element in page.attributes("p"))


def test_every_figure_has_only_attributes_that_plotly_knows(page: Page) -> None:
    figures = page.data["figures"]
    assert len(figures) > 5
    for figure in figures.values():
        go.Figure(figure)


def test_nothing_is_fetched(study_page: Path, page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "data", "srcset", "action", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not page.attributes("link")
    assert not any(re.search(r"@import|url\(", style) for style in page.styles)
    assert not re.search(r"import\s*\(|fetch\(|XMLHttpRequest", page.scripts[2])
    policies = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    assert policies
    assert "default-src 'none'" in str(policies[0])
    assert study_page.stat().st_size < 6e6


def test_every_element_is_closed_and_the_page_names_its_language(page: Page) -> None:
    assert page.open == []
    assert page.attributes("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.attributes("meta"))


def test_the_parts_stand_in_their_order(page: Page) -> None:
    parts = (
        "Stability of minilm on glue/rte",
        "What was run",
        "Verdict",
        "Recipes compared",
        "Every run’s score",
        "Instability by layer",
        "Run by run",
        "Examples that flip",
        "Unfinished runs",
        "Before you trust a number",
        "How to read this",
        "The numbers",
    )
    places = [page.text.index(part, 60 if i else 0) for i, part in enumerate(parts)]
    assert places == sorted(places)


def test_headings_do_not_skip_a_level(page: Page) -> None:
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_figure_and_control_has_a_name_for_those_who_do_not_see_it(page: Page) -> None:
    plots = [attributes for attributes in page.attributes("div") if attributes.get("class") == "plot"]
    assert set(page.data["figures"]) <= {plot["id"] for plot in plots}
    assert {plot["id"] for plot in plots} - set(page.data["figures"]) == {"s1-pairs", "s1-flips"}
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    labels = {label["for"] for label in page.attributes("label")}
    assert {select["id"] for select in page.attributes("select")} == labels
    regions = [attributes for attributes in page.attributes("div") if attributes.get("class") == "scroll"]
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in regions)


def test_ids_are_unique(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_what_was_run_names_stabilizers_with_parameters_seeds_settings_and_versions(page: Page) -> None:
    for words in ("mmr (alpha 0.1)", "no stabilizer", "0 to 4", "14 of 15 runs finished", "learning rate"):
        assert words in page.text
    for words in ("2e-05", "cpu (x86_64)", "stored in float16", "surt ("):
        assert words in page.text


def test_a_recipe_names_the_hyper_parameters_that_it_changes(tmp_path: Path) -> None:
    page = page_of(tmp_path, Sample({"standard": 1.0, "loose": 0.5}, seeds=2, layers=0))
    assert names(page.text, "loose", "clip 1.1")


def test_the_verdict_is_said_in_full(study_folder: RunStore, page: Page) -> None:
    for sentences in verdict(compare(study_folder)).values():
        for sentence in sentences:
            assert sentence.partition(": ")[2] in page.text


def test_the_table_has_mean_sd_failed_runs_seven_measures_and_time(study_folder: RunStore, page: Page) -> None:
    assert sum(one.applies_to("classification") for one in MEASURES.values()) == 7
    for definition in MEASURES.values():
        # In the table and in the definitions, or nowhere.
        there = definition.applies_to("classification")
        assert (page.text.count(definition.title) >= 2) == (definition.meaning in page.text) == there, definition.name
    row = compare(study_folder).rows()[0]
    assert f"{100 * row.mean.value:.1f} [{100 * row.mean.low:.1f}, {100 * row.mean.high:.1f}]" in page.text
    assert f"{100 * row.sd.value:.1f} [{100 * row.sd.low:.1f}, {100 * row.sd.high:.1f}]" in page.text
    assert "1 of 5" in page.text
    assert names(page.text, "0 of 4", "1 unfinished")
    assert "% of null" in page.text


def test_every_run_is_a_point_whose_hover_names_seed_score_and_status(study_folder: RunStore, page: Page) -> None:
    hover = [text for trace in page.data["figures"]["s1-scores"]["data"] for text in trace.get("hovertext", ())]
    for record in study_folder.records():
        if record.score is not None:
            wanted = f"<b>{record.spec.recipe}</b><br>seed {record.spec.seeds.label}<br>accuracy "
            wanted += f"{100 * record.score:.1f}<br>"
            (status,) = (text.removeprefix(wanted) for text in hover if text.startswith(wanted))
            assert status.startswith("failed" if record.failed else "finished")


def test_failed_runs_are_drawn_with_another_symbol_and_the_majority_class_as_a_line(page: Page) -> None:
    traces = page.data["figures"]["s1-scores"]["data"]
    symbols = {trace["name"]: trace["marker"]["symbol"] for trace in traces if trace["name"] in ("failed", "finished")}
    assert symbols["failed"] != symbols["finished"]
    assert any(trace.get("line", {}).get("dash") == "dash" for trace in traces)


def test_the_layers_are_drawn_with_intervals_and_the_permutation_null(page: Page) -> None:
    for measure in ("svcca", "procrustes", "cka"):
        traces = page.data["figures"][f"s1-{measure}"]["data"]
        names = [trace.get("name") for trace in traces]
        assert names.count("value") == names.count("null") == 3
        assert any(trace.get("fill") == "toself" for trace in traces)
        assert all(len(trace["x"]) == 4 for trace in traces if trace.get("name") == "value")


def test_the_distance_matrices_can_be_read_back(study_folder: RunStore, page: Page) -> None:
    profile = compare(study_folder).profiles[0]
    found = page.data["distances"]["s1"][0]
    assert [run["seed"] for run in found["runs"]][-1] == "3"
    assert found["runs"][-1]["failed"] is True
    assert len(found["matrices"]) == 2 + 3 * 4
    order = np.argsort(-profile.cohort.scores, kind="stable")
    matrix = next(matrix for matrix in found["matrices"] if matrix["key"] == "cka:4")
    expected = profile.distances["cka"][3][np.ix_(order, order)][np.tril_indices(5, -1)]
    np.testing.assert_allclose(np.array(matrix["pairs"]) * matrix["unit"], expected, atol=1e-4)


def test_flipping_examples_come_with_text_label_and_votes(study_folder: RunStore, page: Page) -> None:
    profile = compare(study_folder).profiles[0]
    found = page.data["flips"]["s1"][0]["examples"]
    predictions = profile.cohort.predictions
    assert predictions is not None
    rates = [1 - np.bincount(answers).max() / 5 for answers in predictions.T]
    assert len(found) == np.count_nonzero(rates)
    shares = [example["share"] for example in found]
    assert shares == sorted(shares, reverse=True)
    for example in found:
        assert sum(votes for _, votes in example["votes"]) == 5
        assert example["share"] == pytest.approx(100 * rates[example["index"]], abs=0.01)
        assert example["text"]
        assert example["label"] in ("entailment", "not_entailment")


def test_texts_cannot_break_out_of_the_page(page: Page) -> None:
    assert len(page.attributes("script")) == 3
    assert not page.attributes("img")
    shown = {example["index"]: example["text"] for recipe in page.data["flips"]["s1"] for example in recipe["examples"]}
    for index, text in enumerate(HOSTILE):
        whole = " ".join(text.split())
        assert whole.startswith(shown[index].removesuffix("…"))
        assert whole in page.text


def test_hostile_names_are_escaped() -> None:
    name = "<img src=x onerror=alert(1)>"
    page = rendered(cohort(name, model=name, task="</title><b>", metric="<i>m</i>"))
    assert not page.attributes("img")
    assert page.text.startswith(" Stability of <img")
    hover = [text for trace in page.data["figures"]["s1-scores"]["data"] for text in trace.get("hovertext", ())]
    assert all("<img" not in text and "<i>" not in text for text in hover)


def test_lost_runs_and_notes_are_listed(study_folder: RunStore, page: Page) -> None:
    assert "mmr 2 diverged the loss is <NaN> from step 12" in page.text
    for profile in compare(study_folder).profiles:
        for note in profile.notes:
            assert note in page.text


def test_one_run_makes_a_report(tmp_path: Path) -> None:
    page = page_of(tmp_path, Sample(seeds=1))
    assert "at least two" in page.text
    assert absent(page)
    assert page.data["distances"] == {"s1": []}


def test_a_path_that_ends_in_html_is_the_page_alone(tmp_path: Path) -> None:
    cohort = Cohort(scores=[0.5, 0.6, 0.8], metric="accuracy", recipe="standard")
    out = tmp_path / "new" / "x.HTML"
    for _ in range(2):  # it is replaced the second time
        assert report(cohort, out) == out
    assert [path.name for path in out.parent.iterdir()] == ["x.HTML"]
    assert "measures.csv" not in out.read_text(encoding="utf-8")
    folder = tmp_path / "folder.html"
    folder.mkdir()
    assert report(cohort, folder) == folder / "report.html"
    assert "measures.csv" in (folder / "report.html").read_text(encoding="utf-8")


def test_all_runs_lost_makes_a_report(tmp_path: Path) -> None:
    page = page_of(tmp_path, Sample({"standard": 1.0}, seeds=2, diverged={"standard": (0, 1)}))
    assert absent(page)
    assert page.data["figures"] == {}


def test_a_regression_has_layers_but_no_flips(tmp_path: Path) -> None:
    page = page_of(tmp_path, Sample(kind="regression", collapsed=(), seeds=3))
    assert absent(page)
    assert not page.data["flips"]["s1"]
    assert "s1-cka" in page.data["figures"]
    shown = [matrix["key"] for matrix in page.data["distances"]["s1"][0]["matrices"]]
    assert shown[:2] == ["prediction_rmse:1", "prediction_correlation:1"]
    # Those of classes stand in the definitions alone.
    assert page.text.count("Fleiss’ κ") < page.text.count("1 − ICC")
    assert names(page.text, "failed runs", "RMSE")
    assert "root mean square" in page.text
    assert "majority class" not in page.text
    assert "pearson, points" in str(page.data["figures"]["s1-scores"]["layout"])


def test_a_frozen_encoder_has_flips_but_no_layers(tmp_path: Path) -> None:
    page = page_of(tmp_path, Sample({"standard": 1.0, "mhloss": 0.5}, mode="head", layers=0, seeds=3))
    assert "frozen encoder" in page.text
    assert not {"s1-svcca", "s1-procrustes", "s1-cka", "s1-convergent"} & set(page.data["figures"])
    assert page.data["flips"]["s1"]


def test_every_model_and_task_has_its_section(tmp_path: Path) -> None:
    page = page_of(tmp_path, Sample(models=("minilm", "bert"), tasks=("glue/rte", "some/folder"), seeds=2, layers=0))
    assert names(page.text, "2 models", "2 tasks")
    sections = [element["id"] for element in page.attributes("section") if element.get("class") == "pair"]
    assert sections == ["s1", "s2", "s3", "s4"]
    assert [link["href"] for link in page.attributes("a")][1:] == ["#s1", "#s2", "#s3", "#s4"]


def test_runs_measured_elsewhere_need_no_study_and_no_texts() -> None:
    page = rendered(cohort())
    assert "trained elsewhere" in page.text
    assert "not stored" in page.text
    assert "class 2" in page.text
    assert "The numbers" not in page.text
    assert page.data["distances"]["s1"][0]["noun"] == "run"


def test_texts_can_be_given_for_runs_measured_elsewhere() -> None:
    texts = {"": {"texts": [f"text {i}" for i in range(40)], "labels": ["red", "green", "blue"]}}
    page = rendered(cohort(), texts=texts)
    assert "not stored" not in page.text
    assert "× blue" in page.text


def test_scores_alone_make_a_report() -> None:
    page = rendered(cohort(logits=None, labels=None))
    assert "s1-scores" in page.data["figures"]
    assert absent(page)
    assert page.data["distances"] == {"s1": []}


def test_many_examples_are_cut_to_those_that_flip_most_and_the_page_says_so() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 10_000)
    page = rendered(cohort(logits=rng.normal(size=(3, 10_000, 2)), labels=labels))
    assert len(page.data["flips"]["s1"][0]["examples"]) == 300
    assert names(page.text, "of 10000 examples", "3 runs", "300 ")


def test_many_recipes_are_told_apart_and_leave_the_verdict_in_sight() -> None:
    comparison = compare([cohort(f"recipe {i}") for i in range(20)])
    markup = render(study_page(comparison, verdict(comparison)))
    assert len(set(re.findall(r'style="color: (#\w+)">(.)<', markup))) == 20
    assert names(markup, "<summary", "other recipes")


def test_a_folder_without_runs_is_the_users_mistake(tmp_path: Path) -> None:
    store = make_store(tmp_path / "empty", Sample(seeds=1))
    for run in (store.path / "runs").iterdir():
        for file in run.iterdir():
            file.unlink()
        run.rmdir()
    with pytest.raises(UserError, match="no runs"):
        report(store)


def test_writing_again_replaces_the_files_and_leaves_nothing_else(study_folder: RunStore) -> None:
    before = sorted(entry.name for entry in study_folder.path.iterdir())
    page = report(study_folder)
    assert page == study_folder.path / "report.html"
    assert sorted(entry.name for entry in study_folder.path.iterdir()) == before


def test_what_comes_first_names_the_recipe_that_it_is_of_and_copies_across_recipes() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 40)
    runs = generator.normal(size=(6, 40, 2)) + 3 * np.eye(2)[labels]
    old = Cohort(logits=runs[[0, 1, 2, 2]], labels=labels, recipe="old")
    new = Cohort(logits=runs[[3, 4, 5, 0]], labels=labels, recipe="new", seeds=("7", "8", "9", "10"))
    comparison = compare([old, new])
    page = Page(render(study_page(comparison, verdict(comparison))))
    assert names(page.text, "old: ", "2 and 3", "identical")
    assert re.search(r"\b10 of new and \w+ 0 of old\b[^.]*identical", page.text)
