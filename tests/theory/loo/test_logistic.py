"""Regularised heads against scikit-learn, automatic differentiation, and equations solved by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_heads import made_data, objective, rows_per_class, slopes
from saying import says
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from steadytune.errors import UserError
from steadytune.theory import solve_heads


def test_two_mirrored_points_have_the_weight_that_solves_their_equation():
    # The slope is -4 / (1 + e^w) + l2 w, which is 0 at w = 1.
    head = solve_heads([[1.0], [1.0], [-1.0], [-1.0]], [1, 1, 0, 0], l2=4 / (1 + math.e))

    np.testing.assert_allclose(head.weight, [[1.0]], rtol=1e-14)
    assert head.bias == 0
    assert head.objective == pytest.approx(4 * math.log(1 + 1 / math.e) + 2 / (1 + math.e), rel=1e-14)


@pytest.mark.parametrize("l2", [1e-12, 1e-6, 1e3])
def test_a_penalty_of_any_size_is_resolved_on_separable_data(l2):
    root = brentq(lambda w: math.log(4) - np.logaddexp(0, w) - math.log(l2 * w), 1e-9, 100, xtol=1e-15)

    head = solve_heads([[1.0], [1.0], [-1.0], [-1.0]], [1, 1, 0, 0], l2=l2)

    assert head.weight[0, 0] == pytest.approx(root, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("l2", [30.0, 1.0, 0.01])
def test_it_is_the_solution_of_scikit_learn(classes, intercept, l2):
    features, labels = made_data(80, 7, classes)

    head = solve_heads(features, labels, l2=l2, intercept=intercept)
    reference = LogisticRegression(
        C=1 / l2, fit_intercept=intercept, solver="newton-cholesky", tol=1e-12, max_iter=1000
    ).fit(features, labels)

    np.testing.assert_allclose(head.weight, reference.coef_, atol=1e-6)
    np.testing.assert_allclose(head.bias, np.zeros(len(head.bias)) + reference.intercept_, atol=1e-6)
    np.testing.assert_allclose(head.probabilities(features), reference.predict_proba(features), atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(10, 60),
    d=st.integers(1, 80),
    classes=st.integers(2, 5),
    intercept=st.booleans(),
    log_l2=st.floats(-4, 3),
    log_scale=st.floats(-2, 2),
    shift=st.sampled_from([0.0, 1.0, 5.0]),
    seed=st.integers(0, 1000),
)
def test_the_textbook_objective_is_flat_where_it_says_and_nowhere_lower(
    n, d, classes, intercept, log_l2, log_scale, shift, seed
):
    features, labels = made_data(n, d, classes, seed, shift)
    features, l2 = features * 10**log_scale, 10 ** (log_l2 + 2 * log_scale)

    head = solve_heads(features, labels, l2=l2, intercept=intercept)

    value, flat = objective(features, labels, l2, classes), rows_per_class(head)
    size = np.abs(features).sum()
    assert float(slopes(value, flat, d, intercept).norm()) <= 1e-13 * (size + n)
    assert head.gradient_norm <= 1e-13 * (size + n)
    assert head.objective == pytest.approx(float(value(flat)), rel=1e-10)


def test_a_minimum_that_rounding_blurs_is_found_as_far_as_it_can_be_seen():
    # One feature orders three classes, so that the middle one is separable from no side, and l2 is next to nothing.
    features, labels = made_data(60, 8, 3, seed=72)
    features[:, 0] += 5 * labels

    head = solve_heads(features, labels, l2=1e-9)

    value, flat = objective(features, labels, 1e-9, 3), rows_per_class(head)
    assert float(slopes(value, flat, 8, False).norm()) < 1e-11
    assert head.objective == pytest.approx(float(value(flat)), rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_examples_of_very_different_size_do_not_throw_it_off(seed):
    # Without a line search some of these problems diverge.
    features, labels = made_data(24, 4, 3, seed, shift=0.0)
    features *= 10 ** np.random.default_rng(seed).uniform(-2, 3, size=(24, 1))

    head = solve_heads(features, labels, l2=1e-3)

    assert float(slopes(objective(features, labels, 1e-3, 3), rows_per_class(head), 4, False).norm()) < 1e-9


def test_a_class_without_examples_is_as_good_as_repelled_without_an_intercept():
    features, labels = made_data(40, 4, 2)

    head = solve_heads(features, 2 * labels, l2=0.5)

    assert head.weight.shape == (3, 4)
    flat = rows_per_class(head)
    assert float(slopes(objective(features, 2 * labels, 0.5, 3), flat, 4, False).norm()) < 1e-11


@pytest.mark.parametrize("intercept", [False, True])
def test_rows_of_three_classes_sum_to_zero_and_two_classes_have_one_row(intercept):
    three = solve_heads(*made_data(50, 6, 3), l2=0.1, intercept=intercept)
    two = solve_heads(*made_data(50, 6, 2), l2=0.1, intercept=intercept)

    assert three.weight.shape == (3, 6)
    np.testing.assert_allclose(three.weight.sum(axis=0), 0, atol=1e-14)
    assert abs(three.bias.sum()) < 1e-14
    assert two.weight.shape == (1, 6)
    assert two.bias.shape == (1,)
    assert bool(two.bias.any()) == bool(three.bias.any()) == intercept


def test_each_example_twice_with_twice_the_penalty_changes_nothing():
    features, labels = made_data(40, 5, 3)

    once = solve_heads(features, labels, l2=0.3)
    twice = solve_heads(np.tile(features, (2, 1)), np.tile(labels, 2), l2=0.6)

    np.testing.assert_allclose(twice.weight, once.weight, rtol=1e-10)


def test_exchanging_two_classes_turns_the_weights_around():
    features, labels = made_data(40, 5, 2)

    np.testing.assert_allclose(
        solve_heads(features, 1 - labels, l2=0.3).weight, -solve_heads(features, labels, l2=0.3).weight, rtol=1e-10
    )


def test_half_precision_tensors_are_solved_in_float64():
    features, labels = made_data(40, 5, 3)
    rounded = torch.from_numpy(features).to(torch.bfloat16)

    head = solve_heads(rounded, torch.from_numpy(labels), l2=1.0)

    same = solve_heads(rounded.double().numpy(), labels, l2=1.0)
    np.testing.assert_array_equal(head.weight, same.weight)
    np.testing.assert_array_equal(head.probabilities(rounded), same.probabilities(rounded.double()))


@pytest.mark.parametrize("l2", [0.0, -1.0, math.nan, math.inf])
def test_a_penalty_that_is_not_above_zero_is_refused(l2):
    with pytest.raises(UserError, match=rf"\Al2 [^\n]*\b0\b[^\n]*{l2}[^\n]*\Z"):
        solve_heads(*made_data(20, 3, 2), l2=l2)


def test_a_penalty_below_rounding_is_refused_with_one_that_is_enough():
    # More features than examples: only the penalty holds what the examples do not see.
    features, labels = made_data(20, 60, 2)

    with pytest.raises(UserError, match=r"\bl2 = 1e-25\b[^\n]*\d") as caught:
        solve_heads(features, labels, l2=1e-25)

    enough = float(str(caught.value).rsplit(" ", 1)[1])
    head = solve_heads(features, labels, l2=enough)
    assert head.gradient_norm / enough < 1e-6 * np.linalg.norm(head.weight)


def test_an_intercept_of_a_class_without_examples_is_refused():
    features, labels = made_data(20, 3, 2)

    with pytest.raises(UserError, match=says("class 1", "intercept", "0", "1")):
        solve_heads(features, 2 * labels, l2=1.0, intercept=True)


def test_one_class_and_features_that_are_not_finite_are_refused():
    features, labels = made_data(20, 3, 2)
    with pytest.raises(UserError, match="class 0"):
        solve_heads(features, 0 * labels, l2=1.0)
    features[7, 1] = math.nan
    with pytest.raises(UserError, match="example 7"):
        solve_heads(features, labels, l2=1.0)
