import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_parsing import Page

from steadytune.seeds import Seeds
from steadytune.stabilizers import parse_stabilizer
from steadytune.study import RunSpec, TaskSpec, Training
from steadytune.theory.loo.full import FullStability
from steadytune.theory.loo.stability import Differences
from steadytune.theory.pages.full_sections import QUANTITIES, full_sections
from steadytune.theory.pages.full_series import design, longest, series
from steadytune.theory.pages.full_tuning import numbers, write_cohorts
from steadytune.theory.studies.full_cohorts import CohortStability

BASE = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-4}
OTHER_TEXTS = {"surt": {"texts": "reviews.txt", "texts_sha256": "0"}}


def cohort(task="a", recipe="r", *, n=96, loo=0.1, seed=1.0, travelled=2.0, methods=(), status="done", **training):
    """A cohort with two seeds and two left-out examples, all of whose differences are `loo` and `seed`."""
    spec = RunSpec(
        model="m",
        weights="w",
        task=TaskSpec(name=task),
        data="d",
        recipe=recipe,
        training=Training.model_validate(
            {"train_size": n, "epochs": 4, "batch_size": 8, "learning_rate": 1e-4} | training
        ),
        stabilizers=[parse_stabilizer(method) for method in methods],
        seeds=Seeds.all(0),
    )
    if status != "done":
        return CohortStability(spec, n, status, "the reason")
    pairs = seed * (1 - np.eye(2))
    exact = FullStability(
        n=n,
        examples=np.array([0, 1]),
        seeds=("0", "1"),
        leave_one_out=Differences(*[np.full((2, 2), loo)] * 4),
        seed=Differences(*[pairs] * 4),
        losses=np.ones((2, 2)),
        left_out_losses=np.ones((2, 2)),
        left_out_predictions=np.zeros((2, 2), int),
        travelled=np.array([travelled, travelled]),
    )
    return CohortStability(spec, n, status, "", np.array([0, 1]), exact)


def everything(task):
    """Cohorts of which the leave-one-out instability falls with n, and rises with rate, epochs and distance."""
    return [
        cohort(task, "standard"),
        cohort(task, "n48", n=48, loo=0.2),
        cohort(task, "n192", n=192, loo=0.05),
        cohort(task, "n48_long", n=48, epochs=8, loo=0.4),
        cohort(task, "long", epochs=8, loo=0.3, travelled=3.0),
        cohort(task, "slow", learning_rate=5e-5, loo=0.08, travelled=1.0),
        cohort(task, "fast", learning_rate=8e-4, status="diverged"),
        cohort(task, "freeze3", methods=[{"freeze": {"blocks": 3}}], loo=0.05, travelled=0.5),
        cohort(task, "surt", methods=["surt"], loo=0.09, travelled=1.8),
        cohort(task, "reviews", methods=[OTHER_TEXTS], loo=0.1, travelled=2.0),
        cohort(task, "mmr", methods=["mmr"], loo=9.0),
    ]


def verdicts(cohorts):
    """Return section -> prediction -> verdict."""
    return {part.key: {one.prediction: one.verdict for one in part.claims} for part in full_sections(design(cohorts))}


def test_a_series_differs_in_one_thing_alone_whatever_its_recipes_are_called():
    table = design(everything("a"))

    def found(x, free=()):
        rows = series(table, x, free)
        return sorted(sorted(group["recipe"]) for _, group in rows.groupby("dataset"))

    assert found("n", ["steps"]) == [["long", "n48_long"], ["n192", "n48", "standard"]]
    assert found("n", ["epochs"]) == [["long", "n192"], ["n48_long", "standard"]]
    assert found("learning_rate") == [["slow", "standard"]]
    assert found("steps", ["epochs"]) == [["long", "standard"], ["n48", "n48_long"]]
    assert found("frozen") == [["freeze3", "standard"]]
    assert found("retrained") == [["reviews", "standard", "surt"]]
    assert sorted(longest(series(table, "n", ["steps"]), "n")["recipe"]) == ["n192", "n48", "standard"]


def test_tasks_and_batch_sizes_are_not_mixed():
    table = design(
        [cohort("a"), cohort("b", n=48), cohort("a", n=48, batch_size=4), cohort("a", n=48, methods=["mmr"])]
    )
    assert series(table, "n", ["steps"]).empty
    assert full_sections(table) == []


def test_freezing_without_the_embeddings_is_another_method():
    bare = {"freeze": {"blocks": 3, "embeddings": False}}
    assert series(design([cohort(), cohort(methods=[bare])]), "frozen").empty


