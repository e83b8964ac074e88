"""Heads without an example: exact ones against fits of the rest, approximate ones against a Newton step by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_heads import made_data, objective, rows_per_class
from saying import says
from sklearn.linear_model import LogisticRegression

from steadytune.errors import UserError
from steadytune.theory import approximate_leave_one_out, exact_leave_one_out, solve_heads
from steadytune.theory.loo import logistic_loo
from steadytune.theory.loo.logistic import HeadSolution


def _newton_step(features, labels, left_out, l2, intercept, full: HeadSolution):
    """Take it in the coordinates of one row per class, with all second derivatives from automatic differentiation."""
    classes, d = int(labels.max()) + 1, features.shape[1]
    value, flat = objective(features, labels, l2, classes, left_out), rows_per_class(full)
    # Two classes: the row of class 0 stays. A constant on all biases is free, so that the shortest step is taken.
    moving = torch.ones(len(flat), dtype=torch.bool)
    moving[len(flat) - classes :] = intercept
    if classes == 2:
        moving[:d] = False
        moving[len(flat) - classes] = False
    hessian = torch.func.hessian(value)(flat)[moving][:, moving]
    gradient = torch.func.grad(value)(flat)[moving]
    moved = flat.clone()
    moved[moving] -= torch.linalg.pinv(hessian, hermitian=True) @ gradient
    rows = moved[:-classes].view(classes, d)[1 if classes == 2 else 0 :]
    return rows.numpy(), moved[-classes:][1 if classes == 2 else 0 :].numpy()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(8, 25),
    d=st.integers(1, 12),
    classes=st.integers(2, 4),
    intercept=st.booleans(),
    log_l2=st.floats(-1, 2),
    seed=st.integers(0, 1000),
)
def test_approximate_heads_are_one_newton_step_away(n, d, classes, intercept, log_l2, seed):
    features, labels = made_data(n, d, classes, seed)
    l2 = 10**log_l2

    found = approximate_leave_one_out(features, labels, l2=l2, intercept=intercept)

    for i in range(0, n, 5):
        weight, bias = _newton_step(features, labels, i, l2, intercept, found.full)
        np.testing.assert_allclose(found.weight[i], weight, atol=1e-8 * (1 + np.abs(weight).max()))
        np.testing.assert_allclose(found.bias[i], bias, atol=1e-8 * (1 + np.abs(weight).max() + np.abs(bias).max()))


def test_the_step_of_four_mirrored_points_is_the_one_worked_out_by_hand():
    # At w = 1 a left-out example of class 1 has the slope -(1 - p), p = e / (1 + e), and three of p (1 - p) stay.
    l2, p = 4 / (1 + math.e), math.e / (1 + math.e)
    moved = 1 - (1 - p) / (3 * p * (1 - p) + l2)

    found = approximate_leave_one_out([[1.0], [1.0], [-1.0], [-1.0]], [1, 1, 0, 0], l2=l2)

    np.testing.assert_allclose(found.weight[:, 0, 0], [moved] * 4, rtol=1e-13)
    np.testing.assert_allclose(found.loss, [math.log(1 + math.exp(-moved))] * 4, rtol=1e-13)
    np.testing.assert_allclose(found.probabilities[2], [1 / (1 + math.exp(-moved)), 1 / (1 + math.exp(moved))])
    np.testing.assert_array_equal(found.predictions, [1, 1, 0, 0])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("intercept", [False, True])
def test_exact_heads_are_the_fits_of_scikit_learn_to_the_rest(classes, intercept):
    features, labels = made_data(30, 5, classes)

    found = exact_leave_one_out(features, labels, l2=0.5, intercept=intercept)

    for i in range(30):
        kept = np.arange(30) != i
        model = LogisticRegression(C=2, fit_intercept=intercept, solver="newton-cholesky", tol=1e-12)
        model.fit(features[kept], labels[kept])
        np.testing.assert_allclose(found.weight[i], model.coef_, atol=1e-6)
        np.testing.assert_allclose(found.bias[i], np.zeros(len(found.bias[i])) + model.intercept_, atol=1e-6)
        probabilities = model.predict_proba(features[[i]])[0]
        np.testing.assert_allclose(found.probabilities[i], probabilities, atol=1e-6)
        assert found.loss[i] == pytest.approx(-math.log(probabilities[labels[i]]), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(8, 25),
    d=st.integers(1, 40),
    classes=st.integers(2, 4),
    intercept=st.booleans(),
    log_l2=st.floats(-5, 2),
    shift=st.sampled_from([0.0, 3.0]),
    seed=st.integers(0, 1000),
)
def test_exact_heads_are_those_of_the_data_without_the_example(n, d, classes, intercept, log_l2, shift, seed):
    features, labels = made_data(n, d, classes, seed, shift)
    l2 = 10**log_l2

    found = exact_leave_one_out(features, labels, l2=l2, intercept=intercept, examples=[n - 1, 0])

    for position, i in enumerate([n - 1, 0]):
        rest = solve_heads(np.delete(features, i, 0), np.delete(labels, i), l2=l2, intercept=intercept)
        size = 1e-6 * (1 + np.abs(rest.weight).max() + np.abs(rest.bias).max())
        np.testing.assert_allclose(found.weight[position], rest.weight, atol=size)
        np.testing.assert_allclose(found.bias[position], rest.bias, atol=size)
    np.testing.assert_array_equal(found.examples, [n - 1, 0])


@pytest.mark.parametrize("classes", [2, 3])
def test_the_error_of_the_approximation_falls_with_the_square_of_the_number_of_examples(classes):
    features, labels = made_data(20, 4, classes)
    errors, changes = [], []
    for copies in (8, 32):
        data = np.tile(features, (copies, 1)), np.tile(labels, copies)
        near = approximate_leave_one_out(*data, l2=0.5 * copies)
        exact = exact_leave_one_out(*data, l2=0.5 * copies, examples=range(20))
        errors.append(np.linalg.norm(near.weight[:20] - exact.weight, axis=(1, 2)).mean())
        changes.append(np.linalg.norm(exact.weight - exact.full.weight, axis=(1, 2)).mean())

    assert changes[0] / changes[1] == pytest.approx(4, rel=0.1)
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.2)


def test_an_example_left_out_fares_worse_than_one_that_was_learnt_from():
    features, labels = made_data(40, 10, 2)

    found = approximate_leave_one_out(features, labels, l2=0.1)

    known = -np.log(found.full.probabilities(features)[np.arange(40), labels])
    assert (found.loss > known).all()


def test_examples_taken_in_parts_give_the_same_heads(monkeypatch):
    features, labels = made_data(50, 6, 3)
    whole = approximate_leave_one_out(features, labels, l2=0.5, intercept=True)

    monkeypatch.setattr(logistic_loo, "_ENTRIES", 7 * 2 * 2 * 7)
    parts = approximate_leave_one_out(features, labels, l2=0.5, intercept=True)

    np.testing.assert_allclose(parts.weight, whole.weight, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(parts.bias, whole.bias, rtol=1e-10, atol=1e-13)


def test_the_only_example_of_a_class_can_be_left_out_without_an_intercept():
    features, labels = made_data(30, 4, 2)
    labels = np.append(labels[:-1], 2)

    exact = exact_leave_one_out(features, labels, l2=1.0, examples=[29])

    value = objective(features, labels, 1.0, 3, left_out=29)
    flat = torch.from_numpy(np.append(exact.weight[0].ravel(), exact.bias[0]))
    assert float(torch.func.grad(value)(flat)[:-3].norm()) < 1e-11
    assert exact.predictions[0] != 2


@pytest.mark.parametrize("leave_one_out", [approximate_leave_one_out, exact_leave_one_out])
def test_the_only_example_of_a_class_cannot_be_left_out_with_an_intercept(leave_one_out):
    features, labels = made_data(30, 4, 2)

    with pytest.raises(UserError, match=says("class 2", "intercept", "1", "2")):
        leave_one_out(features, np.append(labels[:-1], 2), l2=1.0, intercept=True)


@pytest.mark.parametrize("leave_one_out", [approximate_leave_one_out, exact_leave_one_out])
def test_two_examples_are_too_few(leave_one_out):
    with pytest.raises(UserError, match=says("3", "examples")):
        leave_one_out([[1.0], [2.0]], [0, 1], l2=1.0)


@pytest.mark.parametrize("examples", [[30], [0, -1]])
def test_an_example_that_is_not_there_is_refused(examples):
    with pytest.raises(UserError, match=says("examples", "30")):
        exact_leave_one_out(*made_data(30, 4, 2), l2=1.0, examples=examples)
