"""Two single runs, example by example, and one run beside several."""

import math

import numpy as np
import pytest
from saying import names, says
from scipy import stats

from steadytune import Cohort, UserError, compare_runs
from steadytune.analysis.comparison.placed import describe_place, place_run
from steadytune.analysis.comparison.single import mcnemar

LABELS = np.arange(100) % 2


def run(wrong, name, **fields):
    answers = np.where(np.isin(np.arange(100), list(wrong)), 1 - LABELS, LABELS)
    return Cohort(predictions=[answers], labels=LABELS, recipe=name, **fields)


def test_examples_that_go_from_wrong_to_right_and_back_are_counted():
    found = compare_runs(run(range(20), "old"), run(range(15, 25), "new"))
    assert (found.mended, found.spoiled, int(found.changed.sum())) == (15, 5, 20)
    assert found.difference.value == pytest.approx(0.10)
    # 2 P(Binomial(20, 1/2) <= 5) = 2 * 21700 / 2^20.
    assert found.p == pytest.approx(2 * 21700 / 2**20)
    assert names(found.sentences[1], "15", "5")
    assert names(found.sentences[0], "higher", "better")
    assert len(found.sentences) == 3


@pytest.mark.parametrize("examples", [30, 200])
def test_the_interval_leaves_out_0_exactly_where_the_test_rejects(examples):
    for mended in range(15):
        for spoiled in range(15):
            interval, p = mcnemar(mended, spoiled, examples)
            assert interval.low <= interval.value <= interval.high
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0), (mended, spoiled)


def test_no_example_that_differs_still_leaves_a_doubt():
    # Wilson's upper end of 0 in 100: z^2 / (100 + z^2).
    z = stats.norm.ppf(0.975) ** 2
    interval, p = mcnemar(0, 0, 100)
    assert (interval.value, p) == (0, 1)
    assert interval.high == pytest.approx(z / (100 + z)) == -interval.low


def test_ten_per_cent_of_few_examples_may_be_chance():
    found = compare_runs(run(range(8), "old"), run(range(4), "new"))
    # 4 mended, none spoiled: p = 2 / 2^4.
    assert found.p == pytest.approx(0.125)
    assert "better" not in found.sentences[0]
    assert not found.significant


def test_examples_in_groups_are_drawn_in_groups():
    groups = np.arange(100) // 10
    # Two whole groups are mended: 20 examples of one kind each, but two of ten groups.
    old, new = run(range(20), "old", groups=groups), run((), "new", groups=groups)
    found = compare_runs(old, new, resamples=4000)
    # Mean of ten group differences, two of them 1: error sqrt(.2 * .8 / 9), Student's t with 9 degrees of freedom.
    error = math.sqrt(0.2 * 0.8 / 9)
    assert found.p == pytest.approx(2 * stats.t.sf(0.2 / error, 9), rel=0.1)
    assert found.p > 0.05 > compare_runs(run(range(20), "old"), run((), "new")).p
    assert "10 groups" in found.test


def test_a_metric_that_is_no_mean_over_examples_is_resampled_in_pairs():
    old = run(range(30), "old", scores=[0.4], metric="matthews")
    # 50 of each class: of the one 15 and 15 are wrong, of the other 3 and 2.
    score = (47 * 48 - 3 * 2) / math.sqrt(51 * 50 * 50 * 49)
    new = run(range(5), "new", scores=[score], metric="matthews")
    found = compare_runs(old, new)
    assert found.difference.value == pytest.approx(score - 0.4)
    assert found.p < 0.001
    assert found.difference.low > 0


