"""The bound is never below what leaving out an example does: to max-margin heads, soft ones, and heads that descend."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_margins import separable_problems
from saying import names, says
from sklearn.svm import LinearSVC

from steadytune.errors import UserError
from steadytune.theory import head_tuning_bound, max_margin, max_margin_leave_one_out

# Comparisons are between numbers of eight digits or more.
SLACK = 1 + 1e-8


def descended(features, labels, steps, weights=None, init=0.0):
    """Heads (weights, d) that gradient descent on the logistic loss finds with each row of example weights."""
    signs = 2.0 * np.asarray(labels) - 1
    rows = features * signs[:, None]
    weights = np.ones((1, len(rows))) if weights is None else weights
    heads = np.full((len(weights), features.shape[1]), init)
    rate = 4 / np.linalg.norm(rows, 2) ** 2
    for _ in range(steps):
        pull = weights / (1 + np.exp(np.clip(heads @ rows.T, -700, 700)))
        heads = heads + rate * pull @ rows
    return heads


@pytest.mark.parametrize(("classes", "number"), [(2, 1000), (3, 150)])
def test_the_bound_is_never_below_the_exact_leave_one_out_of_the_max_margin_head(classes, number):
    tight = []
    for _, _, bound in separable_problems(number, seed=0, classes=classes):
        actual = max_margin_leave_one_out(bound.solution)
        digits = 1e-8 * np.linalg.norm(bound.solution.weights)
        assert (actual.differences <= bound.sharp_weights_bound * SLACK + digits).all()
        assert (actual.direction_differences <= bound.sharp_direction_bound * SLACK + 1e-8).all()
        assert actual.direction_differences.mean() <= bound.direction_bound
        # What is sharper must not be above what is stated.
        assert (bound.sharp_weights_bound <= bound.weights_bound * SLACK).all()
        assert bound.sharp_direction_bound.mean() <= bound.direction_bound * SLACK
        assert bound.sharp_direction_bound.max() <= np.sqrt(2) * SLACK
        tight.append(actual.direction_differences.mean() / bound.direction_bound)
    # A bound that is always far above would pass too.
    assert max(tight) > 0.3


def test_orthogonal_examples_reach_the_sharp_bound_and_all_terms_are_those_worked_out_by_hand():
    # w = sum of z / ||z||^2, so that leaving one out takes its own part of w away.
    sizes = np.array([1.0, 2.0, 4.0])
    bound = head_tuning_bound(np.diag(sizes * [1, -1, 1]), [1, 0, 1])
    alpha = 1 / sizes**2
    norm = np.sqrt(alpha.sum())
    np.testing.assert_allclose(bound.solution.alpha, alpha, rtol=1e-12)
    np.testing.assert_allclose(
        bound.weights_bound, np.minimum(2 * alpha * 4, np.sqrt(2 * alpha * (1 + 4 * norm))), rtol=1e-12
    )
    assert bound.direction_bound == pytest.approx(min(np.sqrt(2 / 3 * (1 + 4 * norm)), 16 * norm / 3))
    np.testing.assert_allclose(bound.sharp_weights_bound, 1 / sizes, rtol=1e-12)
    actual = max_margin_leave_one_out(bound.solution)
    np.testing.assert_allclose(actual.differences, bound.sharp_weights_bound, rtol=1e-10)
    np.testing.assert_allclose(actual.direction_differences, bound.sharp_direction_bound, rtol=1e-10)


def test_far_examples_make_the_root_the_lesser_bound_and_many_examples_the_other():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    features = rng.standard_normal((400, 3)) + 20 * (2 * labels - 1)[:, None]
    many = head_tuning_bound(features, labels)
    ratio = many.solution.largest_norm / many.solution.gamma
    assert many.direction_bound == pytest.approx(4 * ratio / 400)
    few = head_tuning_bound(features[:4] * np.array([[1], [1], [1], [50]]), labels[:4])
    ratio = few.solution.largest_norm / few.solution.gamma
    assert few.direction_bound == pytest.approx(np.sqrt((1 + ratio) / 2))
    # Of the bound of a few examples, above the largest distance there is, one thing more is said.
    assert len(few.describe()[1].split()) > len(many.describe()[1].split())


def test_the_soft_bound_is_never_below_what_refitted_heads_do():
    rng = np.random.default_rng(3)
    for case in range(25):
        n, d = int(rng.integers(8, 25)), int(rng.integers(1, 4))
        features, labels = rng.standard_normal((n, d)), np.arange(n) % 2
        penalty = 10 ** rng.uniform(-1, 1)
        bound = head_tuning_bound(features, labels, penalty=penalty)
        if bound.solution.separable:
            continue
        whole = bound.solution.weights
        for example in range(n):
            kept = np.arange(n) != example
            model = LinearSVC(loss="hinge", C=penalty, fit_intercept=False, tol=1e-9, max_iter=1_000_000)
            head = model.fit(features[kept], labels[kept]).coef_[0]
            turned = np.linalg.norm(head / np.linalg.norm(head) - whole / np.linalg.norm(whole))
            assert np.linalg.norm(head - whole) <= bound.sharp_weights_bound[example] + 1e-6
            assert turned <= bound.sharp_direction_bound[example] + 1e-6, case
        assert (bound.sharp_weights_bound <= bound.weights_bound * SLACK).all()
        assert bound.sharp_direction_bound.mean() <= bound.direction_bound * SLACK


@pytest.mark.parametrize("steps", [1, 30, 1000])
@pytest.mark.parametrize("init", [0.0, 0.5])
def test_the_bound_of_descent_is_never_below_what_descent_does(steps, init):
    for given, labels, exact in separable_problems(15, seed=steps):
        features = given / exact.solution.largest_norm
        whole = descended(features, labels, steps, init=init)
        without = descended(features, labels, steps, 1 - np.eye(len(labels)), init)
        bound = head_tuning_bound(features, labels, weights=whole[0], left_out_weights=without)
        units = without / np.linalg.norm(without, axis=1)[:, None] - whole / np.linalg.norm(whole)
        np.testing.assert_allclose(bound.descent.measured, np.linalg.norm(units, axis=1), rtol=1e-9)
        assert bound.descent.measured.mean() <= bound.descent_bound * SLACK


def test_the_direction_error_of_descent_falls_with_its_steps_and_is_told():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 2
    features = rng.standard_normal((12, 3)) + 2.0 * (2 * labels - 1)[:, None]
    errors = []
    for steps in (1, 100, 10_000):
        whole = descended(features, labels, steps)
        without = descended(features, labels, steps, 1 - np.eye(12))
        bound = head_tuning_bound(features, labels, weights=whole, left_out_weights=without[:, None])
        errors.append(bound.descent.whole + bound.descent.left_out.mean())
        assert bound.descent.wrong == 0
    assert errors[0] > errors[1] > errors[2]
    assert f" {bound.descent.whole:.3g}" in bound.describe()[2]
    assert len(bound.describe()) == 3


def test_the_max_margin_heads_themselves_have_no_direction_error_in_either_form():
    for classes in (2, 3):
        features, labels, bound = next(separable_problems(1, seed=7, classes=classes))
        solution, left_out = bound.solution, max_margin_leave_one_out(bound.solution).weights
        forms = [(solution.weights, left_out)]
        if classes == 2:
            # Softmax heads: half of the difference on each class, and a part that no prediction depends on.
            noise = np.linalg.norm(solution.weights)
            forms.append(
                tuple(np.stack([noise - head / 2, noise + head / 2], axis=-2) for head in (solution.weights, left_out))
            )
        else:
            forms.append((solution.weights + 1.0, left_out - 1.0))
        for weights, others in forms:
            found = head_tuning_bound(
                features, labels, weights=torch.from_numpy(weights), left_out_weights=torch.from_numpy(others)
            )
            assert found.descent.whole == pytest.approx(0, abs=1e-7)
            np.testing.assert_allclose(found.descent.left_out, 0, atol=1e-7)
            assert found.descent_bound == pytest.approx(found.sharp_direction_bound.mean(), abs=1e-6)


def test_a_head_that_errs_is_told_not_to_have_converged():
    features, labels, bound = next(separable_problems(1, seed=8))
    against = -bound.solution.weights
    found = head_tuning_bound(features, labels, weights=against, left_out_weights=np.stack([against] * len(labels)))
    assert found.descent.wrong == len(labels)
    assert names(found.describe()[-1], f"{len(labels)} of the {len(labels)} examples")


def test_classes_that_are_not_separable_are_named_as_the_assumption_that_fails():
    features, labels = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([0, 1, 0, 1])
    found = head_tuning_bound(features, labels, weights=[1.0], left_out_weights=np.ones((4, 1)), penalty=0.02)
    assert found.descent is None
    assert np.isnan(found.descent_bound)
    assert "not separable" in found.describe()[0]
    assert "C = 0.02" in found.describe()[0]
    rough = replace(found, solution=replace(found.solution, residual=1e-3))
    assert names(rough.describe()[1], "conditions", "0.001")


def test_weights_that_vanish_have_no_direction_to_bound():
    found = head_tuning_bound([[1.0], [1.0], [0.0]], [1, 0, 1])
    np.testing.assert_allclose(found.solution.weights, 0, atol=1e-12)
    assert found.direction_bound == np.inf
    np.testing.assert_allclose(found.sharp_direction_bound[:2], 2)


@pytest.mark.parametrize(
    ("weights", "left_out", "words"),
    [
        (np.ones(2), None, says("weights", "left_out_weights")),
        (None, np.ones((3, 2)), says("weights", "left_out_weights")),
        (np.ones(3), np.ones((3, 2)), says("weights", "(2, 2)", "(1, 2)", "(2,)", "(3,)")),
        (np.ones(2), np.ones((2, 2)), says("weights", "(3, 2)", "(2, 2)")),
        (np.zeros(2), np.ones((3, 2)), says("weights", "no direction")),
        (np.full(2, np.nan), np.ones((3, 2)), "diverged"),
    ],
)
def test_weights_that_fit_nothing_are_refused_in_words(weights, left_out, words):
    features, labels = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -2.0]]), [1, 1, 0]
    assert max_margin(features, labels).separable
    with pytest.raises(UserError, match=words):
        head_tuning_bound(features, labels, weights=weights, left_out_weights=left_out)
