"""The verdict: what it names and counts in typical cases, and no claim that the runs do not carry."""

import re

import numpy as np
import pytest
from saying import names

from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.comparison.verdict import claimed, verdict
from steadytune.records.cohort import LostRun

pytestmark = pytest.mark.slow

# Sample SD of (-1, -.5, 0, .5, 1) is .790569.
STEPS = np.array([-1, -0.5, 0, 0.5, 1])


@pytest.fixture
def sentences():
    """The verdict on cohorts of one task."""

    def say(*cohorts):
        return verdict(compare(cohorts))["", ""]

    return say


def without_intervals(sentence):
    return re.sub(r" \[[^\]]*\]", "", sentence)


def scored(make_cohort, mean, width, runs=STEPS, **fields):
    return make_cohort(scores=mean + width * np.asarray(runs), **fields)


class TestOneCohort:
    def test_an_ordinary_cohort(self, make_cohort, wrong_at, sentences):
        runs = [wrong_at(), wrong_at(0), wrong_at(0, 1), wrong_at(0), wrong_at()]
        # Scores 1, .9, .8, .9, 1; ten pairs differ at 1, 2, 1, 0, 1, 0, 1, 1, 2, 1 of 10 examples.
        (sentence,) = sentences(make_cohort(runs))
        assert names(without_intervals(sentence), "standard: ", "accuracy", "92.0", "SD 8.4 points", "disagree", "10 %")

    def test_collapsed_seeds_are_named_with_their_score(self, make_cohort, wrong_at, sentences):
        runs = [wrong_at(), wrong_at(0), [0] * 10, wrong_at(1), [0] * 10]
        (sentence,) = sentences(make_cohort(runs, seeds=("0", "1", "3", "5", "7")))
        collapsed = ["standard: seeds 3 and 7", "collapsed", "majority class", "60.0"]
        assert names(without_intervals(sentence), *collapsed, "accuracy", "80.0", "SD 18.7 points", "5.8")

    def test_a_collapse_to_another_class_and_a_run_that_learned_nothing_are_told_apart(
        self, make_cohort, wrong_at, sentences
    ):
        runs = [wrong_at(), wrong_at(0), [1] * 10, wrong_at(0, 1, 6, 7), wrong_at(2)]
        (sentence,) = sentences(make_cohort(runs))
        assert names(sentence, "standard: seed 2", "collapsed", "class", "40.0", "seed 3", "60.0", "accuracy")
        assert sentence.count("collapsed") == 1
        assert "majority class" not in sentence

    def test_failed_runs_of_a_regression_are_not_called_collapsed(self, make_cohort, sentences):
        (sentence,) = sentences(make_cohort(scores=[0.8, 0.81, 0.0, 0.82, -0.1], metric="pearson", kind="regression"))
        assert names(sentence, "seeds 2 and 4", "-10.0 to 0.0", "pearson")
        assert "collapsed" not in sentence
        assert "disagree" not in sentence

    def test_predictions_of_a_regression_are_set_beside_the_spread_of_the_labels(self, make_cohort, sentences):
        # Labels 0 to 9 have an SD of 3.028; runs that are 0, 1 and 2 off are 1, 1 and 2 apart.
        labels, shifts = np.arange(10.0), np.arange(3.0)
        fields = {"kind": "regression", "metric": "rmse", "failed": None, "scores": shifts}
        (sentence,) = sentences(make_cohort(logits=(labels + shifts[:, None])[..., None], labels=labels, **fields))
        assert names(sentence, "predictions", "1.333", "RMSE", "44 %", "SD")
        assert "disagree" not in sentence
        same = make_cohort(logits=np.tile(labels[:, None], (3, 1, 1)), labels=labels, **fields)
        assert names(sentences(same)[0], "prediction")
        assert "RMSE" not in sentences(same)[0]

    def test_recipes_of_a_regression_are_compared_by_how_far_their_predictions_are_apart(self, make_cohort, sentences):
        generator = np.random.default_rng(0)
        labels = generator.normal(size=60)

        def runs(width, name):
            logits = (labels + width * generator.normal(size=(10, 60)))[..., None]
            rmse = np.sqrt(((logits[..., 0] - labels) ** 2).mean(axis=1))
            return make_cohort(
                logits=logits, labels=labels, scores=rmse, kind="regression", metric="rmse", failed=None, recipe=name
            )

        against = sentences(runs(0.5, "standard"), runs(0.1, "calm"))[1]
        assert names(against, "predictions", "less", "RMSE -0.5")

    def test_lost_runs_are_named_with_their_reason(self, make_cohort, sentences):
        lost = (
            LostRun("3", "diverged", "the loss is nan at step 30"),
            LostRun("4", "diverged", "the loss is nan at step 30"),
            LostRun("5", "failed", "RuntimeError: out of memory"),
        )
        (sentence,) = sentences(make_cohort(scores=[0.7, 0.75, 0.8], lost=lost))
        diverged = ["standard: seeds 3 and 4", "diverged", "the loss is nan at step 30"]
        crashed = ["seed 5", "crashed", "RuntimeError: out of memory"]
        scores = ["accuracy", "75.0", "SD 5.0 points [2.6, 31.4]", "three seeds", "factor of 12"]
        assert names(sentence, *diverged, *crashed, *scores)

    def test_a_study_in_which_every_run_is_lost(self, make_cohort, sentences):
        lost = tuple(LostRun(str(seed), "diverged", "the loss is nan") for seed in range(5))
        (sentence,) = sentences(make_cohort(scores=[], lost=lost))
        assert names(sentence, "standard: ", "five seeds", "diverged", "the loss is nan", "no run")
        assert "accuracy" not in sentence

    def test_one_run(self, make_cohort, sentences):
        (sentence,) = sentences(make_cohort(scores=[0.712]))
        assert names(sentence, "standard: one seed", "accuracy", "71.2", "two")
        assert "SD" not in sentence

    def test_disagreement_that_the_scores_hide_is_said(self, make_cohort, sentences):
        generator = np.random.default_rng(0)
        labels = np.repeat([0, 1], 500)
        wrong = np.zeros((5, 1000), dtype=bool)
        for run, errors in enumerate([100, 101, 100, 99, 100]):
            wrong[run, generator.permutation(1000)[:errors]] = True
        predictions = labels ^ wrong
        logits = np.stack([1 - predictions, predictions], axis=-1).astype(float)
        cohort = make_cohort(scores=1 - wrong.mean(axis=1), logits=logits, labels=labels)
        assert names(without_intervals(sentences(cohort)[0]), "SD 0.07 points", "0.2 points", "disagree", "18 %")

    def test_runs_that_score_the_same_but_disagree(self, make_cohort, wrong_at, sentences):
        (sentence,) = sentences(make_cohort([wrong_at(0), wrong_at(1), wrong_at(2)]))
        assert names(sentence, "standard: all three seeds", "same", "accuracy", "90.0", "disagree", "20 %")
        assert "SD" not in sentence

    def test_runs_that_agree_on_everything(self, make_cohort, wrong_at, sentences):
        (sentence,) = sentences(make_cohort([wrong_at(0), wrong_at(0)]))
        assert names(sentence, "standard: both seeds", "same", "accuracy", "90.0", "disagree", "any")
        assert "%" not in sentence

    def test_runs_without_a_recipe_or_seeds(self, make_cohort, sentences):
        cohort = scored(make_cohort, 0.8, 0.02, recipe="", seeds=("a.npz", "b.npz", "c.npz", "d.npz", "e.npz"))
        (sentence,) = sentences(cohort)
        assert names(sentence, "runs: ", "accuracy", "80.0", "SD 1.6 points [0.9, 4.5].")
        assert "npz" not in sentence

    def test_many_failed_runs_are_counted_instead_of_named(self, make_cohort, sentences):
        (sentence,) = sentences(make_cohort(scores=np.r_[np.full(8, 0.5), np.linspace(0.7, 0.8, 12)]))
        assert names(sentence, "standard: 8 of 20 seeds", "50.0", "accuracy")
        assert "seeds 0" not in sentence

    def test_scores_that_differ_by_rounding_alone_are_the_same(self, make_cohort, sentences):
        assert np.std([0.1] * 3) > 0
        (sentence,) = sentences(make_cohort(scores=[0.1] * 3, failed=None, majority_score=None))
        assert names(sentence, "standard: all three seeds", "same", "accuracy", "10.0")
        assert "SD" not in sentence


