"""Correlations of few points: by hand, at the edges, and against counting permutations one by one."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steadytune.analysis.validity.correlation import critical_pearson, kendall, pearson, pearson_matrix, significant_tau


def test_pearson_of_three_points_by_hand():
    # Deviations (-1, 0, 1) and (-4/3, -1/3, 5/3): 3 / sqrt(2 * 42/9)
    assert pearson([1, 2, 3], [1, 2, 4]) == pytest.approx(3 / math.sqrt(2 * 42 / 9))


@pytest.mark.parametrize(
    ("first", "second"), [([1, 2], [2, 1]), ([1, 1, 1], [1, 2, 3]), ([1, 2, math.nan], [1, 2, 3]), ([], [])]
)
def test_pearson_is_unknown_where_it_says_nothing(first, second):
    assert math.isnan(pearson(first, second))


def test_a_constant_but_for_rounding_has_no_correlation():
    assert math.isnan(pearson([0.3, 0.1 + 0.2, 0.3], [1, 2, 3]))


def test_a_matrix_holds_every_pair_and_keeps_what_is_unknown():
    vectors = np.array([[1.0, 2, 3], [3.0, 2, 1], [1.0, 1, 1]])
    np.testing.assert_allclose(pearson_matrix(vectors), [[1, -1, np.nan], [-1, 1, np.nan], [np.nan, np.nan, 1]])


@pytest.mark.parametrize(("points", "value"), [(3, 0.9969), (4, 0.950), (12, 0.576), (24, 0.404)])
def test_critical_values_are_those_of_the_tables(points, value):
    assert critical_pearson(points) == pytest.approx(value, abs=5e-4)


def test_two_points_are_never_significant():
    assert critical_pearson(2) == 1


def test_tau_without_ties_by_hand():
    # Of ten pairs one is turned: (9 - 1) / 10; five of 120 orders have at most one turned pair, and as many at most one
    # that is not.
    assert kendall([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == (pytest.approx(0.8), pytest.approx(10 / 120))


def test_five_recipes_in_one_order_are_just_significant():
    assert kendall(range(5), range(5)) == (pytest.approx(1), pytest.approx(1 / 60))


def test_a_tie_takes_half_a_pair_off_the_denominator():
    # Pairs: two agree, one is tied in the first: 2 / sqrt(2 * 3)
    tau, p = kendall([1, 1, 2], [1, 2, 3])
    assert tau == pytest.approx(2 / math.sqrt(6))
    # Of six orders of the second, those with the highest or lowest last reach |2 agreeing - 0|: four.
    assert p == pytest.approx(4 / 6)


@pytest.mark.parametrize(("first", "second"), [([1], [1]), ([1, 1], [1, 2]), ([1, math.nan], [1, 2])])
def test_tau_is_unknown_where_there_is_no_order(first, second):
    assert np.isnan(kendall(first, second)).all()


def test_equal_values_but_for_rounding_are_a_tie():
    assert kendall([0.3, 0.1 + 0.2, 1], [1, 2, 3])[0] == pytest.approx(2 / math.sqrt(6))


rankings = st.lists(st.integers(0, 4), min_size=2, max_size=5)


@given(st.data(), rankings)
def test_the_p_value_is_the_share_of_orders_that_reach_the_same_tau(data, first):
    second = data.draw(st.permutations(range(len(first))))
    tau, p = kendall(first, second)
    if math.isnan(tau):
        assert len(set(first)) == 1
        return

    def agreement(order):
        pairs = combinations(range(len(first)), 2)
        return abs(sum(np.sign(first[i] - first[j]) * np.sign(order[i] - order[j]) for i, j in pairs))

    reached = [agreement(order) >= agreement(second) for order in permutations(second)]
    assert p == pytest.approx(sum(reached) / len(reached))
    assert np.sign(tau) == np.sign(stats.kendalltau(first, second).statistic)


def test_more_than_seven_recipes_are_judged_by_the_exact_distribution():
    # One of 8! orders and its reverse.
    assert kendall(range(8), range(8))[1] == pytest.approx(2 / math.factorial(8))


@pytest.mark.parametrize(("items", "least"), [(2, None), (3, None), (4, None), (5, 1.0)])
def test_up_to_four_recipes_decide_nothing_and_five_only_in_one_order(items, least):
    assert significant_tau(items) == least


@pytest.mark.parametrize("items", [5, 6, 7])
def test_the_least_significant_tau_agrees_with_the_p_values(items):
    least = significant_tau(items)
    found = {kendall(range(items), order) for order in permutations(range(items))} if items < 7 else set()
    order = list(range(items))
    for place in range(items - 1):  # each swap of neighbours turns one more pair
        found.add(kendall(range(items), order))
        order[place], order[place + 1] = order[place + 1], order[place]
    for tau, p in found:
        assert (p < 0.05) == (abs(tau) >= least - 1e-9)
