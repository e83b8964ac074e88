import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.analysis.ensemble import ensemble, ensemble_disagreement
from steadytune.errors import UserError
from steadytune.measures import disagreement, pair_mean
from steadytune.records import Cohort


def test_errors_at_different_places_vanish_in_the_mean(make_cohort, wrong_at):
    cohort = make_cohort([wrong_at(0), wrong_at(1), wrong_at(2, 3)])

    found = ensemble(cohort)

    assert found.runs == 3
    assert found.score == 1.0
    assert found.single == pytest.approx((0.9 + 0.9 + 0.8) / 3)
    assert found.gain == pytest.approx(1 - 2.6 / 3)


def test_probabilities_are_averaged_and_not_votes_or_logits():
    # Two unsure runs say class 1, one sure run says class 0; by logits alone a wildly sure run would win the second.
    probabilities = np.array([[[0.4, 0.6], [0.999, 0.001]], [[0.4, 0.6], [0.3, 0.7]], [[0.9, 0.1], [0.1, 0.9]]])
    cohort = Cohort([0.5, 0.5, 0.5], logits=np.log(probabilities), labels=np.array([0, 1]), metric="accuracy")

    assert ensemble(cohort).score == 1.0
    assert probabilities[:, 1].mean(0).argmax() == 1
    assert np.log(probabilities)[:, 1].mean(0).argmax() == 0


def test_the_score_is_that_of_the_cohorts_metric(make_cohort, wrong_at):
    cohort = make_cohort([wrong_at(0)] * 3, metric="matthews", scores=[0.8, 0.8, 0.8])

    # 5 of 6 and 4 of 4 right: (5 * 4 - 0 * 1) / sqrt(6 * 4 * 5 * 5)
    assert ensemble(cohort).score == pytest.approx(20 / 600**0.5)


def test_ensembles_of_one_disagree_as_two_runs_do(make_cohort, wrong_at):
    cohort = make_cohort([wrong_at(0), wrong_at(1), wrong_at(2, 3), wrong_at(), wrong_at(4)])
    found = ensemble(cohort)

    assert [pair.size for pair in found.pairs] == [1, 2]
    assert found.pairs[0].disagreement == pytest.approx(pair_mean(disagreement(cohort.predictions)))
    assert (found.pairs[0].splits, found.pairs[1].splits) == (10, 15)
    assert all(pair.exhaustive for pair in found.pairs)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), runs=st.integers(2, 6))
def test_it_equals_a_mean_over_all_ordered_pairs_of_sets(seed, runs):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), size=(runs, 7))
    for pair in ensemble_disagreement(probabilities):
        apart = []
        for order in itertools.permutations(range(runs), 2 * pair.size):
            halves = order[: pair.size], order[pair.size :]
            first, second = (sum(probabilities[k] for k in half).argmax(-1) for half in halves)
            apart.append((first != second).mean())

        assert pair.disagreement == pytest.approx(np.mean(apart), abs=1e-12)


def test_where_there_are_too_many_pairs_they_are_drawn_the_same_each_time():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), size=(8, 200))

    whole, drawn, again, other = (
        ensemble_disagreement(probabilities, draws, seed) for draws, seed in ((1000, 0), (30, 0), (30, 0), (30, 1))
    )

    # 8! / (2! 2! 4!) / 2 pairs of two
    assert whole[1].splits == 210
    assert (drawn[1].splits, drawn[1].exhaustive, drawn[0].exhaustive) == (30, False, True)
    assert drawn == again != other
    assert drawn[1].disagreement == pytest.approx(whole[1].disagreement, abs=0.03)


def test_disagreement_falls_with_the_size_where_runs_are_noise_around_one_answer():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 1))
    margin = truth + rng.normal(size=(12, 400, 1))
    shares = 1 / (1 + np.exp(-margin))
    pairs = ensemble_disagreement(np.concatenate([shares, 1 - shares], axis=-1))

    values = [pair.disagreement for pair in pairs]
    assert values == sorted(values, reverse=True)
    assert values[5] < 0.6 * values[0]


def test_a_single_run_is_its_own_ensemble(make_cohort, wrong_at):
    found = ensemble(make_cohort([wrong_at(0)]))

    assert found.score == found.single == 0.9
    assert found.pairs == ()


def test_what_has_no_ensemble_is_refused(make_cohort, wrong_at):
    with pytest.raises(UserError, match=says("standard", "logits", "labels", "classes")):
        ensemble(make_cohort(scores=[0.5, 0.6]))
    with pytest.raises(UserError, match=says("cohort", "logits", "labels", "classes")):
        ensemble(Cohort([0.5], logits=np.zeros((1, 3, 1)), labels=np.arange(3.0), kind="regression", metric="pearson"))
    with pytest.raises(UserError, match=says("f1a", "questions")):
        ensemble(make_cohort([wrong_at(0)], metric="f1a"))