# Another order of the steps, so that shared seeds do not move two recipes alike.
MIXED = STEPS[[2, 0, 1, 4, 3]]


class TestAgainstTheBaseline:
    def test_five_seeds_that_cannot_tell_two_recipes_apart(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.81, 0.03, MIXED, recipe="mmr")
        words = sentences(standard, mmr)
        assert names(words[0], "standard: ", "accuracy", "80.0", "SD 3.2 points [1.9, 9.1].")
        # The scores of a seed correlate at .6, and there are two tests:
        # (2.24 + .84)^2 (.0237^2 + .0316^2 - 1.2 .0237 .0316) / .01^2 = 62.9, and a few more for Student's t.
        assert re.fullmatch(
            r"mmr: .*accuracy .*81\.0.* SD 2\.4 points \[1\.4, 6\.8\]\. "
            r".*standard: accuracy \+1\.0 points \[-\d\.\d, \d\.\d\] \(p = 0\.\d+\), "
            r"SD 0\.75x \[0\.\d\d, \d\.\d\d\] \(p = 0\.\d+\).* five seeds .* too few .*\. "
            r".*\b66 .* 1 point .*\b35 .* SD ratio of 2.* two tests.*\.",
            words[1],
        )

    def test_the_difference_to_be_seen_may_be_chosen(self, make_cohort):
        comparison = compare([scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.81, 0.03, MIXED, recipe="mmr")])
        assert names(verdict(comparison, detect=0.5)["", ""][1], "0.5 points", "255")

    def test_a_steadier_and_better_recipe(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.9, 0.004, MIXED, recipe="mmr")
        # stats.ttest_rel gives .0017, which two tests double, and stats.levene(center="median") .021.
        words = without_intervals(sentences(standard, mmr)[1]).partition("mmr: ")[2]
        mean, spread = ["accuracy", "higher", "+10.0 points (p = 0.0034)"], ["SD", "lower", "0.10x (p = 0.021)"]
        assert names(words, "standard: ", *mean, *spread)
        assert "too few" not in words

    def test_a_difference_in_spread_alone(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.8, 0.004), scored(make_cohort, 0.8, 0.04, MIXED, recipe="mmr")
        words = without_intervals(sentences(standard, mmr)[1])
        few = ["five seeds", "too few", "means", "1 point", "88", "two tests"]
        assert names(words, "SD", "higher", "10.00x (p = 0.042)", *few)
        assert "SD ratio" not in words

    def test_a_difference_in_mean_alone(self, make_cohort, sentences):
        standard = scored(make_cohort, 0.9, 0.004)
        mmr = scored(make_cohort, 0.8, 0.004, MIXED[:4], recipe="mmr")
        words = sentences(standard, mmr)[1]
        assert names(words, "accuracy", "lower", "-10.0 points", "four and five seeds", "too few", "SDs")
        assert "means" not in words

    def test_three_seeds_can_show_no_difference_of_spreads(self, make_cohort, sentences):
        cohorts = [make_cohort(scores=[0.8, 0.81, 0.83]), make_cohort(scores=[0.8, 0.9, 0.7], recipe="mmr")]
        (impossible,) = [said for said in sentences(*cohorts)[1].split(". ") if "significant" in said]
        assert names(impossible, "three seeds", "SDs")
        assert "means" not in impossible

    def test_two_seeds_can_show_nothing(self, make_cohort, sentences):
        cohorts = [make_cohort(scores=[0.8, 0.81]), make_cohort(scores=[0.82, 0.85], recipe="mmr")]
        words = sentences(*cohorts)[1]
        assert names(words, "accuracy +3.0 points, SD 3.00x", "two seeds", "too few")
        assert names(words, "two seeds", "means and SDs", "significant")

    def test_what_is_not_tested_for_another_reason_than_few_seeds_has_that_reason(
        self, make_cohort, wrong_at, sentences
    ):
        runs = [wrong_at(), wrong_at(0), wrong_at(0, 1), wrong_at(2, 3, 6), wrong_at(7)]
        logits = np.random.default_rng(0).uniform(1, 2, (5, 10, 1)) * np.eye(2)[np.array(runs)]
        same = sentences(make_cohort(runs, logits=logits), make_cohort(runs, logits=logits, recipe="mmr"))[1]
        equal = sentences(make_cohort(scores=[0.9] * 5), make_cohort(scores=[0.8] * 5, recipe="mmr"))[1]
        other = make_cohort(runs, logits=logits, recipe="mmr", seeds=tuple("abcde"))
        copied = sentences(make_cohort(runs, logits=logits), other)[1]
        for words, why in ((same, "seed by seed"), (equal, "too little"), (copied, "duplicate")):
            assert why in words
            assert "significant" not in words

    def test_enough_seeds_say_what_they_would_have_shown(self, make_cohort, sentences):
        scores = np.random.default_rng(0).normal(0.8, 0.01, (2, 40))
        words = sentences(make_cohort(scores=scores[0]), make_cohort(scores=scores[1], recipe="mmr"))[1]
        assert names(words.rpartition("(p")[2], "40 seeds", "1 point", "SD ratio of 2")
        assert "too few" not in words

    def test_words_intervals_and_p_values_say_the_same(self, make_cohort, sentences):
        # A permutation of these scores says .047 where the interval holds 0.
        standard, mmr = scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.81, 0.03, recipe="mmr")
        for words in (
            sentences(standard, mmr)[1],
            sentences(standard, scored(make_cohort, 0.9, 0.03, recipe="mmr"))[1],
        ):
            low, p = map(float, re.search(r"\+\d+\.0 points \[(.*?), .*?\] \(p [=<] ([\d.]+)\)", words).groups())
            assert ("higher" in words) == (low > 0) == (p < 0.05)

    def test_p_values_of_several_recipes_are_adjusted(self, make_cohort, sentences):
        cohorts = [scored(make_cohort, 0.8, 0.04), scored(make_cohort, 0.9, 0.004, MIXED, recipe="mmr")]
        cohorts.append(scored(make_cohort, 0.8, 0.03, MIXED[::-1], recipe="surt"))
        words = sentences(*cohorts)
        # Four tests: the smallest p-value, .0017, counts four times, the next, .021 of the SD, three times.
        assert "(p = 0.0068), SD 0.10x" in without_intervals(words[1])
        assert "(p = 0.062)" in words[1]
        assert names(words[-1], "adjusted", "four tests", "Holm")

    def test_fewer_disagreements_are_claimed(self, make_cohort, sentences):
        generator = np.random.default_rng(0)
        labels = np.zeros(400, dtype=int)

        def cohort(rate, **fields):
            predictions = (generator.random((20, 400)) < rate).astype(int)
            logits = np.stack([1 - predictions, predictions], axis=-1).astype(float)
            return make_cohort(scores=1 - predictions.mean(axis=1), logits=logits, labels=labels, **fields)

        words = sentences(cohort(0.3), cohort(0.1, recipe="mmr"))[1]
        assert names(words, "standard: ", "disagree", "fewer examples", "-2")

    def test_the_baseline_comes_first_wherever_it_stands(self, make_cohort, sentences):
        words = sentences(scored(make_cohort, 0.8, 0.04, recipe="mmr"), scored(make_cohort, 0.8, 0.04))
        assert [sentence.partition(":")[0] for sentence in words] == ["standard", "mmr"]

    def test_two_collapsed_runs_of_five_show_nothing(self, make_cohort, sentences):
        standard = make_cohort(scores=[0.5, 0.81, 0.8, 0.5, 0.79])
        mmr = make_cohort(scores=[0.801, 0.8, 0.802, 0.8, 0.799], recipe="mmr")
        words = without_intervals(sentences(standard, mmr)[1])
        # Plain p-values are .177 and .1155, which counts twice; two failures in all are too few to count as a test.
        failures = ["standard: 0 of 5 seeds", "2 of 5", "Fisher's exact test, p = 0.44"]
        scores = ["Accuracy +12.0 points (p = 0.23), SD 0.01x (p = 0.23)", "five seeds", "too few"]
        assert names(words, *failures, *scores)
        assert "few" not in words.partition("Accuracy")[0]

    def test_many_fewer_failures_are_claimed_by_the_exact_test(self, make_cohort, sentences):
        standard, mmr = scored(make_cohort, 0.5, 0.01), scored(make_cohort, 0.8, 0.01, recipe="mmr")
        test = "Fisher's exact test, p = 0.0079"
        assert names(sentences(standard, mmr)[1], "0 of 5 seeds", "5 of 5", "fewer", test)
        turned = verdict(compare([standard, mmr], baseline="mmr"))["", ""][1]
        assert names(turned, "5 of 5 seeds", "0 of 5", "more", test)

    def test_three_failures_of_three_are_too_few_to_tell_from_luck(self, make_cohort, sentences):
        cohorts = [make_cohort(scores=[0.8, 0.81, 0.83]), make_cohort(scores=[0.5, 0.51, 0.52], recipe="mmr")]
        assert names(sentences(*cohorts)[1], "3 of 3 seeds", "0 of 3", "few seeds")

    def test_diverged_runs_count_as_failures_and_crashed_ones_do_not(self, make_cohort, sentences):
        lost = (LostRun("5", "diverged", "the loss is nan"), LostRun("6", "failed", "out of memory"))
        standard, mmr = scored(make_cohort, 0.8, 0.01), scored(make_cohort, 0.8, 0.01, MIXED, recipe="mmr", lost=lost)
        words = sentences(standard, mmr)[1]
        assert names(words, "1 of 6 seeds", "0 of 5", "Accuracy 0.0 points", "five seeds", "too few")
        assert "more" not in words.partition("Accuracy")[0]

    def test_one_run_is_too_few_to_compare(self, make_cohort, sentences):
        words = sentences(scored(make_cohort, 0.8, 0.04), make_cohort(scores=[0.9], recipe="mmr"))
        against = words[1].partition("mmr: ")[2]
        assert names(against, "standard: too few", "runs")
        assert "(p" not in against

    def test_a_recipe_that_always_diverges_is_compared_by_its_failures(self, make_cohort, sentences):
        lost = tuple(LostRun(str(seed), "diverged", "the loss is nan") for seed in range(5))
        words = sentences(scored(make_cohort, 0.8, 0.04), make_cohort(scores=[], recipe="mmr", lost=lost))
        test = "Fisher's exact test, p = 0.0079"
        assert names(words[1], "5 of 5 runs", "0 of 5", "more", test, "Too few", "runs")

    def test_equal_scores_have_no_ratio(self, make_cohort, sentences):
        words = sentences(scored(make_cohort, 0.8, 0.04), make_cohort(scores=[0.8] * 5, recipe="mmr"))
        assert names(words[1], "standard: ", "SD", "mmr", "same", "five seeds", "too few")
        assert not re.search(r"SD [\d.]+x", words[1])

    def test_equal_recipes_seldom_get_a_claim(self, make_cohort):
        generator = np.random.default_rng(0)
        claims = 0
        for scores in np.where(generator.random((100, 2, 5)) < 1 / 7, 0.53, generator.normal(0.8, 0.02, (100, 2, 5))):
            cohorts = [
                make_cohort(scores=row, recipe=name) for row, name in zip(scores, ("standard", "mmr"), strict=True)
            ]
            _, row = compare(cohorts).rows()
            claims += any(claimed(row, measure) for measure in row.differences)
        assert claims <= 0.1 * 100


