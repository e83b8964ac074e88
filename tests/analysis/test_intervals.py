"""Intervals: hand-computed ends, edges, and how often they hold what they should hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from steadytune.analysis.intervals import (
    Interval,
    difference_interval,
    jackknife_interval,
    leave_one_out_means,
    mean_interval,
    ratio_interval,
    spread_interval,
)
from steadytune.measures import disagreement, fleiss_kappa, pair_mean

COHORTS = 2000


def has_no_ends(interval: Interval) -> bool:
    return math.isnan(interval.low) and math.isnan(interval.high)


def coverage(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


class TestMean:
    def test_three_scores_give_students_interval_by_hand(self):
        # s = .02, t_2 = 4.3027, half = 4.3027 * .02 / sqrt(3)
        assert mean_interval([0.70, 0.72, 0.74]) == pytest.approx((0.72, 0.670317, 0.769683), abs=1e-6)

    @pytest.mark.parametrize("scores", [[0.7], [0.7, 0.7, 0.7]])
    def test_scores_without_spread_have_a_mean_but_no_interval(self, scores):
        interval = mean_interval(scores)
        assert interval.value == pytest.approx(0.7)
        assert has_no_ends(interval)

    def test_no_score_has_no_mean(self):
        assert np.isnan(mean_interval([])).all()


class TestSpread:
    def test_five_runs_give_the_chi_square_interval_by_hand(self):
        # chi2_4 is .484419 and 11.143287 at its 2.5 and 97.5 %
        assert spread_interval(1.0, 5) == pytest.approx(
            (1.0, math.sqrt(4 / 11.143287), math.sqrt(4 / 0.484419)), abs=1e-5
        )

    @pytest.mark.parametrize(("sd", "runs"), [(0.0, 5), (math.nan, 1), (math.nan, 0)])
    def test_no_spread_has_no_interval(self, sd, runs):
        assert has_no_ends(spread_interval(sd, runs))

    def test_more_runs_narrow_the_interval(self):
        widths = [interval.high - interval.low for interval in (spread_interval(1.0, runs) for runs in range(2, 40))]
        assert (np.diff(widths) < 0).all()


class TestRatio:
    def test_five_against_five_runs_give_the_f_interval_by_hand(self):
        # F_{4,4} at .975 is 9.604530, its root 3.099118
        assert ratio_interval(3.0, 5, 4.0, 5) == pytest.approx((0.75, 0.75 / 3.099118, 0.75 * 3.099118), abs=1e-5)

    def test_the_roles_swapped_give_the_inverse(self):
        there, back = ratio_interval(3.0, 5, 4.0, 20), ratio_interval(4.0, 20, 3.0, 5)
        assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx(there)

    @pytest.mark.parametrize(
        ("sd", "runs", "base", "base_runs"), [(0.0, 5, 1.0, 5), (1.0, 5, 0.0, 5), (1, 5, math.nan, 1)]
    )
    def test_a_cohort_without_spread_has_no_ratio_and_rules_out_nothing(self, sd, runs, base, base_runs):
        interval = ratio_interval(sd, runs, base, base_runs)
        assert math.isnan(interval.value)
        assert not interval.excludes(1)


class TestDifference:
    def test_equal_spreads_and_sizes_give_the_pooled_interval_by_hand(self):
        # both variances are .0004, standard error .016330, t_4 = 2.776445
        interval = difference_interval([0.70, 0.72, 0.74], [0.60, 0.62, 0.64])
        assert interval == pytest.approx((0.1, 0.1 - 0.045340, 0.1 + 0.045340), abs=1e-5)
        assert interval.excludes(0)

    def test_a_cohort_of_one_gives_a_difference_without_interval(self):
        interval = difference_interval([0.7], [0.6, 0.5])
        assert interval.value == pytest.approx(0.15)
        assert not interval.excludes(0)

    def test_one_cohort_without_spread_leaves_the_interval_to_the_other(self):
        assert not has_no_ends(difference_interval([0.7, 0.7], [0.6, 0.5]))

    def test_two_cohorts_without_spread_have_no_interval(self):
        assert has_no_ends(difference_interval([0.7, 0.7], [0.6, 0.6]))

    def test_no_runs_have_no_difference(self):
        assert np.isnan(difference_interval([], [0.6, 0.5])).all()


@st.composite
def distance_matrices(draw):
    runs = draw(st.integers(3, 6))
    half = draw(arrays.arrays(np.float64, (runs, runs), elements=st.floats(0, 1)))
    return np.triu(half, 1) + np.triu(half, 1).T


class TestJackknife:
    def test_three_runs_leave_one_pair_each(self):
        distances = np.array([[0, 0.1, 0.2], [0.1, 0, 0.6], [0.2, 0.6, 0]])
        assert leave_one_out_means(distances) == pytest.approx([0.6, 0.2, 0.1])

    def test_three_runs_give_the_interval_by_hand(self):
        # mean .3, sum of squares .14, error sqrt(2/3 * .14) = .305505, t_2 = 4.302653: half 1.314; clipped
        assert jackknife_interval(0.3, [0.6, 0.2, 0.1], 1.0) == (0.3, 0.0, 1.0)
        assert jackknife_interval(0.3, [0.6, 0.2, 0.1], 5.0).high == pytest.approx(0.3 + 1.314480, abs=1e-5)

    @given(distance_matrices())
    def test_leaving_out_by_the_matrix_equals_deleting_the_run(self, distances):
        deleted = [pair_mean(np.delete(np.delete(distances, run, 0), run, 1)) for run in range(len(distances))]
        assert leave_one_out_means(distances) == pytest.approx(deleted, abs=1e-12)

    @given(distance_matrices())
    def test_the_value_lies_within_its_interval_and_that_within_the_range(self, distances):
        interval = jackknife_interval(float(pair_mean(distances)), leave_one_out_means(distances), 1.0)
        if not has_no_ends(interval):
            assert 0 <= interval.low <= interval.value <= interval.high <= 1

    def test_layers_are_left_out_side_by_side(self):
        distances = np.random.default_rng(0).random((2, 4, 4))
        distances += distances.swapaxes(1, 2)
        assert leave_one_out_means(distances)[1] == pytest.approx(leave_one_out_means(distances[1]))

    def test_two_runs_have_no_interval(self):
        assert has_no_ends(jackknife_interval(0.5, leave_one_out_means(np.array([[0, 0.5], [0.5, 0]])), 1.0))

    def test_equal_distances_have_no_interval(self):
        distances = 0.1 * (1 - np.eye(7))
        assert has_no_ends(jackknife_interval(0.1, leave_one_out_means(distances), 1.0))


class TestCoverage:
    @pytest.mark.parametrize("runs", [5, 20])
    def test_normal_scores_are_covered_at_the_nominal_rate(self, runs):
        scores = np.random.default_rng(0).normal(0.7, 0.02, (COHORTS, runs))
        assert 0.93 <= coverage([mean_interval(row) for row in scores], 0.7) <= 0.97
        assert 0.93 <= coverage([spread_interval(row.std(ddof=1), runs) for row in scores], 0.02) <= 0.97

    @pytest.mark.parametrize("runs", [5, 20])
    def test_equal_recipes_are_told_apart_no_more_often_than_the_nominal_rate(self, runs):
        pairs = np.random.default_rng(1).normal(0.7, 0.02, (COHORTS, 2, runs))
        means = np.mean([difference_interval(*pair).excludes(0) for pair in pairs])
        spreads = np.mean([ratio_interval(sd, runs, base, runs).excludes(1) for sd, base in pairs.std(axis=2, ddof=1)])
        assert means <= 0.065
        assert spreads <= 0.065

    @pytest.mark.parametrize(("runs", "low", "high"), [(5, 0.89, 0.96), (20, 0.91, 0.97)])
    def test_disagreement_of_runs_of_one_kind_is_covered_nearly_at_the_nominal_rate(self, runs, low, high):
        def draw(count):
            shift = shared * generator.normal(size=(count, 1))
            return (margin + shift + 0.5 * generator.normal(size=(count, 200)) > 0).astype(int)

        generator = np.random.default_rng(2)
        margin, shared = generator.normal(0, 2, 200), generator.normal(size=200)
        rate = draw(20_000).mean(axis=0)
        cohorts = [disagreement(draw(runs)) for _ in range(COHORTS // 2)]
        intervals = [jackknife_interval(float(pair_mean(d)), leave_one_out_means(d), 1.0) for d in cohorts]
        assert low <= coverage(intervals, float((2 * rate * (1 - rate)).mean())) <= high

    def test_collapsing_runs_make_the_intervals_too_narrow_as_their_docstrings_say(self):
        generator = np.random.default_rng(3)
        scores = generator.normal(0.7, 0.02, (COHORTS, 5))
        scores[generator.random(scores.shape) < 1 / 7] = 0.53
        sd = math.sqrt(0.02**2 * 6 / 7 + 0.17**2 * 6 / 49)
        assert 0.72 <= coverage([mean_interval(row) for row in scores], 0.7 - 0.17 / 7) <= 0.80
        assert 0.64 <= coverage([spread_interval(row.std(ddof=1), 5) for row in scores], sd) <= 0.73


def test_kappa_of_fewer_runs_stays_within_the_range_that_its_interval_is_clipped_to():
    opposite = np.array([[0, 1], [1, 0]])
    assert 1 - fleiss_kappa(opposite) == pytest.approx(2)
