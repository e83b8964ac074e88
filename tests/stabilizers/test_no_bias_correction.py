import pytest
import torch
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers.no_bias_correction import NoBiasCorrection
from steadytune.stabilizers.optimizers import UncorrectedAdamW
from steadytune.testing.models import tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_the_first_step_is_too_long_by_the_factor_that_the_correction_takes_out():
    plain, uncorrected = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    for weight, kind in ((plain, torch.optim.AdamW), (uncorrected, UncorrectedAdamW)):
        weight.grad = torch.tensor([0.3])
        kind([weight], lr=0.1, betas=(0.9, 0.999), eps=1e-12, weight_decay=0.0).step()

    assert plain.item() == pytest.approx(-0.1)
    assert (uncorrected / plain).item() == pytest.approx(0.1 / 0.001**0.5, rel=1e-5)


def test_steps_are_those_of_adam_with_the_correction_taken_out_by_hand():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, dtype=torch.float64))
    mine, first, second = weight.detach().clone(), torch.zeros(3), torch.zeros(3)
    optimizer = UncorrectedAdamW([weight], lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.5)
    for _ in range(5):
        gradient = torch.randn(3, dtype=torch.float64)
        weight.grad = gradient
        optimizer.step()
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
        mine = mine - 0.1 * 0.5 * mine - 0.1 * first / (second.sqrt() + 1e-3)

    assert torch.allclose(weight, mine)


def test_it_takes_over_the_groups_of_the_trainers_optimizer():
    model = tiny_classifier("bert")
    groups = [{"params": [weight], "lr": 10.0**-n} for n, weight in enumerate(model.parameters(), 3)]

    made = Stabilization(model, [NoBiasCorrection()]).prepare_optimizer(torch.optim.AdamW(groups, weight_decay=0.7))

    assert isinstance(made, UncorrectedAdamW)
    assert [group["lr"] for group in made.param_groups] == [group["lr"] for group in groups]
    assert {group["weight_decay"] for group in made.param_groups} == {0.7}


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "RAdam", "Adamax"])
def test_an_optimizer_that_is_no_adamw_is_refused(name):
    model = tiny_classifier("bert")

    with pytest.raises(UserError, match=says("no_bias_correction", "AdamW", name)):
        Stabilization(model, [NoBiasCorrection()]).prepare_optimizer(
            getattr(torch.optim, name)(model.parameters(), lr=0.1)
        )


def test_the_fused_form_of_adamw_is_taken_over():
    model = tiny_classifier("bert")

    made = Stabilization(model, [NoBiasCorrection()]).prepare_optimizer(
        torch.optim.AdamW(model.parameters(), fused=True)
    )

    assert isinstance(made, UncorrectedAdamW)
