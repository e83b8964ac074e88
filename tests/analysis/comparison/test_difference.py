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


def compared(ours, theirs, comparisons=1):
    return differences(profile(ours), profile(theirs), comparisons)


def test_failed_runs_have_newcombes_interval_by_hand(make_cohort):
    # Newcombe 1998, table II: 56 of 70 against 48 of 80, method 10 gives .0524 to .3339.
    ours, theirs = (
        make_cohort(scores=np.linspace(0.7, 0.8, runs), failed=np.arange(runs) < failed)
        for failed, runs in ((56, 70), (48, 80))
    )
    assert compared(ours, theirs)["failed"].interval == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_scores_alone_have_the_paired_t_interval_nearly(make_cohort):
    generator = np.random.default_rng(0)
    theirs = generator.normal(0.8, 0.02, 20)
    # The same spread, so that neither error is larger.
    ours = 0.01 + theirs[::-1]
    interval = compared(make_cohort(scores=ours), make_cohort(scores=theirs))["mean"].interval
    expected = stats.ttest_rel(ours, theirs).confidence_interval()
    assert interval == pytest.approx((0.01, *expected), abs=0.001)


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
    assert found.significance.test == "bootstrap"


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
