"""Against scipy.stats, which computes them in other ways or by other names."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steadytune.analysis import distributions as ours

FREEDOMS = [1.0, 2.0, 2.7, 4.0, 19.0, 399.0, 1e6]
SHARES = [1e-12, 1e-4, 0.004, 0.025, 0.5, 0.8, 0.975, 0.9999]


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_tails_and_quantiles_are_those_of_scipy_to_the_bit(freedom):
    t = np.array([-40.0, -2.0, 0.0, 0.3, 2.0, 40.0])
    np.testing.assert_array_equal(ours.student_tail(t, freedom), stats.t.sf(t, freedom))
    np.testing.assert_array_equal(ours.student_quantile(SHARES, freedom), stats.t.ppf(SHARES, freedom))
    np.testing.assert_array_equal(ours.chi_square_quantile(np.array(SHARES), freedom), stats.chi2.ppf(SHARES, freedom))
    np.testing.assert_array_equal(
        ours.chi_square_upper_quantile(np.array(SHARES), freedom), stats.chi2.isf(SHARES, freedom)
    )
    assert [ours.normal_upper_quantile(share) for share in SHARES] == stats.norm.isf(SHARES).tolist()


def test_the_quantiles_of_the_beta_distribution():
    for share, wrong, total in product(SHARES, (0, 1, 3, 19), (20, 1000)):
        expected = stats.beta.ppf(share, wrong + 1, total - wrong)
        assert ours.beta_quantile(share, wrong + 1, total - wrong) == pytest.approx(expected, rel=1e-12)


def test_the_power_of_a_t_test_is_the_noncentral_tail():
    for freedom, shift, missed in product(FREEDOMS, (0.0, 0.5, 3.0, 10.0, 40.0), (0.05, 0.001)):
        t = stats.t.isf(missed / 2, freedom)
        expected = stats.nct.sf(t, freedom, shift)
        assert ours.noncentral_student_tail(t, freedom, shift) == pytest.approx(expected, abs=1e-12)


@given(st.data(), st.integers(2, 8), st.integers(2, 8))
def test_t_tests_are_those_of_scipy(data, n, m):
    numbers = st.floats(-3, 3).map(lambda value: round(value, 3))
    one, other = (np.array(data.draw(st.lists(numbers, min_size=size, max_size=size))) for size in (n, m))
    if not (np.ptp(one) and np.ptp(other)):
        return
    for equal, function in ((True, ours.pooled_t_p), (False, ours.welch_p)):
        expected = stats.ttest_ind(one, other, equal_var=equal).pvalue
        assert float(function(one, other)) == pytest.approx(expected, rel=1e-9)
    assert ours.pooled_t_p(np.stack([one, one + 1]), np.stack([other, other])).shape == (2,)


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_fishers_test_is_that_of_scipy(runs, others, data):
    failed, failed_other = data.draw(st.integers(0, runs)), data.draw(st.integers(0, others))
    table = [[failed, runs - failed], [failed_other, others - failed_other]]
    assert ours.fisher_p(failed, runs, failed_other, others) == pytest.approx(stats.fisher_exact(table).pvalue)


def test_fishers_test_by_hand():
    # Of C(6, 3) = 20 ways to choose which three fail, one has all three in each group.
    assert ours.fisher_p(3, 3, 0, 3) == 2 / 20
    assert ours.fisher_p(0, 3, 0, 3) == 1
    # Far beyond the range of a float: neither overflow nor a sum above 1.
    assert ours.fisher_p(300, 1000, 300, 1000) == 1
    assert 0 < ours.fisher_p(300, 300, 0, 300) < 1e-170


@pytest.mark.parametrize("points", [3, 4, 7, 50])
def test_pearsons_p_value_is_that_of_scipy(points):
    one, other = np.random.default_rng(points).normal(size=(2, points))
    found = stats.pearsonr(one, other)
    assert ours.pearson_p(float(found.statistic), points) == pytest.approx(float(found.pvalue), rel=1e-12)
    assert ours.pearson_p(1.0, points) == 0
    assert ours.pearson_p(0.0, points) == pytest.approx(1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_ranks_are_those_of_scipy(values):
    np.testing.assert_array_equal(ours.mean_ranks(values), stats.rankdata(values))
    np.testing.assert_array_equal(ours.mean_ranks([values, values[::-1]])[1], stats.rankdata(values)[::-1])


def test_what_is_unknown_stays_unknown():
    assert math.isnan(ours.student_tail(math.nan, 3))
    assert math.isnan(ours.student_quantile(0.5, math.nan))
