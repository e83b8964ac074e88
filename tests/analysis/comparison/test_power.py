"""Seeds needed: textbook values, hand-computed ones, and simulation of what the answers promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import says
from scipy import stats

from steadytune import UserError
from steadytune.analysis.comparison.power import seeds_to_detect_difference, seeds_to_detect_ratio, seeds_to_pin_sd

pytestmark = pytest.mark.slow

STUDIES = 4000


class TestDifference:
    # Standard sample sizes of two-sided t-tests at 5 % and 80 % power, for Cohen's small, medium and large effects.
    @pytest.mark.parametrize(("effect", "two_samples", "one_sample"), [(0.2, 394, 199), (0.5, 64, 34), (0.8, 26, 15)])
    def test_effects_need_what_the_textbook_says(self, effect, two_samples, one_sample):
        assert seeds_to_detect_difference(effect, 1.0) == two_samples
        # With r = .5 the differences of a seed have the SD of the scores.
        assert seeds_to_detect_difference(effect, 1.0, correlation=0.5) == one_sample

    @pytest.mark.parametrize(("sd", "baseline_sd"), [(0.02, 0.02), (0.005, 0.02), (0.03, 0.0)])
    def test_welchs_test_finds_the_difference_as_often_as_promised(self, sd, baseline_sd):
        runs = seeds_to_detect_difference(0.015, sd, baseline_sd)
        generator = np.random.default_rng(0)
        ours = generator.normal(0.815, sd, (STUDIES, runs))
        theirs = generator.normal(0.8, baseline_sd, (STUDIES, runs))
        moments = [[group.mean(axis=1), group.std(axis=1, ddof=1), runs] for group in (ours, theirs)]
        found = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue < 0.05
        assert 0.78 <= found.mean() <= 0.85

    def test_the_paired_test_finds_the_difference_as_often_as_promised(self):
        runs = seeds_to_detect_difference(0.01, 0.02, 0.03, correlation=0.7)
        covariance = [[0.0004, 0.7 * 0.0006], [0.7 * 0.0006, 0.0009]]
        scores = np.random.default_rng(1).multivariate_normal([0.81, 0.8], covariance, (STUDIES, runs))
        found = stats.ttest_rel(scores[..., 0], scores[..., 1], axis=1).pvalue < 0.05
        assert 0.78 <= found.mean() <= 0.83

    def test_seeds_that_move_both_recipes_alike_need_no_more_than_a_test_does(self):
        assert seeds_to_detect_difference(0.001, 0.02, correlation=1.0) == 3

    @pytest.mark.parametrize(("effect", "own", "shared"), [(1, 17, 18), (2, 6, 7), (3, 4, 5)])
    def test_shared_seeds_that_have_nothing_in_common_need_more(self, effect, own, shared):
        assert seeds_to_detect_difference(effect, 1.0) == own
        assert seeds_to_detect_difference(effect, 1.0, correlation=0.0) == shared
        scores = np.random.default_rng(4).normal(size=(2, STUDIES, shared)) + np.array([effect, 0])[:, None, None]
        assert np.mean(stats.ttest_rel(*scores, axis=1).pvalue < 0.05) >= 0.79

    def test_the_error_of_the_examples_takes_more_seeds_or_all_of_them(self):
        assert seeds_to_detect_difference(0.01, 0.02, examples_error=0.002) > 64
        with pytest.raises(UserError, match=says("evaluation set", "examples")):
            seeds_to_detect_difference(0.01, 0.02, examples_error=0.004)

    @given(st.floats(0.005, 0.1), st.floats(0.001, 0.1), st.floats(0.001, 0.1), st.floats(-0.9, 0.9))
    def test_the_unit_the_sign_and_the_order_do_not_matter(self, difference, sd, other, correlation):
        needed = seeds_to_detect_difference(difference, sd, other)
        assert needed == seeds_to_detect_difference(-difference, other, sd)
        assert abs(needed - seeds_to_detect_difference(100 * difference, 100 * sd, 100 * other)) <= 1
        assert needed >= seeds_to_detect_difference(1.5 * difference, sd, other)
        assert needed <= seeds_to_detect_difference(difference, 1.5 * sd, 1.5 * other)
        assert needed <= seeds_to_detect_difference(difference, sd, other, power=0.9)
        assert needed <= seeds_to_detect_difference(difference, sd, other, significance=0.01)
        paired = [seeds_to_detect_difference(difference, sd, other, correlation=r) for r in (correlation, 0.95)]
        assert paired[0] >= paired[1] >= 2


class TestRatio:
    @pytest.mark.parametrize("ratio", [1.5, 2, 3])
    def test_the_test_finds_the_ratio_as_often_as_promised(self, ratio):
        runs = seeds_to_detect_ratio(ratio)
        generator = np.random.default_rng(2)
        pairs = generator.normal(size=(STUDIES // 4, 2, runs)) * [[ratio], [1.0]]
        found = [stats.levene(*pair, center="median").pvalue < 0.05 for pair in pairs]
        # Its test is two, this one and that of the bootstrap.
        assert 0.8 <= np.mean(found) <= 0.95

    def test_it_needs_more_than_the_f_test_for_normal_scores(self):
        # 19 is the F test's answer for a ratio of 2.
        assert 19 < seeds_to_detect_ratio(2) <= 30

    def test_a_ratio_and_its_inverse_need_the_same(self):
        assert seeds_to_detect_ratio(0.5) == seeds_to_detect_ratio(2)

    def test_no_ratio_is_found_below_the_five_runs_of_the_test(self):
        assert seeds_to_detect_ratio(1e6) >= 5


class TestWidth:
    def test_twenty_one_runs_give_the_width_by_hand(self):
        # chi2_20 is 9.59078 and 34.16961 at its 2.5 and 97.5 %.
        width = math.sqrt(20 / 9.59078) - math.sqrt(20 / 34.16961)
        assert seeds_to_pin_sd(width + 1e-4) == 21
        assert seeds_to_pin_sd(width - 1e-4) == 22

    def test_two_runs_pin_next_to_nothing(self):
        assert seeds_to_pin_sd(100) == 2

    def test_so_many_runs_cover_the_sd_within_that_width(self):
        runs = seeds_to_pin_sd(0.5)
        sds = np.random.default_rng(3).normal(size=(STUDIES, runs)).std(axis=1, ddof=1)
        low, high = np.sqrt((runs - 1) / stats.chi2.ppf([0.975, 0.025], runs - 1))
        assert high - low <= 0.5
        assert 0.94 <= np.mean((sds * low <= 1) & (sds * high >= 1)) <= 0.96


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: seeds_to_detect_difference(0, 1.0), ["difference", "positive", "0"]),
        (lambda: seeds_to_detect_difference(math.nan, 1.0), ["difference", "positive", "nan"]),
        (lambda: seeds_to_detect_difference(0.1, 0.0), ["larger SD", "positive", "0"]),
        (lambda: seeds_to_detect_difference(0.1, 1.0, -1.0), ["SD", "negative", "-1.0"]),
        (lambda: seeds_to_detect_difference(0.1, 1.0, correlation=1.1), ["correlation", "-1 and 1", "1.1"]),
        (lambda: seeds_to_detect_difference(0.1, 1.0, power=1.0), ["power", "0 and 1", "1.0"]),
        (lambda: seeds_to_detect_difference(1e-6, 1.0), ["1,000,000 seeds"]),
        (lambda: seeds_to_detect_ratio(1), ["ratio of 1", "seeds"]),
        (lambda: seeds_to_detect_ratio(-2), ["ratio", "positive", "-2"]),
        (lambda: seeds_to_pin_sd(0), ["width", "positive", "0"]),
        (lambda: seeds_to_pin_sd(0.5, level=0), ["level", "0 and 1", "0"]),
    ],
)
def test_what_has_no_meaning_is_refused(call, said):
    with pytest.raises(UserError, match=says(*said)):
        call()
