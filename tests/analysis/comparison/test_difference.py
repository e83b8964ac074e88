"""Differences between two cohorts: hand-computed intervals, what shared draws cancel, and how often they err."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from simulated import draw_cohort

from steadytune.analysis.comparison.difference import differences
from steadytune.analysis.profile import profile
from steadytune.records import Cohort

pytestmark = pytest.mark.slow


def halves(model, runs, generator):
    """Two recipes that differ by luck alone, on the same 40 examples, with seeds of their own."""
    both = draw_cohort(model, 2 * runs, 40, generator)
    return [
        Cohort(
            scores=both.scores[part],
            logits=both.logits[part],
            labels=both.labels,
            metric="accuracy",
            seeds=tuple(map(str, range(2 * runs)[part])),
        )
        for part in (slice(runs), slice(runs, None))
    ]


def compared(ours, theirs):
    return differences(profile(ours), profile(theirs))


def test_failed_runs_have_newcombes_interval_by_hand(make_cohort):
    # Newcombe 1998, table II: 56 of 70 against 48 of 80, method 10 gives .0524 to .3339.
    ours, theirs = (
        make_cohort(scores=np.linspace(0.7, 0.8, runs), failed=np.arange(runs) < failed)
        for failed, runs in ((56, 70), (48, 80))
    )
    assert compared(ours, theirs)["failed"].interval == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_scores_alone_have_the_paired_t_interval_nearly(make_cohort):
    generator = np.random.default_rng(0)
    theirs, ours = generator.normal(0.8, 0.02, 20), generator.normal(0.81, 0.04, 20)
    found = compared(make_cohort(scores=ours), make_cohort(scores=theirs))["mean"]
    expected = stats.ttest_rel(ours, theirs)
    assert found.interval == pytest.approx((np.mean(ours - theirs), *expected.confidence_interval()), abs=1e-9)
    assert found.significance.p == pytest.approx(expected.pvalue)


def test_scores_alone_of_other_seeds_have_welchs_interval(make_cohort):
    generator = np.random.default_rng(1)
    theirs, ours = generator.normal(0.8, 0.02, 6), generator.normal(0.83, 0.04, 9)
    cohorts = make_cohort(scores=ours, seeds=tuple("abcdefghi")), make_cohort(scores=theirs)
    found = compared(*cohorts)["mean"]
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.interval[1:] == pytest.approx(tuple(expected.confidence_interval()), abs=1e-9)
    assert found.significance.p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("seed", range(6))
def test_interval_and_p_value_never_contradict_each_other(make_cohort, seed):
    generator = np.random.default_rng(seed)
    runs = 5 + 2 * seed
    ours, theirs = halves("collapse" if seed % 2 else "spread", runs, generator)
    shifted = dataclasses.replace(ours, scores=np.clip(ours.scores + 0.02 * seed, 0, 1), metric="my own")
    failed = [make_cohort(scores=np.linspace(0.7, 0.8, runs), failed=np.arange(runs) < count) for count in (seed, 0)]
    for pair in ((ours, theirs), (shifted, theirs), failed):
        for name, found in compared(*pair).items():
            equal = 1 if name == "sd_ratio" else 0
            if found.ends is None:
                assert math.isnan(found.interval.low)
                continue
            assert found.interval.excludes(equal) == (found.significance.p < 0.05), name
            for p_adjusted in {min(1.0, 2 * found.significance.p), min(1.0, 7 * found.significance.p)}:
                assert found.adjust(p_adjusted).adjusted.excludes(equal) == (p_adjusted < 0.05), name


@pytest.mark.parametrize(
    ("ours", "theirs"), [((7, 24), (0, 26)), ((0, 30), (4, 32)), ((4, 30), (0, 32)), ((2, 9), (0, 9))]
)
def test_the_interval_of_failures_follows_the_exact_test_at_every_level(make_cohort, ours, theirs):
    cohorts = [
        make_cohort(scores=np.linspace(0.7, 0.8, runs), failed=np.arange(runs) < failed)
        for failed, runs in (ours, theirs)
    ]
    found = compared(*cohorts)["failed"]
    for level in (0.2, 0.05, 0.0125, 0.005, 0.001):
        assert found.ends(level).excludes(0) == (found.significance.p < level)


def test_two_collapses_against_none_are_no_difference_of_spreads(make_cohort):
    standard = make_cohort(scores=[0.5, 0.81, 0.8, 0.5, 0.79])
    found = compared(make_cohort(scores=[0.801, 0.8, 0.802, 0.8, 0.799]), standard)["sd_ratio"]
    # stats.levene(center="median") says .12.
    assert found.significance.p == pytest.approx(0.12, abs=0.005)
    assert found.interval.high == 1


def test_a_difference_stays_in_its_range(make_cohort):
    cohorts = make_cohort(scores=[0.05, 0.9, 0.95]), make_cohort(scores=[0.9, 0.02, 0.1], recipe="mmr")
    interval = compared(*cohorts)["mean"].interval
    assert interval.low == -1
    assert interval.high == 1


def test_a_recipe_does_not_differ_from_itself():
    cohort, _ = halves("shared", 8, np.random.default_rng(1))
    found = compared(cohort, cohort)
    for name, difference in found.items():
        assert difference.interval.value == pytest.approx(1 if name.startswith("sd") else 0) or math.isnan(
            difference.interval.value
        )
        assert not difference.significance.p < 1


def test_swapped_roles_turn_every_difference_round():
    one, other = halves("shared", 6, np.random.default_rng(2))
    there, back = compared(one, other), compared(other, one)
    for name in ("mean", "disagreement", "kappa", "jensen_shannon", "failed"):
        value, low, high = back[name].interval
        assert there[name].interval == pytest.approx((-value, -high, -low))
        assert there[name].significance.p == pytest.approx(back[name].significance.p)
    value, low, high = back["sd_ratio"].interval
    assert there["sd_ratio"].interval == pytest.approx((1 / value, 1 / high, 1 / low))


def test_shared_examples_cancel():
    ours, theirs = halves("independent", 20, np.random.default_rng(3))
    apart = [profile(cohort).mean for cohort in (ours, theirs)]
    alone = math.hypot(*(mean.high - mean.value for mean in apart))
    interval = compared(ours, theirs)["mean"].interval
    assert interval.high - interval.value < 0.8 * alone


def test_disagreement_that_differs_is_found():
    ours, theirs = halves("independent", 20, np.random.default_rng(4))
    steadier = dataclasses.replace(ours, logits=np.median(ours.logits, axis=0) + 0.2 * ours.logits)
    found = compared(steadier, theirs)["disagreement"]
    assert found.interval.high < 0
    assert found.significance.p < 0.01
    assert found.significance.test == "bootstrap t"


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_fewer_than_three_runs_have_no_interval(make_cohort, runs):
    cohorts = [make_cohort(scores=np.linspace(0.7, top, runs), recipe=str(top)) for top in (0.8, 0.9)]
    for name, found in compared(*cohorts).items():
        if name != "failed" or not runs:
            assert math.isnan(found.interval.low)
            assert math.isnan(found.significance.p)


def test_what_was_not_recorded_has_no_difference(make_cohort):
    found = compared(make_cohort(scores=[0.7, 0.8, 0.9]), make_cohort(scores=[0.7, 0.75, 0.9]))
    assert math.isnan(found["disagreement"].interval.value)
    assert found["disagreement"].significance.smallest == 1


def test_representations_are_compared_at_the_last_layer(make_cohort):
    generator = np.random.default_rng(5)
    common = generator.standard_normal((2, 10, 4))
    ours, theirs = (
        make_cohort(
            scores=[0.7, 0.8, 0.9, 0.75],
            representations=[common + noise * generator.standard_normal(common.shape) for _ in range(4)],
        )
        for noise in (0.1, 1.0)
    )
    value = profile(ours).last("procrustes").value - profile(theirs).last("procrustes").value
    found = compared(ours, theirs)["procrustes"]
    assert found.interval.value == pytest.approx(value)
    assert found.interval.low < value < found.interval.high


@pytest.mark.parametrize(("runs", "model"), [(5, "shared"), (20, "collapse")])
def test_recipes_that_do_not_differ_are_seldom_told_apart(runs, model):
    generator = np.random.default_rng(6)
    pairs = 20
    wrong = dict.fromkeys(("mean", "sd_ratio", "disagreement", "kappa", "jensen_shannon"), 0)
    for _ in range(pairs):
        found = compared(*halves(model, runs, generator))
        for name in wrong:
            wrong[name] += found[name].interval.excludes(1 if name == "sd_ratio" else 0)
    assert max(wrong.values()) <= pairs * (0.05 + 3 * math.sqrt(0.05 * 0.95 / pairs))


def test_differences_end_where_the_measures_do(make_cohort, wrong_at):
    # 1 - kappa of three runs is at most 3/2.
    ours = make_cohort([[0] * 10, wrong_at(0), wrong_at(7)], seeds=("a", "b", "c"))
    found = compared(ours, make_cohort([wrong_at(1), wrong_at(2), wrong_at(1, 3)]))["kappa"]
    assert np.isfinite(found.significance.p)
    assert -1.5 <= found.interval.low < found.interval.high <= 1.5
