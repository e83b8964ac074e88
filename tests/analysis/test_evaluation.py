"""The evaluation set's own error against the binomial law, and the best of n against all subsets written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import draw_cohort

from steadytune.analysis.evaluation import evaluation_error, expected_of_best
from steadytune.analysis.profile import profile
from steadytune.records import Cohort


def cohort_of(correct):
    """Build runs from (K, N) whether they are right."""
    right = np.asarray(correct, dtype=float)
    return Cohort(logits=np.stack([1 - right, right], axis=-1), labels=np.ones(right.shape[1], dtype=int))


def test_a_single_run_has_the_binomial_error():
    found = evaluation_error(cohort_of([[1] * 80 + [0] * 20]))
    assert found.standard_error == pytest.approx(math.sqrt(0.8 * 0.2 / 100), rel=0.03)
    assert (found.examples, found.expected) == (100, 0.8)
    assert math.isnan(found.seed_sd)


def test_equal_runs_share_their_error_and_opposite_ones_cancel_it():
    run = np.array([1] * 30 + [0] * 30)
    assert evaluation_error(cohort_of([run] * 4)).standard_error == pytest.approx(math.sqrt(0.25 / 60), rel=0.03)
    assert evaluation_error(cohort_of([run, 1 - run])).standard_error == pytest.approx(0, abs=1e-12)


def test_three_runs_give_the_best_of_n_by_hand():
    found = evaluation_error(cohort_of([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]]))
    assert found.seed_sd == pytest.approx(np.std([1, 0.75, 0.25], ddof=1))
    # Of two: 1 in two of the three pairs, .75 in one.
    assert [best.reported for best in found.best_of] == pytest.approx([2 / 3, (1 + 1 + 0.75) / 3, 1])
    assert [best.runs for best in found.best_of] == [1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=6))
def test_the_best_is_the_mean_over_all_subsets_and_ties_are_shared(runs):
    chosen_by, scores = (np.array(column, dtype=float) for column in zip(*runs, strict=True))
    by_hand = []
    for n in range(1, len(runs) + 1):
        subsets = [list(subset) for subset in itertools.combinations(range(len(runs)), n)]
        winners = [[run for run in subset if chosen_by[run] == chosen_by[subset].max()] for subset in subsets]
        by_hand.append(np.mean([scores[winner].mean() for winner in winners]))
    assert expected_of_best(chosen_by, scores) == pytest.approx(by_hand)


def test_choosing_among_equally_good_runs_gains_nothing_although_the_best_looks_better():
    gains = []
    for seed in range(12):
        found = evaluation_error(cohort_of(np.random.default_rng(seed).random((20, 300)) < 0.8), resamples=10)
        first, last = found.best_of[0], found.best_of[-1]
        assert first.obtained == pytest.approx(first.reported) == pytest.approx(found.expected)
        gains.append((last.reported - found.expected, last.obtained - found.expected))
    reported, obtained = np.mean(gains, axis=0)
    assert reported > 0.04
    # What one sample shows scatters by .02, so the mean of twelve by .006.
    assert abs(obtained) < 0.015


def test_choosing_among_runs_that_differ_gains_what_it_promises():
    right = np.random.default_rng(0).random((20, 300)) < np.linspace(0.5, 0.9, 20)[:, None]
    found = evaluation_error(cohort_of(right))
    assert found.best_of[-1].obtained > found.expected + 0.15


def test_odd_numbers_of_examples_have_halves_too():
    assert np.isfinite(evaluation_error(draw_cohort("spread", 4, 31, np.random.default_rng(0))).best_of[1].obtained)


def test_scores_alone_have_a_seed_sd_and_no_error_of_the_examples():
    found = evaluation_error(Cohort(scores=[0.7, 0.8], metric="accuracy"))
    assert found.examples == 0
    assert math.isnan(found.standard_error)
    assert found.best_of[1].reported == 0.8
    assert math.isnan(found.best_of[1].obtained)


@pytest.mark.parametrize("scores", [[], [math.nan, math.nan]])
def test_no_scores_have_no_error(scores):
    found = evaluation_error(Cohort(scores=scores))
    assert found.best_of == ()
    assert math.isnan(found.expected)


def test_the_ensemble_is_scored_by_the_mean_probability() -> None:
    logits = np.log([[[0.6, 0.4], [0.4, 0.6]], [[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.7, 0.3]]])
    # Means over the runs: 0.6 for the first class of the first example, 0.433 for that of the second.
    assert evaluation_error(Cohort(logits=logits, labels=[0, 1])).ensemble == 1.0
    assert evaluation_error(Cohort(logits=logits, labels=[0, 0])).ensemble == 0.5
    assert math.isnan(evaluation_error(Cohort(logits=logits[:1], labels=[0, 1])).ensemble)
    assert math.isnan(evaluation_error(Cohort(scores=[0.7, 0.8], metric="accuracy")).ensemble)


@pytest.mark.parametrize("options", [{}, {"resamples": 300}, {"seed": 4}])
def test_a_profile_says_what_is_said_of_its_cohort_alone_whatever_it_draws(options: dict[str, int]) -> None:
    cohort = draw_cohort("spread", 4, 40, np.random.default_rng(0))
    found, alone = profile(cohort, **options).evaluation, evaluation_error(cohort)
    assert found.standard_error == pytest.approx(alone.standard_error, rel=1e-12)
    assert found.best_of == alone.best_of
