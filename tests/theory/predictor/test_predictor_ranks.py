import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from steadytune.theory.predictor.ranks import correlations, mean_interval, shuffles, task_rows, unit_ranks

NAN = np.nan


def test_rows_of_tasks_come_in_the_order_in_which_tasks_appear():
    found = task_rows(["b", "a", "b"])
    assert list(found) == ["b", "a"]
    assert found["b"].tolist() == [0, 2]


def test_ranks_are_centred_and_of_length_one_in_each_group():
    groups = [np.array([0, 1, 2]), np.array([3, 4])]
    ranks = unit_ranks(np.array([[10.0], [30.0], [20.0], [-1.0], [-2.0]]), groups)
    half = np.sqrt(0.5)
    assert ranks[:, 0] == pytest.approx([-half, half, 0, half, -half])


def test_what_is_unknown_stands_in_the_middle_and_what_does_not_vary_nowhere():
    rows = [np.arange(4)]
    ranks = unit_ranks(np.array([[1.0, 5.0, NAN], [NAN, 5.0, NAN], [2.0, 5.0, 1.0], [3.0, 5.0, NAN]]), rows)
    half = np.sqrt(0.5)
    assert ranks[:, 0] == pytest.approx([-half, 0, 0, half])
    assert not ranks[:, 1:].any()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_a_product_of_unit_ranks_is_spearmans_correlation_with_and_without_ties(pairs):
    x, y = np.array(pairs, dtype=float).T
    rows = [np.arange(len(x))]
    found = correlations(unit_ranks(x[:, None], rows), unit_ranks(y[:, None], rows), rows)[0, 0, 0]
    if np.ptp(x) and np.ptp(y):
        assert found == pytest.approx(spearmanr(x, y).statistic)
    else:
        assert np.isnan(found)


def test_correlations_are_taken_in_each_group_on_its_own():
    values = np.array([[1.0], [2.0], [3.0], [101.0], [102.0], [103.0]])
    target = np.array([[3.0], [2.0], [1.0], [1.0], [2.0], [3.0]])
    rows = [np.arange(3), np.arange(3, 6)]
    assert correlations(unit_ranks(values, rows), unit_ranks(target, rows), rows).ravel() == pytest.approx([-1, 1])


def test_shuffles_keep_what_is_measured_first_and_exchange_within_groups_alone():
    rows = [np.arange(5), np.arange(5, 9)]
    found = shuffles(np.arange(9.0), rows, 200)
    assert found[:, 0].tolist() == list(range(9))
    for group in rows:
        assert (np.sort(found[group], axis=0) == group[:, None]).all()
    # Every value comes to every place of its group.
    assert all(len(np.unique(line)) == 5 for line in found[:5, 1:])


def test_an_interval_is_narrow_where_ranks_agree_and_holds_zero_in_noise():
    rng = np.random.default_rng(0)
    rows = [np.arange(30), np.arange(30, 60)]
    target = rng.standard_normal(60)
    low, high = mean_interval(np.column_stack([target, rng.standard_normal(60), np.ones(60)]), target, rows)
    assert (low[0], high[0]) == pytest.approx((1, 1))
    assert low[1] < 0 < high[1]
    assert np.isnan([low[2], high[2]]).all()
    assert 0.2 < high[1] - low[1] < 0.8
