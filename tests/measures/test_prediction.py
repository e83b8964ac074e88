"""Prediction measures against hand-worked values, exact identities and independent formulations."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from saying import says
from scipy.spatial.distance import jensenshannon

from steadytune.measures import (
    disagreement,
    fleiss_kappa,
    jensen_shannon,
    pair_disagreements,
    pair_divergences,
    pair_mean,
)
from steadytune.measures.pairs import square

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "published.json"

# Ten subjects, fourteen raters, five classes: the example of Fleiss (1971) as the encyclopaedias print it.
FLEISS_TABLE = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]

predictions = hnp.arrays(np.int64, st.tuples(st.integers(2, 6), st.integers(2, 12)), elements=st.integers(0, 3))


def kappa_by_counting(runs):
    """Count agreeing pairs one by one, and the chance that two draws with replacement from all labels agree."""
    pairs = list(itertools.combinations(range(len(runs)), 2))
    examples = range(len(runs[0]))
    agreement = sum(runs[i][n] == runs[j][n] for i, j in pairs for n in examples) / (len(pairs) * len(examples))
    labels = [label for run in runs for label in run]
    chance = sum(a == b for a in labels for b in labels) / len(labels) ** 2
    return (agreement - chance) / (1 - chance)


def binary_runs_with(disagreements, runs, examples):
    """Build runs whose pairs disagree exactly so often in all: m dissenters on an example are m(K - m) of them."""
    coins = [m * (runs - m) for m in range(1, runs // 2 + 1)]
    fewest = [0] + [examples + 1] * disagreements
    for amount in range(1, disagreements + 1):
        fewest[amount] = 1 + min((fewest[amount - coin] for coin in coins if coin <= amount), default=examples)
    assert fewest[disagreements] <= examples
    classes = np.zeros((runs, examples), dtype=int)
    for example in range(fewest[disagreements]):
        dissenters = next(
            m
            for m, coin in enumerate(coins, 1)
            if coin <= disagreements and fewest[disagreements - coin] == fewest[disagreements] - 1
        )
        classes[:dissenters, example] = 1
        disagreements -= coins[dissenters - 1]
    return classes


def test_disagreement_counts_the_examples_that_differ():
    runs = [[0, 1, 2, 0], [0, 1, 2, 1], [1, 0, 0, 1]]
    expected = [[0, 0.25, 1], [0.25, 0, 0.75], [1, 0.75, 0]]
    np.testing.assert_array_equal(disagreement(runs), expected)


def test_disagreement_of_one_run_or_one_example_is_defined():
    np.testing.assert_array_equal(disagreement([[0, 1]]), [[0]])
    np.testing.assert_array_equal(disagreement([[0], [1]]), [[0, 1], [1, 0]])


@given(predictions)
def test_total_disagreements_are_a_whole_number(runs):
    pairs = len(runs) * (len(runs) - 1) / 2
    total = pair_mean(disagreement(runs)) * runs.shape[1] * pairs
    assert total == pytest.approx(round(total), abs=1e-9)


@given(predictions, st.randoms(use_true_random=False))
def test_prediction_measures_ignore_the_names_of_runs_and_classes(runs, random):
    order = random.sample(range(len(runs)), len(runs))
    renamed = np.array(random.sample(range(10, 14), 4))[runs]
    distances = disagreement(runs)
    np.testing.assert_array_equal(disagreement(runs[order]), distances[np.ix_(order, order)])
    np.testing.assert_array_equal(disagreement(renamed), distances)
    assert fleiss_kappa(renamed[order]) == pytest.approx(fleiss_kappa(runs))


def test_kappa_of_the_example_of_fleiss_is_210():
    raters = np.array([np.repeat(np.arange(5), counts) for counts in FLEISS_TABLE]).T
    assert raters.shape == (14, 10)
    assert fleiss_kappa(raters, num_classes=5) == pytest.approx(0.210, abs=5e-4)


@given(predictions)
def test_kappa_equals_the_count_over_all_pairs(runs):
    if len(np.unique(runs)) > 1:
        assert fleiss_kappa(runs) == pytest.approx(kappa_by_counting(runs.tolist()))


@given(predictions)
def test_kappa_is_disagreement_set_against_chance(runs):
    shares = np.bincount(runs.ravel()) / runs.size
    observed = pair_mean(disagreement(runs))
    if len(np.unique(runs)) > 1:
        assert 1 - fleiss_kappa(runs) == pytest.approx(observed / (1 - (shares**2).sum()))
        assert 0 <= 1 - fleiss_kappa(runs) <= len(runs) / (len(runs) - 1) + 1e-12
    assert 1 - fleiss_kappa(runs, definition="published") == pytest.approx(
        observed * runs.shape[1] / (runs.shape[1] - 1), abs=1e-12
    )


def test_coin_flips_agree_no_better_than_chance_but_look_half_stable_as_published():
    flips = np.random.default_rng(0).integers(0, 2, (20, 277))
    assert fleiss_kappa(flips) == pytest.approx(0, abs=0.01)
    assert 1 - fleiss_kappa(flips, definition="published") == pytest.approx(0.4975, abs=0.01)


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the published values, in shared/golden beside the checkout")
def test_every_published_kappa_reappears_from_runs_with_the_published_disagreement():
    rows = json.loads(GOLDEN.read_text())["table"]
    assert len(rows) == 32
    for row in rows:
        count, examples = row["runs"], row["examples"]
        total = row["pairwise_disagreement"] * examples * count * (count - 1) / 2
        assert total == pytest.approx(round(total), abs=1e-8)
        runs = binary_runs_with(round(total), count, examples)
        assert pair_mean(disagreement(runs)) == pytest.approx(row["pairwise_disagreement"], abs=1e-12)
        published = 1 - fleiss_kappa(runs, num_classes=2, definition="published")
        assert published == pytest.approx(row["one_minus_kappa_published"], abs=1e-12)


@pytest.mark.parametrize("definition", ["corrected", "published"])
def test_kappa_is_perfect_if_all_runs_predict_one_class(definition):
    assert fleiss_kappa(np.full((3, 5), 2), definition=definition) == 1


def test_kappa_is_perfect_if_runs_agree_and_worst_if_two_runs_always_differ():
    assert fleiss_kappa([[0, 1], [0, 1]]) == pytest.approx(1)
    assert fleiss_kappa([[0, 1], [1, 0]]) == pytest.approx(-1)


def test_kappa_is_not_defined_without_a_pair():
    assert math.isnan(fleiss_kappa([[0, 1, 1]]))
    assert math.isnan(fleiss_kappa([[0], [1]], definition="published"))
    assert fleiss_kappa([[0], [1]]) == pytest.approx(-1)


@pytest.mark.parametrize("outside", [[[0, 1], [0, 2]], [[0, -1], [0, 1]]])
def test_kappa_rejects_classes_outside_their_number(outside):
    with pytest.raises(ValueError, match=r"predictions [^\n]*0 to 1\b[^\n]*(0 to 2|-1 to 1)"):
        fleiss_kappa(outside, num_classes=2)


def test_kappa_rejects_an_unknown_definition():
    with pytest.raises(ValueError, match=says("definition 'fixed'", "'corrected'", "'published'")):
        fleiss_kappa([[0, 1], [0, 1]], definition="fixed")


@pytest.mark.parametrize("measure", [disagreement, fleiss_kappa])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], "integers"),
        ([[0.0, 1.0], [1.0, 0.0]], "integers"),
        ([0, 1, 1], "shape"),
        ([[[0, 1]]], "shape"),
        (np.zeros((2, 0), dtype=int), "shape"),
        ([[0, 1], [0]], "rectangular"),
        ([["yes", "no"]], "real numbers"),
    ],
)
def test_bad_predictions_are_rejected_in_one_line(measure, bad, reason):
    with pytest.raises(ValueError, match=rf"\Apredictions [^\n]*{reason}[^\n]*\Z"):
        measure(bad)


def test_predictions_may_be_tensors_or_a_list_of_tensors():
    runs = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(disagreement(runs), disagreement(runs.numpy()))
    np.testing.assert_array_equal(disagreement(list(runs)), disagreement(runs.numpy()))
    assert fleiss_kappa(runs) == fleiss_kappa(runs.numpy())


def test_jensen_shannon_of_a_hand_worked_pair():
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): H(m) - H(q)/2 = .5623 - .3466.
    distances = jensen_shannon([[[1, 0]], [[0.5, 0.5]]])
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) - math.log(2) / 2
    np.testing.assert_allclose(distances, [[0, expected], [expected, 0]], rtol=1e-14)


def test_jensen_shannon_is_zero_for_equal_and_ln_2_for_disjoint_runs():
    distances = jensen_shannon([[[1, 0, 0]] * 3, [[1, 0, 0]] * 3, [[0, 0.25, 0.75]] * 3])
    np.testing.assert_allclose(distances, np.log(2) * np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]]), rtol=1e-14)


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4)),
    st.sampled_from([0.02, 1.0]),
)
def test_jensen_shannon_equals_the_mean_squared_distance_of_scipy(seed, shape, concentration):
    runs, examples, classes = shape
    p = np.random.default_rng(seed).dirichlet([concentration] * classes, (runs, examples))
    distances = jensen_shannon(p)
    for i, j in itertools.combinations(range(runs), 2):
        # SciPy takes the root of what rounding may have made negative.
        with np.errstate(invalid="ignore"):
            reference = np.mean([np.nan_to_num(jensenshannon(p[i, n], p[j, n])) ** 2 for n in range(examples)])
        assert distances[i, j] == pytest.approx(reference, abs=1e-12)
    np.testing.assert_array_equal(distances, distances.T)
    assert (np.diag(distances) == 0).all()
    assert (distances >= 0).all()
    assert (distances <= np.log(2)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_jensen_shannon_accepts_probabilities_in_half_precision(dtype):
    exact = torch.randn(3, 40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    np.testing.assert_allclose(jensen_shannon(exact.to(dtype).requires_grad_()), jensen_shannon(exact), atol=2e-3)


def test_jensen_shannon_takes_out_what_rounding_did_to_the_sums():
    exact = np.random.default_rng(0).dirichlet([1, 1, 1], (2, 5))
    np.testing.assert_allclose(jensen_shannon(exact * [[[0.996]], [[1.004]]]), jensen_shannon(exact), atol=1e-14)


def test_what_pairs_do_on_single_examples_averages_to_the_distances():
    p = np.random.default_rng(0).dirichlet([1, 1, 1], (4, 7))
    classes = p.argmax(axis=2)
    for first, (i, j) in enumerate(itertools.combinations(range(4), 2)):
        np.testing.assert_array_equal(pair_disagreements(classes)[first], classes[i] != classes[j])
        assert pair_divergences(p)[first] == pytest.approx(jensenshannon(p[i], p[j], axis=1) ** 2)
    assert square(pair_divergences(p).mean(axis=1)) == pytest.approx(jensen_shannon(p))


def test_a_single_run_is_at_distance_zero_from_itself():
    np.testing.assert_array_equal(disagreement([[0, 1]]), [[0]])
    np.testing.assert_array_equal(jensen_shannon([[[0.2, 0.8]]]), [[0]])


def test_a_bad_probability_is_named_by_run():
    with pytest.raises(ValueError, match=says("probabilities", "NaN", "run 1")):
        jensen_shannon([[[0.5, 0.5]], [[math.nan, 1.0]]])
    with pytest.raises(ValueError, match=says("probabilities", "run 1, example 2", "0.1", "sum to 0.2")):
        jensen_shannon([[[0.5, 0.5]] * 3, [[0.5, 0.5]] * 2 + [[0.1, 0.1]]])


def test_jensen_shannon_leaves_its_input_as_it_was():
    probabilities = np.full((2, 1, 2), 0.501)
    jensen_shannon(probabilities)
    assert (probabilities == 0.501).all()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([[[2.0, -1.0]]], "-1 and sum to 1"),
        ([[[3.0, 4.0]]], "sum to 7[^\\n]*logits"),
        ([[[0.5, 0.4]]], "sum to 0.9"),
        ([[0.5, 0.5]], r"\(K, N, C\)[^\n]*\(1, 2\)"),
        ([[[math.nan, 1.0]]], "NaN[^\\n]*run 0"),
    ],
)
def test_bad_probabilities_are_rejected_in_one_line(bad, reason):
    with pytest.raises(ValueError, match=rf"\Aprobabilities [^\n]*{reason}[^\n]*\Z"):
        jensen_shannon(bad)
