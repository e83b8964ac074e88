"""The hard-margin separator against every set of rows tried, and separability against a linear programme."""

import numpy as np
import pytest
from made_margins import tried_separator
from scipy.optimize import linprog

from steadytune.theory.margin.hard import RESOLUTION, hard_margin


def of_norm_one(rows):
    return rows / np.linalg.norm(rows, axis=1).max()


def test_the_separator_is_the_best_of_all_sets_of_rows():
    rng = np.random.default_rng(0)
    found = 0
    while found < 60:
        rows = of_norm_one(rng.standard_normal((rng.integers(1, 8), rng.integers(1, 5))) + 0.4)
        separator, tried = hard_margin(rows), tried_separator(rows)
        assert (separator is None) == (tried is None)
        if tried is not None:
            found += 1
            np.testing.assert_allclose(separator.weights, tried, rtol=1e-8, atol=1e-8 * np.linalg.norm(tried))
            np.testing.assert_allclose(separator.multipliers @ rows, tried, atol=1e-8 * np.linalg.norm(tried))


@pytest.mark.parametrize("n", [30, 38, 40, 42, 60])
def test_separability_is_what_a_linear_programme_finds(n):
    # Rows of random sign in d dimensions are separable with probability 1/2 at n = 2 d.
    rng = np.random.default_rng(n)
    answers = []
    for _ in range(12):
        rows = of_norm_one(rng.standard_normal((n, 20)))
        programme = linprog(np.zeros(20), A_ub=-rows, b_ub=-np.ones(n), bounds=(None, None))
        answers.append(programme.status == 0)
        assert (hard_margin(rows) is not None) == answers[-1]
    assert n in (30, 60) or 0 < sum(answers) < 12


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5])
def test_a_thin_margin_is_found_to_eight_digits(gap):
    # The middle of the two rows is the point of their hull next to 0: the margin is its distance, gap.
    side = np.sqrt(1 - gap**2)
    separator = hard_margin(np.array([[gap, side], [gap, -side], [3 * gap, 0.1]]))
    np.testing.assert_allclose(separator.weights * gap, [1, 0], atol=1e-8)
    np.testing.assert_allclose(separator.multipliers * gap**2, [0.5, 0.5, 0], atol=1e-8)


def test_a_margin_that_float64_cannot_tell_from_none_counts_as_none():
    gap = RESOLUTION / 10
    assert hard_margin(np.array([[gap, 1], [gap, -1]])) is None


def test_the_conditions_of_the_optimum_hold_at_the_size_of_real_features():
    rng = np.random.default_rng(3)
    features = rng.standard_normal((400, 384))
    rows = of_norm_one(features)
    found = hard_margin(rows)
    margins = rows @ found.weights
    assert margins.min() > 1 - 1e-10
    assert found.multipliers.min() >= 0
    assert np.linalg.norm(found.multipliers @ rows - found.weights) < 1e-10 * np.linalg.norm(found.weights)
    # Strong duality: half the squared norm of w equals the sum of the multipliers less as much.
    assert found.multipliers.sum() == pytest.approx(found.weights @ found.weights, rel=1e-10)