def test_freezing_the_embeddings_alone_is_another_method_and_freezing_nothing_is_none():
    def freeze(blocks, embeddings):
        return cohort(methods=[{"freeze": {"blocks": blocks, "embeddings": embeddings}}])

    # Embeddings alone: no start of the series that freezes them with the blocks above, nor of the one that does not.
    for other in (cohort(), freeze(3, True), freeze(3, False)):
        assert series(design([freeze(0, True), other]), "frozen").empty
    assert len(series(design([freeze(0, False), freeze(3, True)]), "frozen")) == 2
    assert design([freeze(0, False), cohort()])["rest"].nunique() == 1


def test_a_section_is_there_for_what_varies_alone():
    keys = [section.key for section in full_sections(design(everything("a")))]
    assert keys == ["epochs", "size", "rate", "steps", "distance", "frozen"]
    for more, key in [
        (cohort(n=48), ["epochs"]),
        (cohort(learning_rate=1e-3), ["rate"]),
        (cohort(epochs=1), ["steps"]),
        (cohort(methods=["surt"]), ["distance"]),
        (cohort(methods=[{"freeze": {"blocks": 1}}]), ["frozen"]),
        (cohort(batch_size=4), []),
    ]:
        assert [section.key for section in full_sections(design([cohort(), more]))] == key


def test_claims_follow_the_numbers():
    said = verdicts([one for task in "abcde" for one in everything(task)])

    def of(key, column):
        (text,) = [text for text in said[key] if re.search(rf": {QUANTITIES[column]} (?!over)", text)]
        return said[key][text]

    assert of("epochs", "loo_weights") == "supported"
    assert of("epochs", "seed_weights") == "no effect"
    assert of("rate", "loo_weights") == "supported"
    assert of("steps", "loo_weights") == "contradicted"
    assert of("frozen", "loo_weights") == "supported"
    travelled = {text: verdict for text, verdict in said["distance"].items() if ": the distance ‖w_0 − w_T‖ " in text}
    assert [("surt" in text, verdict) for text, verdict in travelled.items()] == [
        (True, "supported"),
        (False, "supported"),
    ]
    (reviews,) = [
        one
        for text, one in said["distance"].items()
        if "reviews" in text and QUANTITIES["loo_weights"] + " does" in text
    ]
    assert reviews == "supported"


def distance_claims(cohorts):
    (section,) = [part for part in full_sections(design(cohorts)) if part.key == "distance"]
    return section.claims[:2]


def test_distance_and_instability_that_rank_the_other_way_are_said_to():
    # Rate and steps are the same: a method alone makes them travel less.
    cohorts = [
        cohort(task=task, recipe=f"r{k}", methods=[{"mmr": {"alpha": k / 10}}], loo=1 / k, travelled=k)
        for task in "abcde"
        for k in range(1, 6)
    ]
    for claim in distance_claims(cohorts):
        assert claim.verdict == "contradicted"
        assert "-1.00" in claim.measured


def test_distances_that_rate_and_steps_set_leave_the_distance_untested():
    # Instability correlates with distance in every task, and both with the rate: cause and effect are confounded.
    cohorts = [
        cohort(task=task, recipe=f"r{k}", learning_rate=k * 1e-4, loo=k / 10, travelled=k)
        for task in "abcde"
        for k in range(1, 6)
    ]
    weights, predictions = distance_claims(cohorts)
    assert (weights.verdict, predictions.verdict) == ("untested", "untested")
    assert weights.measured.count("1.00") == 2
    assert "(ρ = 1.00)" in weights.measured
    assert "SURT" not in weights.measured
    still = [cohort(task=task, recipe="surt", methods=["surt"], loo=0.1, travelled=1.003) for task in "abcde"]
    still += [cohort(task=task, recipe="plain", loo=0.1, travelled=1.0) for task in "abcde"]
    said = distance_claims(cohorts + still)[0]
    assert said.verdict == "untested"
    assert "SURT" in said.measured
    assert said.measured.endswith(" 0.3 %.")


def test_what_grows_with_the_distance_alone_is_not_less_stable_relative_to_it():
    cohorts = [
        cohort(task=task, recipe=f"r{k}", learning_rate=k * 1e-4, loo=0.1 * k, seed=1.3 * k, travelled=k)
        for task in "abcde"
        for k in (1, 8)
    ]
    said = verdicts(cohorts)

    def of(quantity):
        (verdict,) = [one for text, one in said["rate"].items() if f": {QUANTITIES[quantity]} rises" in text]
        return verdict

    assert of("loo_weights") == "supported"
    assert of("loo_relative") == "no effect"
    assert of("seed_relative") == "no effect"


