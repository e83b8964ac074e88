"""Comparisons: baselines, ratios, and the rows that every table is made of."""

import dataclasses
import math

import numpy as np
import pytest
from saying import says

from steadytune import RunRecord, RunSpec, RunStore, Study, UserError
from steadytune.analysis.comparison.compare import DifferenceRow, MeasureRow, compare
from steadytune.analysis.comparison.power import seeds_to_detect_difference, seeds_to_detect_ratio
from steadytune.measures import judged, linear_cka, permutation_null
from steadytune.records import Cohort
from steadytune.records.cohort import LostRun

MEASURES = tuple(measure.name for measure in judged() if measure.applies_to("classification"))

NARROW, WIDE = [0.79, 0.80, 0.81], [0.76, 0.80, 0.84]


def test_standard_is_the_baseline_wherever_it_stands(make_cohort):
    comparison = compare([make_cohort(scores=NARROW, recipe="mmr"), make_cohort(scores=WIDE)])
    assert [(row.recipe, row.is_baseline) for row in comparison.rows()] == [("mmr", False), ("standard", True)]


def test_the_first_recipe_is_the_baseline_where_there_is_no_standard(make_cohort):
    rows = compare([make_cohort(scores=NARROW, recipe=name) for name in ("mmr", "surt")]).rows()
    assert [row.baseline for row in rows] == ["mmr", "mmr"]


def test_each_model_and_task_has_a_baseline_of_its_own(make_cohort):
    cohorts = [
        make_cohort(scores=WIDE, task="rte"),
        make_cohort(scores=NARROW, task="rte", recipe="mmr"),
        make_cohort(scores=NARROW, task="cb", recipe="mmr"),
        make_cohort(scores=WIDE, task="cb", recipe="surt"),
    ]
    comparison = compare(cohorts)
    assert comparison.baselines == {("", "rte"): "standard", ("", "cb"): "mmr"}
    assert [row.sd_ratio.value for row in comparison.rows()] == pytest.approx(
        [math.nan, 0.25, math.nan, 4], nan_ok=True
    )


def test_a_baseline_may_be_chosen(make_cohort):
    cohorts = [make_cohort(scores=WIDE), make_cohort(scores=NARROW, recipe="mmr")]
    standard, mmr = compare(cohorts, baseline="mmr").rows()
    assert mmr.is_baseline
    assert math.isnan(mmr.sd_ratio.value)
    assert standard.sd_ratio.value == pytest.approx(4)
    assert standard.mean_difference.value == pytest.approx(0)


def test_a_row_counts_finished_failed_and_lost_runs(make_cohort):
    cohort = make_cohort(
        scores=[0.5, 0.6, 0.8], seconds=np.array([1.0, 2.0, 6.0]), lost=(LostRun("3", "diverged", "the loss is nan"),)
    )
    (row,) = compare([cohort]).rows()
    assert (row.runs, row.failed, row.lost, row.seconds) == (3, 2, 1, 3.0)
    assert row.mean.value == pytest.approx(1.9 / 3)
    assert list(row.measures) == list(MEASURES)


def test_seconds_are_unknown_where_nobody_measured_them(make_cohort):
    (row,) = compare([make_cohort(scores=NARROW)]).rows()
    assert math.isnan(row.seconds)


def test_measures_of_representations_are_those_of_the_last_layer(make_cohort):
    states = np.random.default_rng(0).standard_normal((3, 4, 10, 5))
    (row,) = compare([make_cohort(scores=NARROW, representations=states)]).rows()
    assert row.measures["cka"].layer == 4


def test_measures_rows_hold_every_measure_and_layer_in_the_columns_of_the_file(make_cohort):
    states = np.random.default_rng(0).standard_normal((3, 4, 10, 5))
    comparison = compare([make_cohort(scores=NARROW, representations=states, model="m", task="t")])
    rows = comparison.measures_rows()
    assert MeasureRow._fields == ("model", "task", "recipe", "measure", "layer", "value", "low", "high", "null")
    assert len(rows) == 4 + 3 * 4
    assert rows[0][:5] == ("m", "t", "standard", "sd", None)
    assert rows[-1][3:5] == ("cka", 4)
    assert rows[-1].null == pytest.approx(permutation_null(linear_cka, states)[-1])


