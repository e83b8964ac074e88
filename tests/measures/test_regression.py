"""Measures of predicted numbers against hand-worked values, exact identities and independent formulations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from saying import says
from scipy import stats

from steadytune.measures import (
    correlation_distance,
    intraclass_correlation,
    pair_mean,
    pair_squared_differences,
    prediction_rmse,
)
from steadytune.measures.pairs import square
from steadytune.measures.regression import PairMoments

# Six targets (rows) and four judges: the table of Shrout & Fleiss (1979), whose ICC(2,1) they print as .29.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]).T

# Few different numbers, so that constant and equal runs occur.
predictions = hnp.arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(2, 8)), elements=st.integers(-3, 3))


def icc_by_anova(runs):
    """ICC(2,1) from the mean squares of a two-way table, examples by runs."""
    table = np.asarray(runs, dtype=float).T
    n, k = table.shape
    grand = table.mean()
    rows = k * ((table.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((table.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    total = ((table - grand) ** 2).sum()
    rest = (total - rows * (n - 1) - columns * (k - 1)) / ((n - 1) * (k - 1))
    return (rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n)


def drawn(seed=0, runs=4, examples=12):
    generator = np.random.default_rng(seed)
    return generator.normal(size=examples) * 3 + 5 + generator.normal(size=(runs, examples))


def test_rmse_is_the_root_of_the_mean_squared_difference_in_the_unit_of_the_target():
    # Differences 3 and 4: sqrt((9 + 16) / 2); a shift by 2 is a distance of 2.
    found = prediction_rmse([[1.0, 2.0], [4.0, 6.0], [3.0, 4.0]])
    assert found == pytest.approx(np.array([[0, 12.5**0.5, 2], [12.5**0.5, 0, 2.5**0.5], [2, 2.5**0.5, 0]]))
    runs = drawn()
    assert prediction_rmse(1000 * runs) == pytest.approx(1000 * prediction_rmse(runs))


def test_correlation_is_that_of_scipy_and_knows_no_shift_and_no_scale():
    runs = drawn()
    expected = [[1 - stats.pearsonr(one, other).statistic for other in runs] for one in runs]
    assert correlation_distance(runs) == pytest.approx(np.array(expected), abs=1e-12)
    assert correlation_distance([runs[0], 1e6 + 7 * runs[0], -runs[0]]) == pytest.approx(
        np.array([[0, 0, 2], [0, 0, 2], [2, 2, 0]]), abs=1e-9
    )


def test_a_constant_run_is_unrelated_to_every_other_and_the_same_as_its_copy():
    # 0.1 is no binary fraction: its mean over seven may differ from it in the last digit.
    flat, other = [0.1] * 7, [0.2] * 7
    found = correlation_distance([flat, flat, other, np.arange(7.0)])
    assert found.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]


def test_the_table_of_shrout_and_fleiss():
    assert intraclass_correlation(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)
    assert intraclass_correlation(SHROUT_FLEISS) == pytest.approx(icc_by_anova(SHROUT_FLEISS))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # A shift by 1: squared difference 1, covariance 1, 1 - ICC = 1 / (1 + 2).
        ([[1, 2, 3], [2, 3, 4]], 2 / 3),
        ([[1, 2, 3], [1, 2, 3]], 1),
        ([[5, 5, 5], [5, 5, 5]], 1),
        # Examples explain nothing.
        ([[1, 1, 1], [2, 2, 2]], 0),
        # The lower end, -1 / (K - 1 - K/N) = -1 / (1 - 2/4).
        ([[1, -1, 1, -1], [-1, 1, -1, 1]], -2),
    ],
    ids=["shift", "equal", "one number", "constant runs", "reversed"],
)
def test_icc_of_runs_that_are_worked_by_hand(runs, expected):
    assert intraclass_correlation(runs) == pytest.approx(expected)


@pytest.mark.parametrize("runs", [[[1.0, 2.0]], [[1.0], [2.0]], [[0, 1], [1, 0]]], ids=["a run", "an example", "0/0"])
def test_icc_is_unknown_where_its_formula_is(runs):
    assert math.isnan(intraclass_correlation(runs))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(3, 8)), elements=st.floats(-5, 5, width=16)))
def test_icc_is_that_of_the_analysis_of_variance(runs):
    if runs.std() > 0.01:
        assert intraclass_correlation(runs) == pytest.approx(icc_by_anova(runs), abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(predictions, st.data())
def test_weights_give_what_repeated_examples_give(runs, data):
    counts = data.draw(
        hnp.arrays(np.int64, runs.shape[1], elements=st.integers(0, 3)).filter(lambda row: row.sum() > 1)
    )
    repeated, weights = np.repeat(runs, counts, axis=1), counts[None].astype(float)
    moments = PairMoments(runs)
    assert square(moments.means(weights)[0]) == pytest.approx(correlation_distance(repeated), abs=1e-7)
    pairs = np.triu_indices(len(runs), 1)
    assert moments.covariances(weights)[0] == pytest.approx(np.cov(repeated)[pairs], abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(predictions)
def test_measures_are_symmetric_within_their_range_and_blind_to_the_order_of_the_runs(runs):
    for measure, upper in ((prediction_rmse, 6), (correlation_distance, 2)):
        found = measure(runs)
        assert (found == found.T).all()
        assert not np.diag(found).any()
        assert ((found >= 0) & (found <= upper)).all()
        assert pair_mean(measure(runs[::-1])) == pytest.approx(pair_mean(found))


def test_a_single_run_has_no_pair():
    assert pair_squared_differences(np.ones((1, 3))).shape == (0, 3)
    assert prediction_rmse(np.ones((1, 3))).tolist() == correlation_distance(np.ones((1, 3))).tolist() == [[0]]


@pytest.mark.parametrize("measure", [prediction_rmse, correlation_distance, intraclass_correlation])
def test_nan_and_other_shapes_are_refused(measure):
    with pytest.raises(ValueError, match=says("predictions", "NaN", "run 1")):
        measure([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match=says("predictions", "(K, N)", "(2, 3, 1)")):
        measure(np.zeros((2, 3, 1)))
