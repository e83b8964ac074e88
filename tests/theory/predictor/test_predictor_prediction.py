from typing import get_args

import numpy as np
import pytest
from made_cohorts import NAMES, PLANTED, made_cohorts
from scipy.stats import spearmanr

from steadytune.theory.predictor import ranks as ranks_module
from steadytune.theory.predictor.prediction import BEST, RATE, RECIPE, PredictionVerdict, predict_instability

PREDICTS, WEAKLY, NO_BETTER, NOTHING, UNTOLD = get_args(PredictionVerdict)


@pytest.fixture
def few_resamples(monkeypatch):
    """Intervals are not looked at: many tables in seconds."""
    monkeypatch.setattr(ranks_module, "_RESAMPLES", 2)


def test_of_noise_it_says_that_it_predicts_nothing_at_the_rate_that_is_stated(few_resamples):
    tables = 50
    found = [predict_instability(made_cohorts(seed, tasks=3, cohorts=8), "sd", shuffled=99) for seed in range(tables)]
    nothing = np.mean([one.verdict == NOTHING for one in found])
    # 5 % nominal, with three standard errors of so many tables.
    assert 1 - nothing <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / tables)
    assert abs(np.mean([one.held_out.mean for one in found])) < 0.1
    ps = np.array([one.held_out.p for one in found])
    assert 0.4 < ps.mean() < 0.6
    false = np.mean([min(row.p for row in one.correlations) < 0.05 for one in found])
    assert false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / tables)


def test_a_planted_signal_is_found_and_named(few_resamples):
    found = [predict_instability(made_cohorts(seed, strengths=1.0), "sd", shuffled=199) for seed in range(8)]
    assert sum(one.verdict == PREDICTS for one in found) >= 7
    for one in found:
        best = max(one.correlations, key=lambda row: abs(row.within))
        assert best.name == PLANTED
        assert best.within > 0
        assert best.p < 0.05
        assert set(one.held_out.chosen.values()) == {PLANTED}
        assert one.held_out.baseline(BEST) > 0.5


def test_a_weak_signal_is_called_weak():
    table = made_cohorts(1, tasks=6, cohorts=30, strengths=0.2)
    found = predict_instability(table, "sd")
    assert found.verdict == WEAKLY
    assert 0 < found.held_out.mean < 0.5


@pytest.mark.parametrize("baseline", [RATE, RECIPE])
def test_what_a_baseline_tells_without_a_run_is_no_merit_of_the_predictor(baseline):
    table = made_cohorts(0, strengths=1.0)
    if baseline == RATE:
        table["rate_times_steps"] = table["sd"]
    else:
        table["sd"] = table["recipe"].str.removeprefix("recipe").astype(int) + 1.0
        table[PLANTED] = table["sd"]
    found = predict_instability(table, "sd", shuffled=99)
    assert found.held_out.p < 0.05
    assert found.held_out.rival == baseline
    assert found.held_out.baseline(baseline) == pytest.approx(1.0)
    assert found.verdict == NO_BETTER


def test_a_baseline_that_predicts_less_well_takes_nothing_from_the_verdict():
    table = made_cohorts(0, strengths=3.0)
    table["rate_times_steps"] = table[PLANTED] + 2 * np.random.default_rng(0).standard_normal(len(table))
    found = predict_instability(table, "sd", shuffled=99)
    assert 0 < found.held_out.baseline(RATE) < found.held_out.mean
    assert found.verdict == PREDICTS


def test_a_relation_that_turns_round_between_tasks_predicts_nothing_and_worse():
    found = predict_instability(made_cohorts(0, tasks=2, cohorts=30, strengths=[2.0, -2.0]), "sd")
    assert found.verdict == NOTHING
    assert found.held_out.mean < 0
    assert found.held_out.p > 0.975


def test_nothing_of_a_held_out_tasks_instability_is_known_to_its_prediction():
    table = made_cohorts(3, strengths=1.0)
    here = table["task"] == "task2"
    other = table.copy()
    other.loc[here, "sd"] = np.random.default_rng(0).permutation(table.loc[here, "sd"])
    before, after = (predict_instability(one, "sd", shuffled=9).held_out for one in (table, other))
    assert before.predicted[here] == pytest.approx(after.predicted[here])
    assert before.chosen["task2"] == after.chosen["task2"]
    assert before.predicted[~here] != pytest.approx(after.predicted[~here])