def test_differences_rows_hold_every_measure_and_test_in_the_columns_of_the_file(make_cohort):
    generator = np.random.default_rng(0)
    cohorts = [
        make_cohort(generator.integers(0, 2, (8, 10)), recipe=name, model="m", task="t", failed=failed)
        for name, failed in (("standard", [True] * 2 + [False] * 6), ("mmr", [False] * 8))
    ]
    comparison = compare(cohorts)
    rows = comparison.difference_rows()
    assert DifferenceRow._fields == (
        *("model", "task", "recipe", "baseline", "measure", "difference", "low", "high"),
        *("p", "p_adjusted", "low_adjusted", "high_adjusted", "test"),
    )
    assert {row[:4] for row in rows} == {("m", "t", "mmr", "standard")}
    assert [(row.measure, row.test) for row in rows[:3]] == [
        ("mean", "bootstrap t"),
        ("sd_ratio", "bootstrap t and Brown-Forsythe"),
        ("failed", "Fisher"),
    ]
    assert [row.measure for row in rows[3:-2]] == [measure for measure in MEASURES if measure != "sd"]
    assert [(row.measure, row.test) for row in rows[-2:]] == [
        ("mean", "paired permutation, these examples"),
        ("sd_ratio", "paired permutation, these examples"),
    ]
    standard, mmr = comparison.rows()
    assert rows[0].difference == pytest.approx(mmr.mean.value - standard.mean.value)
    assert rows[1].difference == pytest.approx(mmr.sd.value / standard.sd.value)
    assert rows[3].difference == pytest.approx(
        mmr.measures["disagreement"].value - standard.measures["disagreement"].value
    )
    for row in rows[:6]:
        assert row.low_adjusted <= row.low < row.difference < row.high <= row.high_adjusted
        assert row.p <= row.p_adjusted
    for row in rows[-2:]:
        assert math.isnan(row.low)
        assert math.isnan(row.p_adjusted)
    assert standard.differences == {}


def test_p_values_are_adjusted_over_the_recipes_of_a_task(make_cohort):
    generator = np.random.default_rng(1)
    means = {"standard": 0.8, "mmr": 0.803, "surt": 0.85}
    cohorts = [make_cohort(scores=generator.normal(mean, 0.01, 9), recipe=name) for name, mean in means.items()]
    cohorts += [make_cohort(scores=cohort.scores, recipe=cohort.recipe, task="other") for cohort in cohorts[::2]]
    _, mmr, surt, _, alone = compare(cohorts).rows()
    # Means and SDs of both recipes are one family; nothing failed, so nothing could be found of failures.
    family = [row.differences[name] for row in (mmr, surt) for name in ("mean", "sd_ratio")]
    highest = 0.0
    for left, found in zip((4, 3, 2, 1), sorted(family, key=lambda found: found.significance.p), strict=True):
        highest = max(highest, min(1.0, left * found.significance.p))
        assert found.p_adjusted == pytest.approx(highest)
    assert (mmr.comparisons, alone.comparisons) == (4, 2)
    raw = surt.differences["mean"].significance.p
    assert alone.differences["mean"].p_adjusted == pytest.approx(2 * raw)
    assert alone.differences["mean"].adjusted.low < alone.differences["mean"].interval.low


def test_seeds_are_planned_for_all_tests_that_runs_enough_allow():
    generator = np.random.default_rng(5)
    answers = generator.integers(0, 2, (2, 5, 40))
    fields = {"labels": generator.integers(0, 2, 40), "failed": [False] * 5}
    cohorts = [Cohort(predictions=one, recipe=name, **fields) for one, name in zip(answers, "ab", strict=True)]
    # Mean, SD and disagreement; and failures where a run failed.
    assert [row.planned for row in compare(cohorts).rows()] == [3, 3]
    cohorts[0] = dataclasses.replace(cohorts[0], failed=[True, *[False] * 4])
    assert compare(cohorts).rows()[1].planned == 4


def test_failures_that_could_not_have_been_significant_cost_nothing(make_cohort):
    generator = np.random.default_rng(2)
    scores = generator.normal(0.8, 0.01, (2, 8))
    for failed, tests in ((1, 2), (5, 3)):
        cohorts = [
            make_cohort(scores=group, recipe=name, failed=np.arange(8) < count)
            for group, name, count in zip(scores, ("standard", "mmr"), (failed, 0), strict=True)
        ]
        assert compare(cohorts).rows()[1].comparisons == tests


def test_recipes_share_the_groups_that_one_of_them_names(make_cohort):
    generator = np.random.default_rng(3)
    predictions = generator.integers(0, 2, (2, 6, 10))
    groups = np.repeat(np.arange(5), 2)
    cohorts = [
        make_cohort(predictions[0], groups=7 - groups),
        make_cohort(predictions[1], recipe="mmr"),
        make_cohort(predictions[1], recipe="surt", groups=groups),
    ]
    _, mmr, surt = compare(cohorts).rows()
    assert mmr.differences["mean"].interval == surt.differences["mean"].interval
    assert mmr.profile.evaluation.groups == 5
    with pytest.raises(UserError, match=says("'standard'", "'mmr'", "groups")):
        compare([cohorts[0], make_cohort(predictions[1], recipe="mmr", groups=np.arange(10))])


