"""Permutation tests against counting by hand, an enumeration of its own, and SciPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steadytune.analysis.comparison.permutation import brown_forsythe_p, paired_spread_p, shuffled_p, sign_flip_p

GENERATOR = np.random.default_rng(0)
SCORES, BASELINE = GENERATOR.normal(0.8, 0.02, 5), GENERATOR.normal(0.81, 0.03, 5)


def welch(ours, theirs, axis=-1):
    return abs(stats.ttest_ind(ours, theirs, axis=axis, equal_var=False).statistic)


class TestSignFlip:
    def test_three_equal_signs_leave_two_of_eight_arrangements(self):
        assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8

    def test_a_sum_of_nothing_is_no_evidence(self):
        assert sign_flip_p(np.array([1.0, 2.0, -3.0])) == 1
        assert sign_flip_p(np.zeros(20)) == 1

    def test_one_difference_can_show_nothing(self):
        assert sign_flip_p(np.array([5.0])) == 1

    @given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
    def test_it_counts_as_whole_numbers_do(self, differences):
        ways = itertools.product((-1, 1), repeat=len(differences))
        sums = [abs(sum(sign * d for sign, d in zip(way, differences, strict=True))) for way in ways]
        expected = np.mean([total >= abs(sum(differences)) for total in sums])
        # Thirds of a point are not exact in binary, and ties must stay ties.
        assert sign_flip_p(np.array(differences) / 300) == pytest.approx(expected)

    def test_drawn_arrangements_come_close_to_all(self):
        differences = np.random.default_rng(1).normal(0.4, 1.0, 16)
        every = np.array(list(itertools.product((-1.0, 1.0), repeat=16)))
        expected = np.mean(np.abs(every @ differences) >= abs(differences.sum()) - 1e-9)
        assert sign_flip_p(differences) == pytest.approx(expected, abs=4 * np.sqrt(expected / 10_000))


class TestShuffled:
    def test_two_groups_of_three_that_do_not_overlap_leave_two_of_twenty_deals(self):
        assert shuffled_p(np.array([1.0, 2.0, 3.0]), np.array([7.0, 8.0, 9.0])) == 2 / 20

    @pytest.mark.parametrize("size", [2, 3, 5])
    def test_it_counts_as_scipy_does(self, size):
        expected = stats.permutation_test(
            (SCORES[:size], BASELINE), welch, n_resamples=np.inf, alternative="greater", vectorized=True
        ).pvalue
        assert shuffled_p(SCORES[:size], BASELINE) == pytest.approx(expected)

    def test_constant_groups_are_the_most_extreme_deal(self):
        assert shuffled_p(np.full(5, 0.8), np.full(5, 0.7)) == pytest.approx(2 / 252)
        assert shuffled_p(np.full(5, 0.8), np.full(5, 0.8)) == 1

    def test_drawn_deals_of_many_normal_scores_agree_with_welchs_test(self):
        generator = np.random.default_rng(2)
        ours, theirs = generator.normal(0.5, 1.0, 20), generator.normal(0, 1.0, 20)
        assert shuffled_p(ours, theirs) == pytest.approx(
            stats.ttest_ind(ours, theirs, equal_var=False).pvalue, abs=0.015
        )


class TestSpread:
    def test_distances_from_the_median_are_compared_as_scipy_does(self):
        expected = stats.levene(SCORES, BASELINE, center="median").pvalue
        assert brown_forsythe_p(SCORES, BASELINE) == pytest.approx(expected)

    @pytest.mark.parametrize("size", [7, 9, 12])
    def test_paired_distances_are_compared_as_wilcoxons_test_does(self, size):
        ours, theirs = GENERATOR.normal(0, 1, size), GENERATOR.normal(0, 2, size)
        distances = [abs(group - sorted(group)[size // 2]) for group in (ours, theirs)]
        expected = stats.wilcoxon(*distances, method="exact").pvalue
        assert paired_spread_p(ours, theirs) == pytest.approx(expected)

    def test_equal_steps_are_ties(self):
        ours = np.array([0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76])
        assert paired_spread_p(ours, ours[::-1]) == 1
        assert paired_spread_p(ours, ours + 0.1) == 1

    def test_the_smallest_p_value_of_seven_seeds_is_four_of_128(self):
        ours = np.array([-30.0, -20.0, -10.0, 0.0, 10.5, 20.5, 30.5])
        assert paired_spread_p(ours, ours[[1, 2, 3, 4, 5, 6, 0]] / 1000) == pytest.approx(4 / 128)


PAIRED = [lambda x, y: sign_flip_p(x - y), paired_spread_p]


@pytest.mark.parametrize("p_of", [shuffled_p, brown_forsythe_p, *PAIRED])
class TestEvery:
    def test_a_stack_of_studies_is_tested_one_by_one(self, p_of):
        studies = np.random.default_rng(3).normal(size=(2, 4, 9))
        assert p_of(*studies) == pytest.approx([float(p_of(*pair)) for pair in studies.swapaxes(0, 1)])

    def test_unit_and_roles_do_not_matter(self, p_of):
        ours, theirs = np.random.default_rng(4).normal(size=(2, 6))
        assert p_of(100 * ours, 100 * theirs) == pytest.approx(p_of(ours, theirs))
        assert p_of(theirs, ours) == pytest.approx(p_of(ours, theirs))

    def test_it_is_a_share(self, p_of):
        assert ((p := p_of(*np.random.default_rng(5).normal(size=(2, 50, 8)))) <= 1).all()
        assert (p > 0).all()


@pytest.mark.parametrize("p_of", [brown_forsythe_p, paired_spread_p])
def test_spreads_are_compared_whatever_the_means(p_of):
    ours, theirs = np.random.default_rng(6).normal(size=(2, 9))
    assert p_of(ours + 5, theirs) == pytest.approx(p_of(ours, theirs))
