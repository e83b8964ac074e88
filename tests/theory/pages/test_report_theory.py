import itertools
import re

import numpy as np
import pandas as pd
import pytest
from made_theory import ALPHAS, HS, RATES, SCALES, STEPS, made_table
from report_parsing import Page

from steadytune.reporting.figures import Look
from steadytune.theory.pages.figures import Line, draw, task_names
from steadytune.theory.pages.page import properties, study_sections, write_feature_report, write_synthetic_report


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of a made table, and its folder."""
    out = tmp_path_factory.mktemp("theory")
    path, sections = write_synthetic_report(made_table(loo_n=-1.0, seed_steps=-0.5, norm_alpha=1.0), out)
    return path, sections, Page(path.read_text(encoding="utf-8"))


def traces(sections, section, panel):
    (found,) = [one.figure for part in sections if part.key == section for one in part.panels if one.key == panel]
    return {trace["name"]: trace for trace in found["data"]}, found["layout"]


def test_the_table_is_written_beside_the_page_and_read_back_as_it_was(written):
    path, _, page = written
    table = pd.read_csv(path.parent / "studies.csv")
    made = made_table(loo_n=-1.0, seed_steps=-0.5, norm_alpha=1.0)
    pd.testing.assert_frame_equal(table, made, check_dtype=False, rtol=1e-5)
    assert "studies.csv" in page.text


def test_nothing_is_fetched_and_every_element_is_closed(written):
    _, _, page = written
    for _, attributes in page.elements:
        for name in ("src", "href", "data", "srcset", "action", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
    assert page.open == []
    assert any("default-src 'none'" in str(meta.get("content")) for meta in page.attributes("meta"))


def test_every_figure_has_a_place_and_every_place_a_figure_and_a_name(written):
    _, _, page = written
    plots = [attributes for attributes in page.attributes("div") if attributes.get("class") == "plot"]
    ids = [plot["id"] for plot in plots]
    assert sorted(ids) == sorted(page.data["figures"])
    assert len(set(ids)) == len(ids) >= 14
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h\d", name)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_below_the_figures_every_prediction_stands_with_its_verdict_and_numbers(written):
    _, sections, page = written
    assert [section.key for section in sections] == ["size", "steps", "rate", "scale", "heads", "time", "mmr"]
    for section in sections:
        assert section.claims
        for claim in section.claims:
            assert page.text.count(claim.prediction) == 2
            said = f"{claim.verdict[0].upper()}{claim.verdict[1:]} ({claim.source}) {claim.prediction} {claim.measured}"
            assert said in page.text


def test_the_text_follows_the_table():
    def verdicts(**powers):
        return {
            claim.prediction: claim.verdict for part in study_sections(made_table(**powers)) for claim in part.claims
        }

    up, down = verdicts(seed_steps=0.5), verdicts(seed_steps=-0.5)
    changed = {prediction for prediction in up if up[prediction] != down[prediction]}
    assert any("More steps" in prediction and "seed instability" in prediction for prediction in changed)
    assert not any("leave-one-out" in prediction and "More steps" in prediction for prediction in changed)


def test_lines_are_medians_over_data_sets_with_quartiles():
    rows = pd.DataFrame({"dataset": range(5), "x": 1.0, "y": [1.0, 2.0, 3.0, 4.0, 10.0]})
    figure = draw("x", "setting", [Line("name", rows, "y", Look("#000000", "circle"))])
    (trace,) = figure["data"]
    assert (list(trace["x"]), list(trace["y"])) == (["1"], [3.0])
    assert (trace["error_y"]["array"], trace["error_y"]["arrayminus"]) == ([1.0], [1.0])
    assert list(trace["hovertext"]) == ["<b>name</b><br>setting 1<br>3 [2, 4]"]


def test_a_logarithmic_axis_leaves_out_what_is_zero_and_no_lines_make_no_figure():
    rows = pd.DataFrame({"dataset": [0, 0], "x": [1.0, 2.0], "y": [0.0, 1.0]})
    line = Line("name", rows, "y", Look("#000000", "circle"))
    assert list(draw("x", "x", [line])["data"][0]["x"]) == ["2"]
    assert list(draw("x", "x", [line], logarithmic=False)["data"][0]["x"]) == ["1", "2"]
    assert draw("x", "x", [line._replace(rows=rows[:1])]) is None


def test_settings_stand_in_their_order_on_the_axis(written):
    _, sections, _ = written
    for section, panel, expected in (
        ("steps", "steps-true", STEPS),
        ("rate", "rate-true", RATES[::-1]),
        ("scale", "init_scale-true", (0.0, *SCALES[::-1])),
        ("heads", "heads-direction", HS),
        ("mmr", "alpha-features", ALPHAS),
    ):
        _, layout = traces(sections, section, panel)
        assert list(layout["xaxis"]["categoryarray"]) == [f"{setting:g}" for setting in expected]


def test_both_instabilities_are_lines_of_their_own(written):
    _, sections, _ = written
    for section in ("steps", "rate"):
        for separable in ("true", "false"):
            drawn, _ = traces(sections, section, f"{section}-{separable}")
            assert {"leave-one-out, zero start", "leave-one-out, drawn start", "seed (initial weights)"} <= set(drawn)
    rates, _ = traces(sections, "rate", "rate-true")
    assert "seed (order)" in rates


def test_the_features_of_mmr_are_drawn_relative_to_those_without(written):
    _, sections, _ = written
    drawn, _ = traces(sections, "mmr", "alpha-features")
    assert list(drawn["norm B"]["y"]) == pytest.approx([1, 1.1, 2])
    assert list(drawn["margin γ"]["y"]) == pytest.approx([1, 1, 1])


def test_the_zero_start_is_drawn_at_every_number_of_heads(written):
    _, sections, _ = written
    drawn, _ = traces(sections, "heads", "heads-direction")
    assert list(drawn["one head, zero init"]["x"]) == [str(heads) for heads in HS]


def test_the_table_of_properties_counts_data_sets_and_the_separable_ones():
    found = properties(made_table())
    rows = {row[0]: row[1:] for row in found.rows}
    assert rows["n 20"][:2] == ("15", "67 %")
    assert rows["label noise 0.2"][:2] == ("10", "0 %")
    assert rows["label noise 0.2"][2] == "–"
    assert rows["shift 4"][2] == "1.000"


def test_a_table_without_separable_data_makes_a_page(tmp_path):
    table = made_table()
    path, _ = write_synthetic_report(table[~table["separable"]], tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "10, 0 of them separable" in page.text
    assert sorted(page.data["figures"]) == sorted(
        plot["id"] for plot in page.attributes("div") if plot.get("class") == "plot"
    )


def real_table():
    """The made table as if it were of two tasks, each under several sizes."""
    table = made_table(loo_n=-1.0)
    table["task"] = np.where(table["shift"] > 2, "data/<one>", "data/other")
    table["data_seed"] = table["shift"]
    return table.drop(columns=["shift", "anisotropy", "label_noise", "minimal_margin"]).reindex(columns=table.columns)


def test_real_tasks_have_a_line_each_and_the_page_names_them_and_the_model(tmp_path):
    path, sections = write_feature_report(real_table(), "a-model", tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "Stability theory on a-model features of other and <one>" in page.text
    assert "Class shift" not in page.text
    for section, panels in (("size", 5), ("steps", 3), ("rate", 4), ("scale", 2)):
        (found,) = [one for one in sections if one.key == section]
        assert len(found.panels) == panels
        for panel in found.panels:
            assert [trace["name"] for trace in panel.figure["data"]] == ["other", "&lt;one&gt;"]
    assert page.open == []


def test_series_of_real_tasks_are_compared_over_sample_size(tmp_path):
    _, sections = write_feature_report(real_table(), "a-model", tmp_path)
    falls = [claim for claim in sections[0].claims if "(zero start) falls" in claim.prediction]
    assert [claim.verdict for claim in falls] == ["supported"]
    assert re.search(r"n = 20 to 40 it falls in 100 %", falls[0].measured)


def test_the_table_of_properties_has_a_line_per_task_and_none_for_what_tells_nothing_apart():
    rows = {row[0]: row[1:] for row in properties(real_table()).rows}
    assert sorted(rows) == ["<one>", "n 20", "n 40", "other"]
    assert (rows["<one>"][0], rows["other"][0]) == ("18", "12")


def test_tasks_whose_names_end_alike_keep_their_whole_names():
    table = pd.DataFrame({"task": ["a/rte", "b/rte", "a/rte"]})
    assert task_names(table) == {"a/rte": "a/rte", "b/rte": "b/rte"}
    assert task_names(table[:1]) == {"a/rte": "rte"}
    assert task_names(made_table()) == {}


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([0.011, 0.019], ["0.01", "0.015", "0.02"]), ([0.01, 0.1], ["0.01", "0.02", "0.05", "0.1"]), ([0.01, 1], ["0.1"])],
)
def test_a_logarithmic_axis_has_marks_written_out_however_little_it_spans(values, ticks):
    rows = pd.DataFrame({"dataset": 0, "x": range(len(values)), "y": values})
    axis = draw("x", "x", [Line("name", rows, "y", Look("#000000", "circle"))])["layout"]["yaxis"]
    assert set(ticks) <= set(axis["ticktext"])
    assert [float(text) for text in axis["ticktext"]] == pytest.approx(axis["tickvals"])