def test_seeds_needed_follow_the_spreads_and_the_number_of_recipes(make_cohort):
    cohorts = [make_cohort(scores=scores, recipe=name) for scores, name in ((WIDE, "standard"), (NARROW, "mmr"))]
    _, mmr = compare(cohorts).rows()
    # Shared seeds that move both alike: differences of -.03, 0 and .03. SDs need five runs to be compared.
    # They will be tested once there are, so that seeds are planned for two tests.
    assert (mmr.comparisons, mmr.planned) == (1, 2)
    assert mmr.seeds_to_detect(0.01) == seeds_to_detect_difference(0.01, 0.03, 0.0, correlation=0.0, significance=0.025)
    _, mmr, _ = compare([*cohorts, make_cohort(scores=WIDE[::-1], recipe="surt")]).rows()
    assert mmr.seeds_to_detect(0.01) == seeds_to_detect_difference(
        0.01, 0.03, 0.0, correlation=0.0, significance=0.0125
    )
    assert mmr.seeds_to_detect_ratio(2) == seeds_to_detect_ratio(2, significance=0.0125)


def test_no_number_of_seeds_shows_what_the_examples_hide():
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 2, 50)
    cohorts = []
    for recipe in ("standard", "mmr"):
        # Recipes that err on other examples, runs that agree but for one example in ten.
        wrong = generator.random(50) < 0.3
        answers = np.where(wrong ^ (generator.random((8, 50)) < 0.1), 1 - labels, labels)
        cohorts.append(Cohort(logits=3.0 * np.eye(2)[answers], labels=labels, recipe=recipe))
    _, mmr = compare(cohorts).rows()
    assert mmr.seeds_to_detect(0.01) is None
    assert mmr.seeds_to_detect(0.5) >= 3


def test_nothing_to_compare_is_an_error():
    with pytest.raises(UserError, match="no runs"):
        compare([])


def test_an_unknown_baseline_names_the_closest_recipe(make_cohort):
    with pytest.raises(UserError, match=says("'standart'", "'standard'")):
        compare([make_cohort(scores=WIDE)], baseline="standart")


def test_two_cohorts_of_one_name_are_an_error(make_cohort):
    with pytest.raises(UserError, match=says("two cohorts", "'standard'")):
        compare([make_cohort(scores=WIDE), make_cohort(scores=NARROW)])


def test_a_folder_of_runs_is_compared_cohort_by_cohort(tmp_path):
    study = Study(model="m", task="t", seeds=3, recipes=["standard", "mmr"])
    store = RunStore.create(tmp_path / "out", study, {})
    for model, task, recipe, seeds in study.grid():
        spec = RunSpec(
            model=model,
            weights="w",
            task=task,
            data="d",
            recipe=recipe,
            training=study.recipe_training(recipe),
            stabilizers=study.recipes[recipe].stabilizers,
            seeds=seeds,
        )
        store.write_examples(spec, "classification", ["a", "b"], ["no", "yes"])
        record = RunRecord(spec=spec, status="done", metric="accuracy", score=0.5 + seeds.init / 4, majority_score=0.5)
        logits = np.array([[0.0, 1.0], [seeds.init, 1.0]])
        store.write(record, {"logits": logits, "labels": np.array([1, 0])})
    standard, mmr = compare(store).rows()
    assert (standard.recipe, mmr.recipe, mmr.baseline) == ("standard", "mmr", "standard")
    assert (standard.runs, standard.failed, standard.metric) == (3, 1, "accuracy")
    assert standard.sd.value == pytest.approx(0.25)
    # argmax of (1, 1) is class 0, so runs 1 and 2 agree and run 0 differs from both on one example of two.
    assert standard.measures["disagreement"].value == pytest.approx(1 / 3)


def test_recipes_that_were_measured_on_other_examples_are_refused(make_cohort, wrong_at):
    ours = make_cohort([wrong_at(), wrong_at(1)])
    labels = 1 - np.asarray(ours.labels)
    with pytest.raises(UserError, match=says("'standard'", "'mmr'", "labels")):
        compare([ours, make_cohort([wrong_at(), wrong_at(1)], recipe="mmr", labels=labels)])
