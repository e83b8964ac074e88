import re

import numpy as np
import pandas as pd
import pytest
from report_parsing import Page
from rich.console import Console

from steadytune.theory.pages.prediction import describe, numbers, prediction_table, write_prediction
from steadytune.theory.predictor.cohorts import COLUMNS, TARGETS
from steadytune.theory.predictor.prediction import BEST, RATE, predict_instability
from steadytune.theory.predictor.quantities import QUANTITIES


def made_table(way=(1, 1, 1), cohorts=10):
    """Instability goes with the distance, in each task the way that is given; every other quantity is noise."""
    rng = np.random.default_rng(0)
    rows = []
    for task, sign in enumerate(way):
        for recipe in range(cohorts):
            row = {name: rng.random() for name in COLUMNS}
            row |= {"study": "runs", "model": "a-model", "task": f"<b>task{task}", "recipe": f"<i>{recipe}"}
            row |= {"runs": 5, "lost": 0, "seed": "0", "learning_rate": 0.1, "margin": np.nan}
            for target in TARGETS:
                row |= {f"{target}{kind}": 1 + sign * row["distance"] for kind in ("", "_all", "_even", "_odd")}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def found_in(table):
    return [predict_instability(table, target, shuffled=199) for target in TARGETS]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out, table = tmp_path_factory.mktemp("predicted"), made_table()
    path = write_prediction(table, ["Left out: nothing."], found_in(table), out)
    return path, Page(path.read_text(encoding="utf-8"))


def test_the_table_is_written_beside_the_page_and_read_back_as_it_was(written):
    path, page = written
    read = pd.read_csv(path.parent / "predictor.csv", dtype={"seed": str})
    pd.testing.assert_frame_equal(read, made_table(), check_dtype=False, rtol=1e-5)
    assert "predictor.csv" in page.text
    assert "Left out: nothing." in page.text


def test_every_figure_has_a_place_and_every_place_a_figure_and_every_element_is_closed(written):
    _, page = written
    plots = [attributes["id"] for attributes in page.attributes("div") if attributes.get("class") == "plot"]
    assert (
        sorted(plots)
        == sorted(page.data["figures"])
        == sorted(f"{target}-{name}" for target in TARGETS for name in ("ranks", "held-out"))
    )
    assert page.open == []
    assert "<b>task0" in page.text


def test_expected_and_measured_stand_side_by_side(written):
    _, page = written
    rises = "SD of the score rises with the distance travelled."
    assert page.text.count(rises) == 2
    assert re.search(
        rf"Supported \(abstract\) {rises} [^.]*1.00 \[1.00, 1.00\] [^.]*3 tasks, from 1.00 to 1.00", page.text
    )
    assert "Inconclusive (abstract) SD of the score rises with the learning rate." in page.text


def test_the_verdict_stands_on_top_with_its_numbers():
    sentences = describe(found_in(made_table())[0])
    assert sentences[0].startswith("SD of the score: ")
    assert re.search(r"predicts\. [^.]* 3 tasks", sentences[0])
    assert f"{BEST} 1.00" in sentences[1]
    assert "distance travelled for <b>task0" in sentences[1]
    assert sentences[-2].endswith(": distance travelled (1.00).")
    assert "ρ = 1.00 (<b>task0), 1.00 (<b>task1) and 1.00 (<b>task2)" in sentences[-1]


def test_a_baseline_that_needs_no_run_and_does_as_well_stands_in_the_verdict(tmp_path):
    table = made_table().assign(lost=[2] + [0] * 29)
    table["rate_times_steps"] = table["distance"]
    found = found_in(table)
    assert found[0].verdict == "predicts, but no better than a baseline"
    assert f"{RATE} (1.00)" in describe(found[0])[0]
    said = Page(write_prediction(table, [], found, tmp_path).read_text(encoding="utf-8")).text
    assert "Mixed (the question) " in said
    assert re.search(r"150, and 2 ", said)


def test_the_opposite_of_what_was_expected_is_said(tmp_path):
    table = made_table((-1, -1, -1))
    path = write_prediction(table, [], found_in(table), tmp_path)
    said = Page(path.read_text(encoding="utf-8")).text
    claimed = r"Contradicted \(abstract\) SD of the score rises with the distance travelled\. [^.]*−1\.00"
    assert re.search(claimed, said)


def test_a_relation_that_turns_round_is_said_to_predict_nothing():
    (turned, *_), (straight, *_) = (found_in(made_table(way, cohorts=30)) for way in ((1, -1), (1, 1)))
    assert turned.verdict == "predicts nothing"
    assert turned.verdict in describe(turned)[0]
    assert turned.held_out.p > 0.975
    # A sentence more says that it ranks in reverse.
    assert len(describe(turned)) == len(describe(straight)) + 1


def test_one_task_makes_a_page_without_a_held_out_check_and_says_why(tmp_path):
    table = made_table((1,))
    found = found_in(table)
    assert found[0].verdict == "inconclusive"
    assert len(describe(found[0])) == 2
    page = Page(write_prediction(table, [], found, tmp_path).read_text(encoding="utf-8"))
    assert sorted(page.data["figures"]) == ["disagreement-ranks", "sd-ranks"]


def test_cohorts_that_do_not_differ_make_a_page_that_tells_nothing(tmp_path):
    table = made_table((0, 0))
    found = found_in(table)
    assert [one.verdict for one in found] == ["inconclusive"] * len(TARGETS)
    assert describe(found[0])[0] != describe(found_in(made_table((1,)))[0])[0]
    page = Page(write_prediction(table, [], found, tmp_path).read_text(encoding="utf-8"))
    assert page.open == []


def test_the_figure_of_ranks_holds_means_with_their_ends_and_each_task(written):
    _, page = written
    traces = {trace["name"]: trace for trace in page.data["figures"]["sd-ranks"]["data"]}
    assert len(traces) == 4
    place = traces["mean"]["y"].index("distance travelled")
    assert traces["mean"]["x"][place] == 1.0
    assert traces["mean"]["error_x"]["arrayminus"][place] == pytest.approx(0)
    assert "learning rate" not in traces["mean"]["y"]


def test_the_tables_have_a_row_per_quantity_and_columns_per_target():
    found = found_in(made_table())
    rows = {row[0]: row[1:] for row in numbers(found).rows}
    assert list(rows) == [one.title for one in QUANTITIES]
    assert rows["distance travelled"][:4] == ("1", "1.00", "[1.00, 1.00]", "<0.01")
    assert rows["learning rate"][:4] == ("0", "–", "–", "–")
    console = Console(width=80)
    with console.capture() as shown:
        console.print(prediction_table(found))
    # Eighty columns hold it: one line per quantity, below headings of which one takes two lines.
    lines = shown.get().splitlines()
    assert [line.partition("  ")[0] for line in lines[2:]] == [one.title for one in QUANTITIES]
    assert "…" not in shown.get()