def test_relative_differences_are_means_of_ratios_with_their_error_and_unknown_where_nothing_moves():
    one = cohort()
    exact = one.exact
    assert exact is not None
    apart = Differences(*[np.array([[0.1, 0.3], [0.2, 0.8]])] * 4)
    some = CohortStability(
        one.spec,
        96,
        "done",
        "",
        one.labels,
        replace(exact, leave_one_out=apart, travelled=np.array([1.0, 2.0])),
    )
    row = some.summary()
    # Means over seeds of 0.1 and 0.2 / 2, of 0.3 and 0.8 / 2: 0.1 and 0.35, whose standard error is half of 0.25.
    assert row["loo_relative"] == pytest.approx(0.225)
    assert row["loo_relative_error"] == pytest.approx(0.125 * math.sqrt(94 / 96))
    assert row["seed_relative"] == pytest.approx(1 / 1.5)
    frozen = cohort(travelled=0.0).summary()
    assert math.isnan(frozen["loo_relative"])
    assert math.isnan(frozen["seed_relative"])


def test_figures_draw_the_values_from_zero_and_name_where_training_starts():
    sections = {section.key: section for section in full_sections(design([*everything("a"), *everything("b")]))}
    panel = sections["epochs"].panels[0].figure
    assert [trace["name"] for trace in panel["data"]] == ["a", "b"]
    assert panel["data"][0]["x"] == ["48", "96", "192"]
    assert panel["data"][0]["y"] == [0.2, 0.1, 0.05]
    assert panel["layout"]["yaxis"]["rangemode"] == "tozero"
    points, travelled = (one.figure for one in sections["distance"].panels[:2])
    assert travelled["data"][0]["x"] == ["as pre-trained", "surt", "reviews"]
    assert travelled["data"][0]["y"] == [2.0, 1.8, 2.0]
    # Every cohort but the diverged one, by its name.
    assert len(points["data"][0]["x"]) == 10
    assert any("<b>mmr</b>" in text for text in points["data"][0]["hovertext"])


def test_page_and_tables_hold_every_cohort_and_why_one_did_not_finish(tmp_path):
    cohorts = [*everything("a"), *everything("b")]
    path, sections = write_cohorts(cohorts, tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    ids = [attributes["id"] for attributes in page.attributes("div") if attributes.get("class") == "plot"]
    assert sorted(ids) == sorted(page.data["figures"])
    assert "m on a, fast: diverged: the reason." in page.text
    assert "22, 2 of them" in page.text
    for section in sections:
        for claim in section.claims:
            assert claim.measured in page.text
    summary = pd.read_csv(tmp_path / "stability.csv")
    assert len(summary) == 22
    assert summary["steps"][:3].tolist() == [48, 24, 96]
    assert summary.loc[summary["status"] == "diverged", "loo_weights"].isna().all()
    assert len(pd.read_csv(tmp_path / "examples.csv")) == 20 * 4
    assert "examples.csv" in page.text


def test_cohorts_that_are_all_lost_still_make_a_page(tmp_path):
    write_cohorts([cohort()], tmp_path)
    assert (tmp_path / "examples.csv").exists()
    path, sections = write_cohorts([cohort(status="refused")], tmp_path)
    assert sections == []
    # Of nothing there is no table, and an older one would not be of these cohorts.
    assert not (tmp_path / "examples.csv").exists()
    assert "examples.csv" not in Page(path.read_text(encoding="utf-8")).text
    assert "refused: the reason" in Page(path.read_text(encoding="utf-8")).text
    assert math.isnan(pd.read_csv(tmp_path / "stability.csv")["travelled"][0])


def test_numbers_stand_with_their_standard_errors():
    one = cohort()
    exact = one.exact
    assert exact is not None
    apart = Differences(*[np.array([[0.1, 0.3], [0.1, 0.3]])] * 4)
    some = CohortStability(one.spec, one.n, "done", "", one.labels, replace(exact, leave_one_out=apart))
    table = numbers([some, cohort(status="diverged")])
    row, lost = (dict(zip(table.columns, line, strict=True)) for line in table.rows)
    # sd = 0.1 sqrt(2) of two, so 0.1 for their mean, times sqrt(94 / 96).
    assert row["leave-one-out weights"] == row["leave-one-out predictions"] == "0.2 ± 0.099"
    assert (row["leave-one-out loss"], row["seed weights"]) == ("0.2", "1")
    assert lost["leave-one-out weights"] == "–"


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_seed_column_of_one_seed_is_not_known(seeds):
    one = cohort()
    exact = one.exact
    assert exact is not None
    some = FullStability(
        **{**vars(exact), "seeds": exact.seeds[:seeds], "seed": Differences(*[np.zeros((seeds, seeds))] * 4)}
    )
    row = CohortStability(one.spec, one.n, "done", "", one.labels, some).summary()
    assert math.isnan(row["seed_weights"]) == (seeds == 1)
    assert row["loo_weights"] == pytest.approx(0.1)
