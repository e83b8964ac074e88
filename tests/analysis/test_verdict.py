"""The verdict: whole sentences for typical cases, and no claim that the runs do not carry."""

import numpy as np
import pytest

from steadytune.analysis.compare import compare
from steadytune.analysis.verdict import verdict
from steadytune.records.cohort import LostRun

# Sample SD of (-1, -.5, 0, .5, 1) is .790569.
STEPS = np.array([-1, -0.5, 0, 0.5, 1])


@pytest.fixture
def sentences():
    """The verdict on cohorts of one task."""

    def say(*cohorts):
        return verdict(compare(cohorts))["", ""]

    return say


def scored(make_cohort, mean, width, runs=STEPS, **fields):
    return make_cohort(scores=mean + width * np.asarray(runs), **fields)


class TestOneCohort:
    def test_an_ordinary_cohort(self, make_cohort, wrong_at, sentences):
        runs = [wrong_at(), wrong_at(0), wrong_at(0, 1), wrong_at(0), wrong_at()]
        # Scores 1, .9, .8, .9, 1; ten pairs differ at 1, 2, 1, 0, 1, 0, 1, 1, 2, 1 of 10 examples.
        assert sentences(make_cohort(runs)) == [
            "standard: accuracy 92.0 on average, score SD 8.4 points [5.0, 24.0]; "
            "on average two runs disagree on 10 % of the examples."
        ]

    def test_collapsed_seeds_are_named_with_their_score(self, make_cohort, wrong_at, sentences):
        runs = [wrong_at(), wrong_at(0), [0] * 10, wrong_at(1), [0] * 10]
        (sentence,) = sentences(make_cohort(runs, seeds=("0", "1", "3", "5", "7")))
        assert sentence.startswith(
            "standard: seeds 3 and 7 collapsed to the majority class (60.0); accuracy 80.0 on average, "
            "score SD 18.7 points [11.2, 53.8] (5.8 without the failed);"
        )

    def test_a_collapse_to_another_class_and_a_run_that_learned_nothing_are_told_apart(
        self, make_cohort, wrong_at, sentences
    ):
        runs = [wrong_at(), wrong_at(0), [1] * 10, wrong_at(0, 1, 6, 7), wrong_at(2)]
        (sentence,) = sentences(make_cohort(runs))
        assert sentence.startswith(
            "standard: seed 2 collapsed to one class (40.0); "
            "seed 3 scores no better than always giving one answer (60.0);"
        )

    def test_failed_runs_of_a_regression_are_not_called_collapsed(self, make_cohort, sentences):
        (sentence,) = sentences(make_cohort(scores=[0.8, 0.81, 0.0, 0.82, -0.1], metric="pearson", kind="regression"))
        assert "seeds 2 and 4 score no better than always giving one answer (-10.0 to 0.0); pearson" in sentence
        assert "disagree" not in sentence

    def test_lost_runs_are_named_with_their_reason(self, make_cohort, sentences):
        lost = (
            LostRun("3", "diverged", "the loss is nan at step 30"),
            LostRun("4", "diverged", "the loss is nan at step 30"),
            LostRun("5", "failed", "RuntimeError: out of memory"),
        )
        (sentence,) = sentences(make_cohort(scores=[0.7, 0.75, 0.8], lost=lost))
        assert sentence == (
            "standard: seeds 3 and 4 diverged (the loss is nan at step 30); "
            "seed 5 crashed (RuntimeError: out of memory); "
            "accuracy 75.0 on average, score SD 5.0 points [2.6, 31.4], "
            "which three seeds leave uncertain by a factor of 12."
        )

    def test_a_study_in_which_every_run_is_lost(self, make_cohort, sentences):
        lost = tuple(LostRun(str(seed), "diverged", "the loss is nan") for seed in range(5))
        assert sentences(make_cohort(scores=[], lost=lost)) == [
            "standard: all five seeds diverged (the loss is nan); no run finished, so there is nothing to measure."
        ]

    def test_one_run(self, make_cohort, sentences):
        assert sentences(make_cohort(scores=[0.712])) == [
            "standard: one seed with accuracy 71.2: instability needs at least two."
        ]

    def test_disagreement_that_the_scores_hide_is_said(self, make_cohort, sentences):
        generator = np.random.default_rng(0)
        labels = np.repeat([0, 1], 500)
        wrong = np.zeros((5, 1000), dtype=bool)
        for run, errors in enumerate([100, 101, 100, 99, 100]):
            wrong[run, generator.permutation(1000)[:errors]] = True
        predictions = labels ^ wrong
        logits = np.stack([1 - predictions, predictions], axis=-1).astype(float)
        cohort = make_cohort(scores=1 - wrong.mean(axis=1), logits=logits, labels=labels)
        assert sentences(cohort)[0].endswith(
            "score SD 0.07 points [0.04, 0.2]; the scores agree within 0.2 points, "
            "yet on average two runs disagree on 18 % of the examples."
        )

    def test_runs_that_score_the_same_but_disagree(self, make_cohort, wrong_at, sentences):
        assert sentences(make_cohort([wrong_at(0), wrong_at(1), wrong_at(2)])) == [
            "standard: all three seeds score the same, accuracy 90.0; "
            "yet on average two runs disagree on 20 % of the examples."
        ]

    def test_runs_that_agree_on_everything(self, make_cohort, wrong_at, sentences):
        assert sentences(make_cohort([wrong_at(0), wrong_at(0)])) == [
            "standard: both seeds score the same, accuracy 90.0; no two runs disagree on any example."
        ]

    def test_runs_without_a_recipe_or_seeds(self, make_cohort, sentences):
        cohort = scored(make_cohort, 0.8, 0.02, recipe="", seeds=("a.npz", "b.npz", "c.npz", "d.npz", "e.npz"))
        assert sentences(cohort) == ["these runs: accuracy 80.0 on average, score SD 1.6 points [0.9, 4.5]."]

    def test_many_failed_runs_are_counted_instead_of_named(self, make_cohort, sentences):
        (sentence,) = sentences(make_cohort(scores=np.r_[np.full(8, 0.5), np.linspace(0.7, 0.8, 12)]))
        assert sentence.startswith("standard: 8 of 20 seeds score no better than always giving one answer (50.0);")

    def test_scores_that_differ_by_rounding_alone_are_the_same(self, make_cohort, sentences):
        assert np.std([0.1] * 3) > 0
        assert sentences(make_cohort(scores=[0.1] * 3, failed=None)) == [
            "standard: all three seeds score the same, accuracy 10.0."
        ]


