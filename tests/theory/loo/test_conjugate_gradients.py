import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.theory.loo.conjugate_gradients import conjugate_gradients


def _operator(matrix):
    return lambda rows: rows @ matrix.T


def _positive(size, seed, least):
    factor = torch.from_numpy(np.random.default_rng(seed).standard_normal((size, size)))
    return factor @ factor.T + least * torch.eye(size, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 12), many=st.integers(1, 6), seed=st.integers(0, 1000))
def test_each_right_hand_side_is_solved_as_by_elimination(size, many, seed):
    matrix = _positive(size, seed, 0.5)
    right = torch.from_numpy(np.random.default_rng(seed + 1).standard_normal((many, size)))

    solved = conjugate_gradients(_operator(matrix), right, tolerance=1e-12)

    assert torch.allclose(solved.values, torch.linalg.solve(matrix, right.T).T, rtol=1e-7, atol=1e-9)
    assert solved.residuals.max() < 1e-9


def test_as_many_steps_as_there_are_different_curvatures():
    matrix = torch.diag(torch.tensor([1.0, 1.0, 4.0, 4.0], dtype=torch.float64))

    solved = conjugate_gradients(_operator(matrix), torch.ones(1, 4, dtype=torch.float64))

    assert solved.steps == 2
    assert solved.values[0].tolist() == pytest.approx([1, 1, 0.25, 0.25])


def test_a_system_that_is_not_solved_says_how_far_it_is():
    matrix = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))

    solved = conjugate_gradients(_operator(matrix), torch.ones(1, 2, dtype=torch.float64), max_steps=1)

    # One step along (1, 1) of length 2/4: what is left is (1, 1) - (0.5, 1.5).
    assert solved.values[0].tolist() == [0.5, 0.5]
    assert float(solved.residuals[0]) == pytest.approx(0.5)


def test_nothing_on_the_right_takes_no_step_and_others_beside_it_are_solved():
    right = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)

    solved = conjugate_gradients(_operator(2 * torch.eye(2, dtype=torch.float64)), right)

    assert solved.values.tolist() == [[0, 0], [1, 0]]
    assert solved.residuals.tolist() == [0, 0]


def test_a_singular_operator_gives_the_solution_of_least_norm_where_there_is_one():
    matrix = torch.tensor([[2.0, 2.0], [2.0, 2.0]], dtype=torch.float64)

    solved = conjugate_gradients(_operator(matrix), torch.tensor([[4.0, 4.0], [1.0, -1.0]], dtype=torch.float64))

    assert solved.values[0].tolist() == pytest.approx([1, 1])
    # (1, -1) is not in the range: nothing can be done about it, and that is said.
    assert solved.residuals.tolist() == pytest.approx([0, 1])


def test_negative_curvature_is_an_error_with_the_shift_that_it_needs():
    matrix = torch.diag(torch.tensor([1.0, -0.25], dtype=torch.float64))

    with pytest.raises(UserError, match=says("negative", "0.25", "damping")):
        conjugate_gradients(_operator(matrix), torch.tensor([[0.0, 1.0]], dtype=torch.float64))