def test_a_loss_that_falls_is_better():
    def predicting(share, name):
        probabilities = np.full((1, 100, 2), 1 - share)
        probabilities[0, np.arange(100), LABELS] = share + 0.001 * np.arange(100)
        probabilities[0, np.arange(100), 1 - LABELS] = 1 - share - 0.001 * np.arange(100)
        loss = -np.log(share + 0.001 * np.arange(100)).mean()
        return Cohort(probabilities=probabilities, labels=LABELS, scores=[loss], metric="log_loss", recipe=name)

    found = compare_runs(predicting(0.6, "old"), predicting(0.7, "new"))
    assert found.difference.value < 0
    assert names(found.sentences[0], "lower", "better")
    assert "points" not in found.sentences[0]


def test_a_score_that_does_not_follow_from_the_answers_has_no_interval():
    old, new = (run(range(5), name, scores=[score], metric="score") for name, score in (("old", 0.7), ("new", 0.8)))
    found = compare_runs(old, new)
    assert math.isnan(found.p)
    assert math.isnan(found.difference.low)
    assert "unknown" in found.sentences[0]


def test_one_run_under_two_names_is_called_that():
    logits = np.random.default_rng(0).normal(size=(1, 100, 2))
    old, new = (Cohort(logits=logits, labels=LABELS, recipe=name) for name in ("old", "new"))
    found = compare_runs(old, new)
    assert found.identical
    assert "two" in found.sentences[1]


def test_texts_are_right_where_they_equal_the_reference():
    old = Cohort(generations=[["a", "x", "c", "y"]], references=["a", "b", "c", "d"], recipe="old")
    new = Cohort(generations=[["a", "b", "z", "w"]], references=["a", "b", "c", "d"], recipe="new")
    found = compare_runs(old, new)
    assert (found.mended, found.spoiled, int(found.changed.sum())) == (1, 1, 3)


def test_outputs_of_a_regression_are_compared_as_numbers():
    targets = np.arange(50.0)
    old, new = (
        Cohort(logits=(targets + shift)[None, :, None], labels=targets, scores=[1.0], kind="regression",
               metric="pearson", recipe=name)
        for name, shift in (("old", 0.0), ("new", 2.0))
    )  # fmt: skip
    found = compare_runs(old, new)
    assert found.moved == pytest.approx(2.0)
    assert found.mended is None
    assert found.changed is None


def test_several_runs_are_no_single_run():
    several = Cohort(predictions=[LABELS, LABELS], labels=LABELS, recipe="old")
    with pytest.raises(UserError, match=says("old", "2 runs", "one")):
        compare_runs(several, run((), "new"))


def test_one_run_among_several_has_a_place_and_nothing_more():
    wrong = [range(10), range(5, 16), range(20, 32), range(40, 53), range(60, 74)]
    answers = [np.where(np.isin(np.arange(100), list(each)), 1 - LABELS, LABELS) for each in wrong]
    others = Cohort(predictions=answers, labels=LABELS, recipe="old")
    found = place_run(run(range(80, 84), "new"), others)
    scores = np.array([0.90, 0.89, 0.88, 0.87, 0.86])
    half = stats.t.ppf(0.975, 4) * scores.std(ddof=1) * math.sqrt(1.2)
    assert found.expected == pytest.approx((0.88, 0.88 - half, 0.88 + half))
    assert found.beyond
    assert found.disagreement == pytest.approx((10 + 11 + 12 + 13 + 14 + 5 * 4) / 500)
    said = describe_place(run(range(80, 84), "new"), others)
    # The highest or the lowest of six: two in six.
    assert names(" ".join(said), "outside", "one run in 3", "33 %")
    assert names(said[-1], "One run", "new")


def test_one_run_under_two_names_is_said_to_be_so_of_classes_and_texts_too():
    found = compare_runs(run(range(20), "old"), run(range(20), "new"))
    assert found.identical
    assert "two" in found.sentences[1]
    # Two perfect runs are alike for another reason.
    assert not compare_runs(run((), "old"), run((), "new")).identical
    texts = [Cohort(generations=[["a", "b"]], references=["a", "c"], recipe=name) for name in ("old", "new")]
    assert compare_runs(*texts).identical
