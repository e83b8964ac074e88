"""The max-margin head of features and labels: values worked out by hand, symmetries, and what is refused."""

import numpy as np
import pytest
import torch
from made_margins import separable_problems, tried_separator
from saying import says
from sklearn.svm import LinearSVC

from steadytune.errors import UserError
from steadytune.theory import max_margin, max_margin_leave_one_out

# Rows y x of (1, 0), (1, 0), (2, 5) and (0, 3): w = (1, 1/3) holds the first, the second and the last.
FEATURES = np.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 5.0], [0.0, -3.0]])
LABELS = np.array([1, 0, 1, 0])


def test_margin_multipliers_and_norm_are_those_worked_out_by_hand():
    found = max_margin(FEATURES, LABELS)
    assert found.separable
    assert found.penalty is None
    np.testing.assert_allclose(found.weights, [1, 1 / 3], rtol=1e-12)
    assert found.gamma == pytest.approx(1 / np.sqrt(10 / 9), rel=1e-12)
    assert found.largest_norm == pytest.approx(np.sqrt(29))
    # The two copies of (1, 0) share the multiplier 1; that of (0, 3) is 1/9.
    assert found.alpha[[0, 1]].sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(found.alpha[[2, 3]], [0, 1 / 9], atol=1e-12)
    assert set(found.support) <= {0, 1, 3}


@pytest.mark.parametrize("classes", [2, 3])
def test_the_multipliers_make_the_weights_and_add_to_the_inverse_squared_margin(classes):
    for _, _, bound in separable_problems(40, seed=classes, classes=classes):
        found = bound.solution
        rows, weights = found.constraints.rows, found.weights.ravel()
        np.testing.assert_allclose(found.multipliers @ rows, weights, atol=1e-8 * np.linalg.norm(weights))
        assert found.alpha.sum() * found.gamma**2 == pytest.approx(1, rel=1e-8)
        assert (rows @ weights).min() == pytest.approx(1, abs=1e-8)


def test_three_classes_get_the_shortest_weights_whose_every_logit_wins_by_one():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 1])
    features = rng.standard_normal((4, 2)) + 3 * np.array([[1, 0], [0, 1], [-1, -1]])[labels]
    found = max_margin(features, labels)
    logits = features @ found.weights.T
    lead = logits[np.arange(4), labels][:, None] - logits
    assert lead[np.arange(3) != labels[:, None]].min() == pytest.approx(1, abs=1e-9)
    tried = tried_separator(found.constraints.rows).reshape(3, 2)
    np.testing.assert_allclose(found.weights, tried, atol=1e-9)
    np.testing.assert_allclose(found.weights.sum(0), 0, atol=1e-12)
    assert found.largest_norm == pytest.approx(np.sqrt(2) * np.linalg.norm(features, axis=1).max())


def test_a_class_without_an_example_is_one_that_no_example_may_be_given_to():
    found = max_margin([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]], [0, 2, 2])
    assert found.weights.shape == (3, 2)
    assert ([1.0, 0.0] @ found.weights.T).argmax() == 0


@pytest.mark.parametrize("scale", [1e-4, 30.0])
def test_the_margin_scales_with_the_features_and_the_multipliers_against_their_square(scale):
    one, other = max_margin(FEATURES, LABELS), max_margin(scale * FEATURES, LABELS)
    assert other.gamma == pytest.approx(scale * one.gamma, rel=1e-10)
    np.testing.assert_allclose(other.weights, one.weights / scale, rtol=1e-10)
    assert other.alpha.sum() == pytest.approx(one.alpha.sum() / scale**2, rel=1e-10)


def test_tensors_of_any_precision_are_taken():
    tensors = torch.from_numpy(FEATURES).to(torch.bfloat16), torch.from_numpy(LABELS)
    np.testing.assert_allclose(max_margin(*tensors).weights, [1, 1 / 3], rtol=1e-12)


def test_classes_that_mix_get_the_soft_margin_of_scikit_learn_and_are_said_not_to_be_separable():
    rng = np.random.default_rng(2)
    features, labels = 3 * rng.standard_normal((60, 4)) + 0.5, np.arange(60) % 2
    found = max_margin(features, labels, penalty=0.3)
    assert (found.separable, found.penalty) == (False, 0.3)
    model = LinearSVC(loss="hinge", C=0.3, fit_intercept=False, tol=1e-10, max_iter=1_000_000).fit(features, labels)
    np.testing.assert_allclose(found.weights, model.coef_[0], atol=1e-6)
    assert found.alpha.max() == pytest.approx(0.3)
    with pytest.raises(UserError, match=says("not separable", "margin")):
        max_margin_leave_one_out(found)


def test_the_same_example_in_both_classes_is_not_separable():
    found = max_margin([[1.0], [1.0], [1.0]], [1, 0, 1], penalty=0.5)
    assert not found.separable
    np.testing.assert_allclose(found.weights, [0.5])


def test_examples_that_cancel_leave_no_weights_and_no_finite_margin():
    found = max_margin([[1.0], [1.0], [0.0]], [1, 0, 1])
    np.testing.assert_allclose(found.weights, [0], atol=1e-12)
    assert not found.separable


@pytest.mark.parametrize(
    ("features", "labels", "penalty", "words"),
    [
        ([[1.0], [2.0], [3.0]], [1, 1, 1], 1, "class 1"),
        ([[1.0], [2.0]], [0, 1], 1, says("3 examples", "2")),
        ([[1.0], [np.nan], [3.0]], [0, 1, 1], 1, says("example 1", "NaN")),
        ([[0.0], [0.0], [0.0]], [0, 1, 1], 1, says("all", "features", "0")),
        ([[1.0], [2.0], [3.0]], [0, 1, 0], 0, says("penalty", "0")),
        ([[1e5], [2e5], [3e5]], [0, 1, 0], 1, says("penalty", "1.1e-05")),
    ],
)
def test_what_has_no_meaning_is_refused_in_words(features, labels, penalty, words):
    with pytest.raises(UserError, match=words):
        max_margin(features, labels, penalty=penalty)


def test_one_very_long_example_is_named_where_it_hides_a_margin():
    with pytest.raises(UserError, match=says("1e-6", "1e+07")):
        max_margin([[1.0, 0], [1, 0.5], [-1, 0.2], [1e7, 3]], [1, 1, 0, 1])


def test_a_class_number_out_of_all_proportion_is_refused():
    with pytest.raises(UserError, match=says("labels", "1000000")):
        max_margin(np.eye(4), [0, 1, 0, 1_000_000])


@pytest.mark.parametrize("seed", [165, 311, 488, *range(12)])
def test_thin_margins_are_left_out_of_example_by_example(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 30))
    n = int(rng.integers(d, 3 * d + 3))
    labels = np.arange(n) % 2
    margin = 10 ** rng.uniform(-6, -3)
    features = rng.standard_normal((n, d))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    # Every example and its mirror image in one class: only the first feature tells the classes apart.
    features, labels = np.concatenate([features, -features]), np.tile(labels, 2)
    features[:, 0] = margin * (2 * labels - 1)

    found = max_margin(features, labels, penalty=1e-3)
    if found.separable:
        others = max_margin_leave_one_out(found)
        for example in found.support:
            kept = np.delete(np.arange(2 * n), example)
            margins = (2 * labels[kept] - 1) * (features[kept] @ others.weights[example])
            assert margins.min() >= 1 - 1e-7
            assert np.linalg.norm(others.weights[example]) <= np.linalg.norm(found.weights) * (1 + 1e-9)
