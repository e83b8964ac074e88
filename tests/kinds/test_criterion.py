"""The loss of a task, by hand."""

import math

import pytest
import torch

from steadytune.kinds import KINDS


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 2)])
def test_the_candidates_of_a_question_share_one_softmax(shape):
    logits = torch.tensor([0.0, math.log(3), math.log(7), 0.0]).reshape(shape)
    # The right ones have 3 of 4, and 1 of 8.
    expected = -(math.log(3 / 4) + math.log(1 / 8)) / 2
    assert float(KINDS["choice"].criterion()(logits, torch.tensor([1, 1]))) == pytest.approx(expected)


def test_a_regression_is_scored_by_the_squared_error_and_classes_by_their_probability():
    assert float(KINDS["regression"].criterion()(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 2.0]))) == 2.5
    two = torch.tensor([[0.0, math.log(3)]])
    assert float(KINDS["classification"].criterion()(two, torch.tensor([1]))) == pytest.approx(-math.log(0.75))


def test_a_batch_has_the_shape_of_its_kind():
    rows = {"input_ids": torch.arange(12).view(4, 3)}

    classes, targets, choices = (KINDS[name].batch(rows, labels) for name, labels in (
        ("classification", [0, 1, 1, 0]), ("regression", [0.5, 1, 1, 0]), ("choice", [0, 1])
    ))  # fmt: skip

    assert classes["input_ids"].shape == targets["input_ids"].shape == (4, 3)
    assert torch.equal(choices["input_ids"], rows["input_ids"].view(2, 2, 3))
    assert [one["labels"].dtype for one in (classes, targets, choices)] == [torch.int64, torch.float32, torch.int64]
    assert targets["labels"][0] == 0.5


def test_of_a_choice_the_rows_are_right_or_wrong():
    found = KINDS["choice"].row_classes(torch.zeros(2, 3), torch.tensor([2, 0]))

    assert found.tolist() == [0, 0, 1, 1, 0, 0]
    assert KINDS["choice"].count_row_classes(torch.zeros(2, 3)) == 2
    assert KINDS["regression"].row_classes(torch.zeros(2, 1), torch.zeros(2)) is None
