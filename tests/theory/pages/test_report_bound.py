import itertools
import re

import numpy as np
import pandas as pd
import pytest
import torch
from report_parsing import Page
from torch import nn

from steadytune.kinds import KINDS
from steadytune.theory import MeanLoss, full_tuning_bound, taylor_check
from steadytune.theory.full.task_bound import TaskBound, left_out_distances
from steadytune.theory.pages.bound import numbers, write_bounds


def made(task="task", *, hidden=True, left_out=3, steps=6):
    """What is known of a small network, or a linear head, trained on 8 generated examples."""
    torch.manual_seed(0)
    layers = (nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) if hidden else (nn.Linear(3, 2, bias=False),)
    inputs, labels = torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 2
    loss = MeanLoss(nn.Sequential(*layers).double(), [(inputs, labels)], KINDS["classification"].criterion())
    bound = full_tuning_bound(loss, learning_rate=0.2, steps=steps, points=3)
    places = np.arange(left_out)
    apart = left_out_distances(loss, bound.end, places.tolist(), learning_rate=0.2, steps=steps)
    taylor = taylor_check(loss, bound.end, reach=2)
    return TaskBound("model", task, "standard", bound, taylor, places, apart, bound.example_paths[places])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    found = [made("one"), made("<two>", hidden=False)]
    path = write_bounds(found, tmp_path_factory.mktemp("bound"))
    return found, path, Page(path.read_text(encoding="utf-8"))


def test_every_table_is_written_and_named_on_the_page(written):
    found, path, page = written
    lengths = {"bound.csv": 2, "path.csv": 6, "taylor.csv": 42, "left_out.csv": 6}
    for name, length in lengths.items():
        assert len(pd.read_csv(path.parent / name)) == length
        assert name in page.text
    terms = pd.read_csv(path.parent / "bound.csv").set_index("task")
    assert terms.loc["one", "path_sum"] == pytest.approx(found[0].bound.path, rel=1e-5)
    assert list(terms["proved"]) == [False, True]
    assert "convexity" in terms.loc["one", "fails"]
    assert "convexity" not in terms.loc["<two>", "fails"]


def test_nothing_is_fetched_every_element_is_closed_and_headings_go_down_one_by_one(written):
    _, _, page = written
    for _, attributes in page.elements:
        for name in ("src", "href", "data", "srcset", "action", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
    assert page.open == []
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h\d", name)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_figure_has_a_place_and_its_lines_are_what_was_measured(written):
    found, _, page = written
    plots = [attributes["id"] for attributes in page.attributes("div") if attributes.get("class") == "plot"]
    figures = page.data["figures"]
    assert sorted(plots) == sorted(figures)
    assert len(plots) == 2 * 6
    drawn = {trace["name"]: trace for trace in figures["terms-0-curvature"]["data"]}
    terms = found[0].bound.terms
    assert drawn["largest"]["x"] == [0, 3, 6]
    assert drawn["largest"]["y"] == pytest.approx(terms.largest_curvature, rel=1e-3)
    assert drawn["smallest"]["y"] == pytest.approx(terms.smallest_curvature, rel=1e-3)
    assert len(drawn["towards w_T (restricted μ)"]["y"]) == 2
    curve = {trace["name"]: trace for trace in figures["taylor-0-curve"]["data"]}
    assert curve["expansion"]["y"] == pytest.approx(found[0].taylor.expansion, rel=1e-3)
    assert curve["w_T"]["x"] == pytest.approx([found[0].bound.distance] * 2, rel=1e-3)


def test_every_assumption_stands_with_its_verdict_and_what_follows(written):
    found, _, page = written
    for one in found:
        for assumption in one.bound.assumptions:
            verdict = "Supported" if assumption.holds else "Not supported"
            assert f"{verdict} (derived) The bound assumes: {assumption.name}. {assumption.finding}" in page.text
    (convexity,) = [a for a in found[0].bound.assumptions if a.name == "convexity"]
    assert f"{convexity.finding} {convexity.otherwise}" in page.text


def said(one, folder):
    """Return the verdicts on the bound and its estimate, and the page."""
    page = Page(write_bounds([one], folder).read_text(encoding="utf-8"))
    prediction = "Leave-one-out stability, the mean of ‖w_T − w_T^i‖"
    (verdict,) = re.findall(rf"([A-Z][a-z ]+) \(derived\) {re.escape(prediction)}", page.text)
    (estimate,) = re.findall(r"([A-Z][a-z ]+) \(estimate\) ", page.text)
    return verdict, estimate, page


def test_the_bound_stands_beside_what_leaving_examples_out_did(written):
    found, _, page = written
    for one in found:
        assert f" 3 left-out examples is {one.instability:.3g}" in page.text
    assert page.text.count(" 0 of 3 left-out examples") == 2


def test_an_instability_above_the_bound_is_not_supported_and_one_that_is_not_measured_is_inconclusive(tmp_path):
    small = made(hidden=False)
    above = TaskBound("m", "t", "r", small.bound, small.taylor, small.rows, 1e3 * small.distances, small.sums)
    verdict, estimate, page = said(above, tmp_path)
    assert (verdict, estimate) == ("Not supported", "Not supported")
    assert " 3 of 3 left-out examples" in page.text
    assert (tmp_path / "left_out.csv").exists()
    verdict, estimate, page = said(made(left_out=0), tmp_path)
    assert (verdict, estimate) == ("Inconclusive", "Inconclusive")
    assert "left_out.csv" not in page.text
    assert not (tmp_path / "left_out.csv").exists()


def test_an_expansion_that_holds_up_to_the_end_is_supported_and_one_that_does_not_is_not(tmp_path):
    near, far = made(steps=2), made(steps=400)
    assert near.taylor.limit > near.taylor.travelled
    assert far.taylor.limit < far.taylor.travelled
    for one, verdict in ((near, "Supported"), (far, "Not supported")):
        text = Page(write_bounds([one], tmp_path).read_text(encoding="utf-8")).text
        assert f"{verdict} (abstract) Up to w_T" in text


def test_the_table_has_every_term_of_every_training():
    found = [made("a"), made("b", left_out=0)]
    table = numbers(found)
    rows = [row[1:] for row in table.rows]
    summaries = [one.summary() for one in found]
    assert table.columns == ("term", "model on a, standard, n = 8", "model on b, standard, n = 8")
    assert ("26", "26") in rows
    assert tuple(f"{one.bound.lipschitz:.3g}" for one in found) in rows
    assert (f"{summaries[0]['loo_weights']:.3g}", "–") in rows
    assert rows[-1][0].startswith("convexity")
