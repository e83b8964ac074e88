"""The soft-margin separator against scikit-learn, cases worked out by hand, and the conditions of the optimum."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from steadytune.theory.margin.soft import soft_margin


@pytest.mark.parametrize("penalty", [0.01, 1.0, 10.0])
@pytest.mark.parametrize(("n", "d"), [(40, 3), (60, 20), (10, 30)])
def test_it_is_the_solution_of_scikit_learn(penalty, n, d):
    rng = np.random.default_rng(n)
    rows = rng.standard_normal((n, d)) + 0.3
    rows /= np.linalg.norm(rows, axis=1).max()
    signs = np.where(np.arange(n) % 2, 1, -1)
    model = LinearSVC(loss="hinge", C=penalty, fit_intercept=False, tol=1e-10, max_iter=1_000_000)
    model.fit(rows * signs[:, None], signs)
    multipliers, residual = soft_margin(rows, penalty)
    assert residual < 1e-9
    np.testing.assert_allclose(multipliers @ rows, model.coef_[0], atol=1e-6 * np.linalg.norm(model.coef_))


def test_opposite_rows_pull_with_all_their_force_and_leave_nothing():
    multipliers, residual = soft_margin(np.array([[1.0], [-1.0]]), 3.0)
    assert residual == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(multipliers, [3, 3])


def test_the_majority_decides_as_far_as_the_penalty_allows():
    # w^2 / 2 + C (2 max(0, 1 - w) + max(0, 1 + w)) is least at w = C up to C = 1, where the two rows reach the margin.
    rows = np.array([[1.0], [1.0], [-1.0]])
    for penalty, w in ((0.25, 0.25), (0.5, 0.5), (4.0, 1.0)):
        multipliers, _ = soft_margin(rows, penalty)
        assert multipliers @ rows == pytest.approx([w], abs=1e-9)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e3, 1e6])
def test_the_conditions_hold_for_random_rows_with_ties_at_every_penalty(penalty):
    rng = np.random.default_rng(1)
    for case in range(40):
        rows = rng.standard_normal((rng.integers(2, 40), rng.integers(1, 8)))
        if case % 2:
            rows = np.round(rows)
        rows /= max(np.linalg.norm(rows, axis=1).max(), 1)
        multipliers, _ = soft_margin(rows, penalty)
        margins = rows @ (multipliers @ rows)
        assert (multipliers >= 0).all()
        assert (multipliers <= penalty).all()
        assert (margins[multipliers < penalty] >= 1 - 1e-8).all()
        assert (margins[multipliers > 0] <= 1 + 1e-8).all()