class TestAgainstTheBaseline:
    def test_five_seeds_that_cannot_tell_two_recipes_apart(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.81, 0.03, recipe="mmr")
        assert sentences(standard, mmr) == [
            "standard: accuracy 80.0 on average, score SD 3.2 points [1.9, 9.1].",
            "mmr: accuracy 81.0 on average, score SD 2.4 points [1.4, 6.8]. "
            "Against standard: accuracy +1.0 points [-3.1, 5.1], SD 0.75x [0.24, 2.32]: "
            "five seeds cannot tell them apart.",
        ]

    def test_a_steadier_and_better_recipe(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.9, 0.004, recipe="mmr")
        assert sentences(standard, mmr)[1].endswith(
            "Against standard: accuracy is higher, +10.0 points [6.1, 13.9], SD is lower, 0.10x [0.03, 0.31]."
        )

    def test_a_difference_in_spread_alone(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.8, 0.004), scored(make_cohort, 0.8, 0.04, recipe="mmr")
        assert sentences(standard, mmr)[1].endswith(
            "SD is higher, 10.00x [3.23, 30.99]; five seeds cannot tell the means apart."
        )

    def test_a_difference_in_mean_alone(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.9, 0.004), scored(make_cohort, 0.8, 0.004, STEPS[1:], recipe="mmr")
        words = sentences(standard, mmr)[1]
        assert "accuracy is lower, -9.9 points" in words
        assert words.endswith("; four and five seeds cannot tell the SDs apart.")

    def test_several_recipes_make_a_claim_less_certain(self, make_cohort, sentences):
        cohorts = [scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.9, 0.004, recipe="mmr")]
        cohorts.append(scored(make_cohort, 0.8, 0.04, recipe="surt"))
        assert sentences(*cohorts)[-1] == (
            "Two recipes were compared with standard, each at 95 %: a single difference among them may still be luck."
        )

    def test_the_baseline_comes_first_wherever_it_stands(self, make_cohort, sentences):
        words = sentences(scored(make_cohort, 0.8, 0.04, recipe="mmr"), scored(make_cohort, 0.8, 0.04))
        assert [sentence.partition(":")[0] for sentence in words] == ["standard", "mmr"]

    def test_collapsed_runs_forbid_a_claim_from_the_intervals(self, make_cohort, sentences):
        standard = make_cohort(scores=[0.5, 0.81, 0.8, 0.5, 0.79])
        mmr = make_cohort(scores=[0.801, 0.8, 0.802, 0.8, 0.799], recipe="mmr")
        rows = compare([standard, mmr]).rows()
        assert rows[1].sd_ratio.excludes(1)
        assert sentences(standard, mmr)[1].endswith(
            "Against standard: 0 of 5 seeds went wrong, against 2 of 5, which may be luck "
            "(Fisher's exact test, p = 0.44). "
            "Accuracy +12.0 points [-8.4, 32.5], SD 0.01x [0.00, 0.02]; "
            "these intervals do not hold where runs fail, so nothing follows from them."
        )

    def test_many_fewer_failures_are_claimed_by_the_exact_test(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.5, 0.01), scored(make_cohort, 0.8, 0.01, recipe="mmr")
        assert (
            "0 of 5 seeds went wrong, against 5 of 5: that is fewer (Fisher's exact test, p = 0.0079)."
            in sentences(standard, mmr)[1]
        )
        assert ": that is more (" in verdict(compare([standard, mmr], baseline="mmr"))["", ""][1]

    def test_diverged_runs_count_as_failures_and_crashed_ones_do_not(self, make_cohort, sentences):
        lost = (LostRun("5", "diverged", "the loss is nan"), LostRun("6", "failed", "out of memory"))
        standard, mmr = scored(make_cohort, 0.8, 0.01), scored(make_cohort, 0.8, 0.01, recipe="mmr", lost=lost)
        words = sentences(standard, mmr)[1]
        assert "1 of 6 seeds went wrong, against 0 of 5, which may be luck" in words
        assert words.endswith(
            "Accuracy 0.0 points [-1.2, 1.2], SD 1.00x [0.32, 3.10]: five seeds cannot tell them apart."
        )

    def test_one_run_is_too_few_to_compare(self, make_cohort, sentences):
        words = sentences(scored(make_cohort, 0.8, 0.04), make_cohort(scores=[0.9], recipe="mmr"))
        assert words[1].endswith("Against standard: too few finished runs to compare.")

    def test_equal_scores_have_no_ratio(self, make_cohort, sentences):
        words = sentences(scored(make_cohort, 0.8, 0.04), make_cohort(scores=[0.8] * 5, recipe="mmr"))
        assert "SD cannot be compared since all runs of mmr score the same" in words[1]

    def test_equal_recipes_seldom_get_a_claim(self, make_cohort):
        generator = np.random.default_rng(0)
        cautions = 0
        for scores in np.where(generator.random((200, 2, 5)) < 1 / 7, 0.53, generator.normal(0.8, 0.02, (200, 2, 5))):
            cohorts = [
                make_cohort(scores=row, recipe=name) for row, name in zip(scores, ("standard", "mmr"), strict=True)
            ]
            words = verdict(compare(cohorts))["", ""][1]
            cautions += any(claim in words for claim in (" is higher", " is lower", "that is "))
        assert cautions <= 0.1 * 200
