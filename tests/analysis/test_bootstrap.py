"""Resamples against cohorts that are really drawn, run by run and example by example."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import draw_cohort

from steadytune.analysis.bootstrap import example_weights, resample, resampled_pair_means, run_counts
from steadytune.measures import fleiss_kappa, intraclass_correlation, jensen_shannon, prediction_rmse
from steadytune.records import Cohort


def drawn_by_hand(cohort, counts, weights):
    """Write out the cohort that counts and weights stand for, and compare all its pairs but those of copies."""
    runs = np.repeat(np.arange(len(cohort)), counts)
    examples = np.repeat(np.arange(len(weights)), weights)
    pairs = [(i, j) for i, j in itertools.combinations(runs, 2) if i != j]
    predictions = cohort.predictions[:, examples]
    scores = (predictions == cohort.labels[examples]).mean(axis=1)
    shares = np.bincount(predictions[runs].ravel()) / predictions[runs].size
    disagreement = np.mean([np.mean(predictions[i] != predictions[j]) for i, j in pairs])
    return {
        "mean": scores[runs].mean(),
        "sd": np.sqrt(np.mean([(scores[i] - scores[j]) ** 2 / 2 for i, j in pairs])),
        "disagreement": disagreement,
        "kappa": disagreement / (1 - np.square(shares).sum()),
        "jensen_shannon": np.mean([jensen_shannon(cohort.probabilities[[i, j]][:, examples])[0, 1] for i, j in pairs]),
    }


def parts_of(cohort, distances=None, deviations=None, **options):
    return resample(cohort, distances or {}, deviations or {}, **options)


def test_a_resample_is_the_cohort_that_was_drawn_without_its_self_pairs():
    cohort = draw_cohort("independent", 5, 30, np.random.default_rng(0))
    counts = run_counts(cohort.seeds, 6, seed=4)
    weights = next(example_weights(30, 6, 6, seed=4))[1]
    found = parts_of(cohort, resamples=6, seed=4)
    ones = np.ones(5, int), np.ones(30, int)
    for r in range(6):
        drawn = counts[r].astype(int), weights[r].astype(int)
        for part, by_hand in (
            (found.both, drawn_by_hand(cohort, *drawn)),
            (found.runs, drawn_by_hand(cohort, drawn[0], ones[1])),
            (found.examples, drawn_by_hand(cohort, ones[0], drawn[1])),
        ):
            assert {name: values[r] for name, values in part.items()} == pytest.approx(by_hand)


def test_kappa_on_the_runs_as_they_are_is_that_of_the_measure():
    cohort = draw_cohort("independent", 4, 20, np.random.default_rng(1))
    weights = next(example_weights(20, 3, 3))[1].astype(int)
    for found, row in zip(parts_of(cohort, resamples=3).examples["kappa"], weights, strict=True):
        assert found == pytest.approx(1 - fleiss_kappa(np.repeat(cohort.predictions, row, axis=1)))


@given(st.integers(2, 6), st.integers(0, 1000))
def test_equal_distances_resample_to_themselves_as_self_pairs_never_count(runs, seed):
    distances = 0.3 * (1 - np.eye(runs))
    counts = run_counts(tuple(map(str, range(runs))), 20, seed)
    assert resampled_pair_means(distances, counts) == pytest.approx(0.3)


def test_layers_are_resampled_side_by_side_with_the_same_counts():
    generator = np.random.default_rng(0)
    half = generator.random((3, 6, 6))
    distances = half + half.swapaxes(1, 2)
    found = parts_of(Cohort(scores=np.arange(6) / 10), {"cka": distances}, resamples=50).both
    counts = run_counts(tuple("012345"), 50)
    assert set(found) == {"mean", "sd", "cka"}
    for layer in range(3):
        assert found["cka"][:, layer] == pytest.approx(resampled_pair_means(distances[layer], counts))


def test_deviations_between_halves_add_their_variance():
    distances = {"cka": np.stack([0.2 * (1 - np.eye(4))] * 2)}
    deviations = {"cka": np.random.default_rng(0).normal(size=(8, 2))}
    found = parts_of(Cohort(scores=np.arange(4) / 10), distances, deviations, resamples=20_000)
    assert found.runs["cka"] == pytest.approx(0.2)
    assert found.both["cka"].var(axis=0) == pytest.approx(np.square(deviations["cka"]).mean(axis=0), rel=0.05)
    assert found.both["cka"] == pytest.approx(found.examples["cka"])


def test_icc_under_weights_is_that_of_repeated_examples_and_leaves_self_pairs_out():
    generator = np.random.default_rng(3)
    numbers = generator.normal(size=30) + 0.5 * generator.normal(size=(4, 30))
    cohort = Cohort(logits=numbers[..., None], kind="regression", seeds=("0", "1", "2", "3"))
    parts, weights = parts_of(cohort, resamples=50), next(example_weights(30, 50, 50))[1].astype(int)
    for found, row in zip(parts.examples["icc"], weights, strict=True):
        assert found == pytest.approx(1 - intraclass_correlation(np.repeat(numbers, row, axis=1)))
    counts = run_counts(cohort.seeds, 50)
    squares, covariances = prediction_rmse(numbers) ** 2, np.cov(numbers)
    for found, row in zip(parts.runs["icc"], counts.astype(int), strict=True):
        pairs = [(i, j) for i, j in itertools.combinations(np.repeat(np.arange(4), row), 2) if i != j]
        differ, shared = (sum(matrix[pair] for pair in pairs) for matrix in (squares, covariances))
        assert found == pytest.approx(differ / (differ + 2 * shared))


@settings(max_examples=20)
@given(st.integers(1, 9))
def test_the_draws_do_not_depend_on_how_many_are_made_at_a_time(rows):
    chunks = list(example_weights(7, 9, rows, seed=1))
    assert [at for at, _ in chunks] == list(range(0, 9, rows))
    assert np.concatenate([weights for _, weights in chunks]) == pytest.approx(
        next(example_weights(7, 9, 9, seed=1))[1]
    )


def test_counts_and_weights_sum_to_the_numbers_they_are_drawn_from():
    counts = run_counts(("a", "b", "c"), 500)
    assert (counts.sum(axis=1) == 3).all()
    assert counts.max() == 2
    assert counts.mean(axis=0) == pytest.approx(1, abs=0.1)
    assert (next(example_weights(11, 50, 50))[1].sum(axis=1) == 11).all()


def test_recipes_on_the_same_examples_share_them_and_those_of_the_same_seeds_share_runs():
    cohort = draw_cohort("independent", 5, 40, np.random.default_rng(2))
    fields = {"scores": cohort.scores, "logits": cohort.logits, "labels": cohort.labels, "metric": "accuracy"}
    same, other = Cohort(**fields), Cohort(**fields, seeds=tuple("abcde"))
    assert (parts_of(cohort).both["disagreement"] == parts_of(same).both["disagreement"]).all()
    first, second = parts_of(cohort), parts_of(other)
    assert (first.examples["mean"] == second.examples["mean"]).all()
    assert abs(np.corrcoef(first.runs["mean"], second.runs["mean"])[0, 1]) < 0.05


def test_scores_that_do_not_follow_from_predictions_draw_runs_alone():
    cohort = draw_cohort("independent", 5, 40, np.random.default_rng(3))
    unknown = Cohort(scores=cohort.scores, logits=cohort.logits, labels=cohort.labels, metric="my own")
    found = parts_of(unknown, resamples=100)
    assert found.both["mean"] == pytest.approx(found.runs["mean"])
    assert found.examples["sd"] == pytest.approx(cohort.scores.std(ddof=1))
    assert found.examples["disagreement"].std() > 0


def test_the_spread_of_a_mean_of_independent_examples_is_the_binomial_one():
    accuracy = np.array([[1.0] * 80 + [0.0] * 20])
    cohort = Cohort(
        scores=[0.8], logits=np.stack([1 - accuracy, accuracy], axis=-1), labels=np.ones(100), metric="accuracy"
    )
    found = parts_of(cohort)
    assert set(found.both) == {"mean"}
    assert found.both["mean"].std() == pytest.approx(0.04, rel=0.03)


@pytest.mark.parametrize(
    ("scores", "measures"), [([], set()), ([0.5], {"mean"}), ([np.nan, np.nan], set()), ([0.5, 0.6], {"mean", "sd"})]
)
def test_short_cohorts_resample_what_they_have(scores, measures):
    assert set(parts_of(Cohort(scores=scores), resamples=10).both) == measures


def test_one_answer_throughout_has_no_disagreement_beyond_chance():
    cohort = Cohort(logits=np.tile([2.0, 0.0], (3, 6, 1)), labels=np.array([0, 1] * 3))
    assert (parts_of(cohort, resamples=10).both["kappa"] == 0).all()
