"""The loss of a task, by hand."""

import math

import pytest
import torch

from steadytune.models.criterion import task_criterion


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 2)])
def test_the_candidates_of_a_question_share_one_softmax(shape):
    logits = torch.tensor([0.0, math.log(3), math.log(7), 0.0]).reshape(shape)
    # The right ones have 3 of 4, and 1 of 8.
    expected = -(math.log(3 / 4) + math.log(1 / 8)) / 2
    assert float(task_criterion("choice")(logits, torch.tensor([1, 1]))) == pytest.approx(expected)


def test_a_regression_is_scored_by_the_squared_error_and_classes_by_their_probability():
    assert float(task_criterion("regression")(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 2.0]))) == 2.5
    two = torch.tensor([[0.0, math.log(3)]])
    assert float(task_criterion("classification")(two, torch.tensor([1]))) == pytest.approx(-math.log(0.75))