def test_the_numbers_are_spearmans_of_what_is_returned():
    table = made_cohorts(4, strengths=0.5)
    found = predict_instability(table, "disagreement", shuffled=19)
    for task, rows in table.groupby("task"):
        measured = rows["disagreement"]
        assert found.held_out.tasks[task] == pytest.approx(
            spearmanr(found.held_out.predicted[rows.index], measured).statistic
        )
        for row in found.correlations:
            assert row.tasks[task] == pytest.approx(spearmanr(rows[row.name], measured).statistic)
    for row in found.correlations:
        assert row.within == pytest.approx(np.mean(list(row.tasks.values())))
        assert row.pooled == pytest.approx(spearmanr(table[row.name], table["disagreement"]).statistic)
        assert row.low < row.within < row.high


def test_only_order_within_a_task_counts():
    table = made_cohorts(5, strengths=1.0)
    other = table.copy()
    other[NAMES] = np.exp(other[NAMES] / 5) + 100 * (table["task"] == "task1").to_numpy()[:, None]
    other["sd"] = np.sqrt(other["sd"])
    before, after = (predict_instability(one, "sd", shuffled=19) for one in (table, other))
    assert after.held_out.predicted == pytest.approx(before.held_out.predicted)
    assert after.held_out.p == before.held_out.p


def test_a_recipe_ranks_as_it_does_on_the_other_tasks():
    table = made_cohorts(0, tasks=3, cohorts=6)
    place = table["recipe"].str[-1].astype(int)
    table["sd"] = np.where(table["task"] == "task2", -place, place)
    found = predict_instability(table, "sd", shuffled=9).held_out.baselines[RECIPE]
    # Of task0 the others say rank and reversed rank, which is nothing.
    assert found == pytest.approx({"task0": 0, "task1": 0, "task2": -1})


def test_recipes_that_no_other_task_has_and_a_rate_that_does_not_vary_rank_nothing():
    table = made_cohorts(0, strengths=1.0)
    table["recipe"] += table["task"]
    table["rate_times_steps"] = 1.0
    found = predict_instability(table, "sd", shuffled=9)
    assert found.held_out.baseline(RECIPE) == 0
    assert found.held_out.baseline(RATE) == 0
    (rate,) = [row for row in found.correlations if row.name == "rate_times_steps"]
    assert np.isnan([rate.within, rate.p, rate.low]).all()


def test_a_quantity_counts_only_where_most_of_the_other_tasks_cohorts_have_it():
    table = made_cohorts(0, tasks=3, strengths=3.0)
    table.loc[table.index % 12 < 5, PLANTED] = np.nan
    others = [name for name in NAMES if name != PLANTED]
    table[others] = 1.0
    assert predict_instability(table, "sd", shuffled=9).held_out.mean > 0.3
    table.loc[table.index % 12 < 6, PLANTED] = np.nan
    found = predict_instability(table, "sd", shuffled=9)
    assert not found.held_out.predicted.any()
    assert found.verdict == NOTHING


def test_one_task_has_correlations_and_no_held_out_check():
    found = predict_instability(made_cohorts(0, tasks=1, strengths=3.0), "sd", shuffled=99)
    assert found.held_out is None
    assert found.verdict == UNTOLD
    assert max(row.within for row in found.correlations) > 0.5


def test_tasks_with_two_cohorts_or_without_the_target_do_not_count():
    table = made_cohorts(0)
    table.loc[(table["task"] == "task0") & (table.index > 1), "sd"] = np.nan
    table.loc[table["task"] == "task1", "sd"] = np.nan
    found = predict_instability(table, "sd", shuffled=9)
    assert list(found.held_out.tasks) == ["task2", "task3"]
    assert len(found.cohorts) == 24


def test_without_any_target_and_where_all_cohorts_are_alike_nothing_is_told():
    table = made_cohorts(0)
    for value in (np.nan, 0.0):
        found = predict_instability(table.assign(sd=value, sd_all=value, sd_even=value, sd_odd=value), "sd", shuffled=9)
        assert found.verdict == UNTOLD
        assert all(np.isnan(row.within) for row in found.correlations)


def test_halves_of_the_runs_are_correlated_in_each_task():
    table = made_cohorts(0, tasks=2, cohorts=5)
    table["sd_even"] = [1, 2, 3, 4, 5] * 2
    table["sd_odd"] = [1, 2, 3, 4, 5, 5, 4, 3, 2, 1]
    assert predict_instability(table, "sd", shuffled=9).split_half == pytest.approx({"task0": 1, "task1": -1})


def test_the_target_with_the_first_run_in_it_is_another_check():
    table = made_cohorts(0, strengths=2.0)
    found = predict_instability(table, "sd", shuffled=9)
    assert found.with_first == pytest.approx(found.held_out.mean)
    noisy = predict_instability(table.assign(sd_all=np.random.default_rng(0).random(len(table))), "sd", shuffled=9)
    assert noisy.held_out.mean == found.held_out.mean
    assert noisy.with_first < 0.5 < found.with_first
