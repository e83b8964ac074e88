import pytest
import torch
from made_steps import make_run, make_step
from torch import nn

from steadytune.stabilizers.centre_loss import CentreLoss, centre_moves


def test_a_centre_moves_by_the_sum_of_the_ways_over_one_more_than_their_number():
    features = torch.tensor([[3.0, 0.0], [5.0, 1.0], [1.0, 1.0]])
    centres = torch.tensor([[1.0, 0.0], [0.0, 0.0], [7.0, 7.0]])

    moves = centre_moves(features, torch.tensor([0, 0, 1]), centres)

    # Class 0: (1 - 3 + 1 - 5, 0 - 0 + 0 - 1) / 3; class 1: (0 - 1, 0 - 1) / 2; class 2 has no example.
    assert torch.allclose(moves, torch.tensor([[-2.0, -1 / 3], [-0.5, -0.5], [0.0, 0.0]]))


def test_the_penalty_is_half_the_mean_squared_distance_to_the_centres_before_they_move():
    features = torch.tensor([[3.0, 4.0], [0.0, 2.0]], requires_grad=True)
    run = make_run()
    step = make_step(nn.Linear(2, 3), features, torch.tensor([0, 2]), run=run)
    method = CentreLoss(weight=0.5, rate=0.5)

    first = method.penalty(step)
    first.backward()

    assert first.item() == pytest.approx(0.5 / 2 * (25 + 4) / 2)
    assert torch.allclose(features.grad, 0.25 * features.detach())
    # Each class has one example: half of its way, times the rate.
    assert torch.allclose(run.state["centres"], torch.tensor([[0.75, 1.0], [0.0, 0.0], [0.0, 0.5]]))
    assert method.penalty(step).item() == pytest.approx(0.25 * (2.25**2 + 3**2 + 1.5**2) / 2)


def test_centres_reach_the_means_of_classes_that_stay():
    features, classes = torch.randn(8, 3), torch.tensor([0, 1] * 4)
    run = make_run()
    step = make_step(nn.Linear(3, 2), features, classes, run=run)

    for _ in range(100):
        CentreLoss().penalty(step)

    means = torch.stack([features[classes == label].mean(0) for label in (0, 1)])
    assert torch.allclose(run.state["centres"], means, atol=1e-5)


def test_processes_move_their_centres_together():
    run = make_run()
    run.average = lambda moves: moves + 1
    step = make_step(nn.Linear(2, 2), torch.zeros(2, 2), torch.tensor([0, 1]), run=run)

    CentreLoss(rate=0.5).penalty(step)

    assert torch.equal(run.state["centres"], torch.full((2, 2), -0.5))


def test_a_choice_has_a_centre_of_right_candidates_and_one_of_wrong_ones():
    run = make_run(kind="choice")
    step = make_step(nn.Linear(2, 1), torch.ones(4, 2), torch.tensor([0, 1, 1, 0]), kind="choice", run=run)

    CentreLoss().penalty(step)

    assert run.state["centres"].shape == (2, 2)


def test_without_weight_there_is_nothing_and_a_regression_is_refused():
    run = make_run()
    step = make_step(nn.Linear(2, 2), torch.ones(2, 2), torch.tensor([0, 1]), run=run)

    assert CentreLoss(weight=0.0).penalty(step) is None
    assert not run.state
    with pytest.raises(ValueError, match="classes"):
        CentreLoss().check_kind("regression")


def test_autocast_does_not_round_the_products():
    torch.manual_seed(0)
    features, classes, centres = torch.randn(8, 64), torch.arange(8) % 2, torch.randn(2, 64)
    wide = centre_moves(features, classes, centres)

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(centre_moves(features, classes, centres), wide)
