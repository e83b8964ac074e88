"""Which test is used when, what it can say at all, and how often it errs where recipes do not differ."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steadytune.analysis.comparison.permutation import brown_forsythe_p, paired_spread_p, shuffled_p, sign_flip_p
from steadytune.analysis.comparison.significance import failure_test, holm, mean_test, shared_runs, spread_tests

pytestmark = pytest.mark.slow

STUDIES = 1000
# Three standard errors above 5 %.
MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / STUDIES)


def pairs(runs):
    return np.stack([np.arange(runs)] * 2, axis=1)


def alike(runs, collapses, correlation, recipes=2, studies=STUDIES, seed=0):
    """Scores (recipes, studies, runs) that differ by luck alone; with correlation, recipes share their seeds."""
    generator = np.random.default_rng(seed)
    shape = (recipes, studies, runs)
    of_seed = generator.normal(size=shape[1:])
    scores = math.sqrt(correlation) * of_seed + math.sqrt(1 - correlation) * generator.normal(size=shape)
    if collapses:
        follows = generator.random(shape[1:]) < correlation
        draws = np.where(follows, generator.random(shape[1:]), generator.random(shape))
        scores = np.where(draws < 1 / 7, -13, scores)
    return 0.8 + 0.02 * scores


def rate(p_of, *groups):
    """Share of studies in which a test errs; in parts, which keep the arrangements small."""
    parts = [p_of(*(group[at : at + 50] for group in groups)) for at in range(0, STUDIES, 50)]
    return float(np.mean(np.concatenate(parts) <= 0.05))


class TestFalsePositives:
    @pytest.mark.parametrize("collapses", [False, True])
    @pytest.mark.parametrize("runs", [5, 20])
    def test_means_with_seeds_of_their_own(self, runs, collapses):
        assert 0.03 <= rate(shuffled_p, *alike(runs, collapses, 0)) <= MOST

    @pytest.mark.parametrize("collapses", [False, True])
    @pytest.mark.parametrize("correlation", [0, 0.8])
    @pytest.mark.parametrize(("runs", "least"), [(5, 0), (20, 0.03)])
    def test_means_with_shared_seeds(self, runs, least, correlation, collapses):
        def p_of(ours, theirs):
            return sign_flip_p(ours - theirs)

        assert least <= rate(p_of, *alike(runs, collapses, correlation)) <= (MOST if least else 0)

    @pytest.mark.parametrize("collapses", [False, True])
    @pytest.mark.parametrize("correlation", [0, 0.8])
    def test_means_by_students_tests_where_permutations_are_too_few(self, correlation, collapses):
        for runs in (3, 5):
            ours, theirs = alike(runs, collapses, correlation)
            tests = [mean_test(x, y, pairs(runs)) for x, y in zip(ours, theirs, strict=True)]
            assert {"paired t"} <= {test.test for test in tests}
            assert np.mean([test.p <= 0.05 for test in tests]) <= MOST
        own = [mean_test(x, y, None) for x, y in zip(*alike(3, collapses, 0), strict=True)]
        assert {test.test for test in own} == {"Welch"}
        assert np.mean([test.p <= 0.05 for test in own]) <= MOST

    @pytest.mark.parametrize("collapses", [False, True])
    @pytest.mark.parametrize("correlation", [0, 0.8])
    @pytest.mark.parametrize("runs", [5, 20])
    @pytest.mark.parametrize("p_of", [brown_forsythe_p, paired_spread_p])
    def test_spreads(self, p_of, runs, correlation, collapses):
        assert rate(p_of, *alike(runs, collapses, correlation)) <= MOST

    @pytest.mark.parametrize("p_of", [brown_forsythe_p, paired_spread_p])
    def test_spreads_that_differ_are_found(self, p_of):
        ours, theirs = alike(20, False, 0)
        assert rate(p_of, 3 * ours, theirs) >= 0.9

    @pytest.mark.parametrize("runs", [5, 20])
    def test_failures(self, runs):
        failed = np.random.default_rng(1).binomial(runs, 1 / 7, (STUDIES, 2))
        assert np.mean([failure_test(a, runs, b, runs).p <= 0.05 for a, b in failed]) <= MOST

    @pytest.mark.parametrize("collapses", [False, True])
    @pytest.mark.parametrize("runs", [5, 20])
    @pytest.mark.parametrize("p_of", [shuffled_p, brown_forsythe_p, paired_spread_p])
    def test_any_of_four_recipes_after_holms_correction(self, p_of, runs, collapses):
        baseline, *others = alike(runs, collapses, 0, recipes=5, studies=400)
        parts = range(0, 400, 50)
        raw = [np.concatenate([p_of(other[at : at + 50], baseline[at : at + 50]) for at in parts]) for other in others]
        wrong = [holm(study).min() <= 0.05 for study in np.transpose(raw)]
        assert np.mean(wrong) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


class TestMeans:
    SCORES = np.array([0.81, 0.82, 0.83, 0.85, 0.80, 0.84])

    def test_six_shared_seeds_are_permuted_and_five_are_not(self):
        six = mean_test(self.SCORES, self.SCORES - 0.1 + self.SCORES**2 / 100, pairs(6))
        assert six[:3] == (pytest.approx(2 / 64), "paired permutation", 2 / 64)
        assert mean_test(self.SCORES[:5], self.SCORES[:5] ** 2, pairs(5)).test == "paired t"

    def test_the_tests_that_stand_in_are_students_and_welchs(self):
        ours, theirs = self.SCORES[:3], self.SCORES[3:] ** 2
        assert mean_test(ours, theirs, pairs(3)).p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
        expected = stats.ttest_ind(ours, theirs, equal_var=False).pvalue
        assert mean_test(ours, theirs, None).p == pytest.approx(expected)

    def test_more_recipes_need_more_seeds_to_be_permuted(self):
        assert mean_test(self.SCORES, self.SCORES**2, pairs(6), comparisons=2).test == "paired t"
        assert mean_test(self.SCORES, self.SCORES**2, None, comparisons=2).test == "permutation"

    def test_only_runs_with_a_partner_count(self):
        matched = mean_test(self.SCORES, self.SCORES[::-1] ** 2, pairs(6)[:5])
        assert matched.p == pytest.approx(mean_test(self.SCORES[:5], self.SCORES[:0:-1] ** 2, pairs(5)).p)

    @pytest.mark.parametrize("shared", [pairs(2), None])
    def test_two_runs_allow_no_test(self, shared):
        found = mean_test(self.SCORES[:2], self.SCORES[:2] - 0.3, shared)
        assert math.isnan(found.p)
        assert found.smallest == 1

    def test_a_difference_without_any_spread_is_left_to_permutation(self):
        assert mean_test(np.full(3, 0.8), np.full(3, 0.7), None).p == pytest.approx(2 / 20)
        assert mean_test(self.SCORES[:3], self.SCORES[:3] - 0.1, pairs(3)).p == pytest.approx(2 / 8)
        assert mean_test(np.full(5, 0.8), np.full(5, 0.7), None).p == pytest.approx(2 / 252)


class TestSpreads:
    SCORES = np.random.default_rng(2).normal(0.8, 0.02, 7)

    def test_seven_shared_seeds_go_by_permutation_and_six_by_brown_and_forsythe(self):
        assert [test.test for test in spread_tests(self.SCORES, self.SCORES**2, pairs(7))] == [
            "paired permutation",
            "Brown-Forsythe",
        ]
        first, second = spread_tests(self.SCORES[:6], self.SCORES[:6] ** 2, pairs(6))
        assert (first.test, second.test) == ("Brown-Forsythe", "paired permutation")
        assert second.smallest == 4 / 64

    def test_seeds_of_their_own_leave_one_test(self):
        assert [test.test for test in spread_tests(self.SCORES, self.SCORES, None)] == ["Brown-Forsythe"]

    def test_four_runs_can_show_nothing(self):
        (found,) = spread_tests(self.SCORES[:4], 9 * self.SCORES, None)
        assert math.isnan(found.p)
        assert found.smallest == 1

    def test_a_recipe_without_spread_is_not_tested(self):
        assert all(math.isnan(test.p) for test in spread_tests(self.SCORES, np.full(7, 0.8), pairs(7)))


class TestFailures:
    def test_five_against_none_of_five_by_hand(self):
        # 2 of the 252 ways to deal five failures to ten runs put all on one side.
        assert failure_test(5, 5, 0, 5)[:3] == (pytest.approx(2 / 252), "Fisher", pytest.approx(2 / 252))
        # Two failures in all, whichever recipe they fall to: 2 C(5, 2) / C(10, 2).
        assert failure_test(1, 5, 1, 5).attainable == pytest.approx(20 / 45)

    def test_three_runs_can_show_nothing(self):
        assert failure_test(3, 3, 0, 3).smallest == pytest.approx(0.1)

    def test_no_runs_allow_no_test(self):
        assert math.isnan(failure_test(0, 0, 2, 5).p)


class TestSharedRuns:
    def test_runs_are_matched_by_seed_in_any_order(self):
        assert shared_runs(["0", "1", "2"], ["2", "0", "1"]).tolist() == [[0, 1], [1, 2], [2, 0]]

    def test_a_lost_run_leaves_the_others_paired(self):
        assert shared_runs(["0", "1", "2", "3"], ["0", "1", "3"]).tolist() == [[0, 0], [1, 1], [3, 2]]

    def test_recipes_of_which_half_the_runs_have_no_partner_are_not_paired(self):
        assert shared_runs(list("0123"), list("2345")) is None
        assert shared_runs([], list("01")) is None
        assert shared_runs(list("0123456789"), list("01234")) is None


class TestHolm:
    def test_four_p_values_by_hand(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_what_was_not_tested_does_not_count(self):
        assert holm([0.02, math.nan, 0.5]) == pytest.approx([0.04, math.nan, 0.5], nan_ok=True)
        assert len(holm([])) == 0

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_it_lies_between_the_raw_p_value_and_bonferronis_and_keeps_the_order(self, raw):
        adjusted = holm(raw)
        assert (adjusted >= np.array(raw) - 1e-12).all()
        assert (adjusted <= np.minimum(1, len(raw) * np.array(raw)) + 1e-12).all()
        assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()
        assert min(adjusted) == pytest.approx(min(1, len(raw) * min(raw)))
