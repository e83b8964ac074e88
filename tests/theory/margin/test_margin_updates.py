"""The max-margin head without each example, against heads that are computed anew and against all sets tried."""

import numpy as np
import pytest
from made_margins import separable_problems, tried_separator

from steadytune.theory import max_margin, max_margin_leave_one_out
from steadytune.theory.margin import updates
from steadytune.theory.margin.hard import hard_margin


@pytest.mark.parametrize("classes", [2, 3])
def test_every_head_is_the_one_that_the_other_examples_give(classes):
    for _, _, bound in separable_problems(60, seed=10 + classes, classes=classes):
        solution = bound.solution
        rows, owner = solution.constraints.rows / solution.largest_norm, solution.constraints.owner
        left_out = max_margin_leave_one_out(solution)
        for example, weights in enumerate(left_out.weights):
            anew = hard_margin(rows[owner != example]).weights / solution.largest_norm
            np.testing.assert_allclose(weights.ravel(), anew, atol=1e-8 * np.linalg.norm(anew))
        heads = left_out.weights.reshape(solution.constraints.n, -1)
        whole = solution.weights.ravel()
        apart = heads / np.linalg.norm(heads, axis=1)[:, None] - whole / np.linalg.norm(whole)
        np.testing.assert_allclose(left_out.differences, np.linalg.norm(heads - whole, axis=1), rtol=1e-12)
        np.testing.assert_allclose(left_out.direction_differences, np.linalg.norm(apart, axis=1), atol=1e-12)


def test_the_heads_of_small_problems_are_the_best_of_all_sets_tried():
    checked = 0
    for features, labels, bound in separable_problems(100, seed=5):
        if len(features) > 6 or features.shape[1] > 5:
            continue
        checked += 1
        rows = np.where(labels == 1, 1, -1)[:, None] * features / np.linalg.norm(features, axis=1).max()
        for example, weights in enumerate(max_margin_leave_one_out(bound.solution).weights):
            tried = tried_separator(np.delete(rows, example, axis=0))
            np.testing.assert_allclose(weights * bound.solution.largest_norm, tried, atol=1e-7 * np.linalg.norm(tried))
    assert checked > 5


def test_an_example_that_holds_nothing_changes_nothing():
    features = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0], [-7.0, -1.0]])
    solution = max_margin(features, [1, 1, 1, 0])
    left_out = max_margin_leave_one_out(solution)
    assert list(solution.support) == [0, 1]
    np.testing.assert_array_equal(left_out.differences[2:], 0)
    np.testing.assert_array_equal(left_out.weights[2:], [solution.weights] * 2)
    # Without (1, 0) the row (0, 1) holds all: (0, 1) has 5 on (5, 5) and 1 on (7, 1).
    np.testing.assert_allclose(left_out.weights[0], [0, 1], atol=1e-9)


def test_a_twin_takes_over_what_its_copy_held():
    solution = max_margin([[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]], [1, 1, 0])
    left_out = max_margin_leave_one_out(solution)
    np.testing.assert_allclose(left_out.differences[:2], 0, atol=1e-12)
    assert left_out.differences[2] == pytest.approx(1)


def test_a_single_example_that_holds_all_can_be_left_out():
    solution = max_margin([[1.0, 0.0], [2.0, 3.0], [-2.0, 3.0]], [1, 1, 0])
    assert list(solution.support) == [0]
    left_out = max_margin_leave_one_out(solution)
    # Of (2, 3) and (2, -3) the nearest point of the hull is (2, 0).
    np.testing.assert_allclose(left_out.weights[0], [0.5, 0], atol=1e-12)


def test_many_examples_near_the_limit_of_separability_are_updated_exactly():
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((110, 64)), np.arange(110) % 2
    solution = max_margin(features, labels)
    left_out = max_margin_leave_one_out(solution)
    for example in solution.support[::9]:
        anew = max_margin(np.delete(features, example, 0), np.delete(labels, example))
        np.testing.assert_allclose(left_out.weights[example], anew.weights, atol=1e-8 * np.linalg.norm(anew.weights))


def test_updates_arrive_by_themselves(monkeypatch):
    # Solving anew would hide any mistake in them, at twenty times the cost.
    anew = []
    monkeypatch.setattr(updates, "hard_margin", lambda rows: anew.append(len(rows)) or hard_margin(rows))
    rng = np.random.default_rng(0)
    left_out = max_margin_leave_one_out(max_margin(rng.standard_normal((60, 40)), np.arange(60) % 2))
    assert np.count_nonzero(left_out.differences) > 20
    assert anew == []


def test_a_thin_margin_is_updated_exactly():
    rng = np.random.default_rng(1)
    signs = np.where(np.arange(30) % 2, 1, -1)
    features = rng.standard_normal((30, 12))
    features[:, 0] = 1e-4 * signs
    solution = max_margin(features, np.arange(30) % 2)
    assert solution.gamma / solution.largest_norm < 1e-4
    left_out = max_margin_leave_one_out(solution)
    for example in solution.support:
        anew = max_margin(np.delete(features, example, 0), np.delete(np.arange(30) % 2, example))
        np.testing.assert_allclose(left_out.weights[example], anew.weights, atol=1e-7 * np.linalg.norm(anew.weights))