def test_a_training_that_had_hardly_begun_is_said_before_its_score(make_cohort, sentences):
    # Guessing among classes of 6 and 4 in 10 has a loss of .6730; .8 of it is .5384.
    ends = [[0.70, 0.60], [0.68, 0.62], [0.71, 0.61]]
    (sentence,) = sentences(scored(make_cohort, 0.8, 0.02, [-1, 0, 1], losses=ends, labels=np.arange(10) > 5))
    assert names(sentence, "standard: ", "training", "0.70", "0.61", "0.67", "accuracy")
    (sentence,) = sentences(
        scored(make_cohort, 0.8, 0.02, [-1, 0, 1], losses=[*ends[:2], [0.7, 0.53]], labels=np.arange(10) > 5)
    )
    assert names(sentence, "training", "0 and 1", "0.67", "accuracy")
    (sentence,) = sentences(
        scored(make_cohort, 0.8, 0.02, [-1, 0, 1], losses=[[0.7, 0.53]] * 3, labels=np.arange(10) > 5)
    )
    assert "training" not in sentence


def test_losses_that_nobody_recorded_say_nothing(make_cohort, sentences):
    (sentence,) = sentences(
        scored(make_cohort, 0.8, 0.02, [-1, 0, 1], losses=[[np.nan, np.nan]] * 3, labels=np.arange(10) > 5)
    )
    assert "training" not in sentence
