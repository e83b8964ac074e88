"""Successful against failed runs: means by hand, the sign, the p-value, and when there is nothing to compare."""

import math

import numpy as np
import pytest
from failing_runs import failing_cohort, failing_profile
from saying import names

from steadytune.analysis.profile import profile
from steadytune.analysis.validity.groups import known_groups
from steadytune.records.cohort import LostRun

pytestmark = pytest.mark.slow


def test_the_three_means_are_those_of_the_pairs(make_cohort, wrong_at):
    # Two failed runs that differ on four examples, two successful ones that differ on one.
    cohort = make_cohort([wrong_at(0, 1, 2, 3), wrong_at(6, 7, 8, 9), wrong_at(0), wrong_at()])
    assert cohort.failed.tolist() == [True, True, False, False]
    found = known_groups(profile(cohort)).last()["disagreement"]
    assert found.failed == pytest.approx(0.8)
    assert found.successful == pytest.approx(0.1)
    assert found.between == pytest.approx((0.3 + 0.4 + 0.5 + 0.4) / 4)
    assert found.difference == pytest.approx(0.7)


def test_the_p_value_of_four_runs_by_hand(make_cohort, wrong_at):
    cohort = make_cohort([wrong_at(0, 1, 2, 3), wrong_at(6, 7, 8, 9), wrong_at(0), wrong_at()])
    # The three ways to split four runs into pairs differ by .7, .4 - .4 = 0 and |.5 - .3|; each counts twice.
    assert known_groups(profile(cohort)).last()["disagreement"].p == pytest.approx(2 / 6)


def test_failed_runs_that_are_further_apart_are_seen_with_that_sign_at_every_layer():
    found = known_groups(failing_profile(runs=8, failed=3, apart=5))
    for entry in found.separations:
        if entry.layer is not None:
            assert entry.difference > 0
            assert entry.p == pytest.approx(1 / math.comb(8, 3))
    # By their answers the same runs are alike: all give one.
    assert found.last()["disagreement"].failed == 0
    assert found.last()["disagreement"].difference < 0


def test_failed_runs_that_are_closer_together_are_seen_with_that_sign():
    found = known_groups(failing_profile(runs=8, failed=3, apart=0.2)).last()
    assert all(found[measure].difference < 0 for measure in ("procrustes", "cka"))


def test_many_runs_are_relabelled_at_random_and_p_is_never_zero():
    found = known_groups(failing_profile(runs=20, failed=8, apart=5)).last()["cka"]
    assert found.p == pytest.approx(1 / 10_000)


def test_the_random_labellings_come_close_to_all_of_them(monkeypatch):
    measured = failing_profile(runs=9, failed=4, apart=1.1)
    exact = known_groups(measured).last()
    monkeypatch.setattr("steadytune.analysis.validity.groups._LABELLINGS", 100)
    sampled = known_groups(measured).last()
    for measure, entry in exact.items():
        assert sampled[measure].p == pytest.approx(entry.p, abs=0.15)


def test_runs_that_are_called_failed_by_chance_are_told_apart_no_more_often_than_the_level():
    generator = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        scores = generator.uniform(size=8)
        predictions = generator.integers(0, 2, (8, 30))
        cohort = failing_cohort(
            runs=8,
            failed=3,
            scores=scores,
            logits=np.eye(2)[predictions],
            labels=np.zeros(30, int),
            representations=None,
        )
        p_values.append(known_groups(profile(cohort)).last()["disagreement"].p)
    assert np.mean(np.array(p_values) < 0.05) < 0.08


@pytest.mark.parametrize("failed", [0, 1, 5, 6])
def test_fewer_than_two_runs_of_a_kind_are_said_to_be_too_few(failed):
    found = known_groups(failing_profile(runs=6, failed=failed))
    assert found.separations == ()
    assert names(found.reason, "failed", f"{6 - failed} ", "two")


def test_a_lost_run_left_no_arrays_and_does_not_count_as_failed():
    lost = (LostRun("7", "diverged", "the loss is nan"), LostRun("8", "diverged", "the loss is nan"))
    assert names(known_groups(failing_profile(runs=4, failed=0, lost=lost)).reason, "no failed runs", "4")
