import pytest
import torch
from made_steps import make_run
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers.averaging import move_towards
from steadytune.stabilizers.ema import EMA
from steadytune.stabilizers.swa import SWA
from steadytune.testing.models import tiny_classifier
from steadytune.training.stabilization import Stabilization


def _average(method, values, total_steps=0):
    model = nn.Linear(1, 1, bias=False)
    run = make_run(model=model)
    run.total_steps = total_steps or len(values)
    for step, value in enumerate(values, 1):
        run.step = step
        with torch.no_grad():
            model.weight.fill_(value)
            method.after_step(run, {})
    found = method.final_weights(run)
    return None if found is None else found["weight"].item()


def test_the_moving_average_weighs_each_step_by_its_age():
    # (1 * 0.25 + 2 * 0.5 + 6 * 1) / (0.25 + 0.5 + 1)
    assert _average(EMA(decay=0.5), [1.0, 2.0, 6.0]) == pytest.approx(7.25 / 1.75)


def test_the_moving_average_of_equal_weights_is_that_weight_from_the_first_step_on():
    assert _average(EMA(decay=0.999), [3.0]) == 3.0
    assert _average(EMA(decay=0.999), [3.0, 3.0]) == pytest.approx(3.0)


def test_the_mean_is_over_the_last_part_of_the_steps():
    assert _average(SWA(start=0.5), [100.0, 100.0, 1.0, 2.0]) == pytest.approx(1.5)
    assert _average(SWA(start=0.0), [1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_before_its_part_and_without_one_there_is_no_mean():
    assert _average(SWA(start=0.5), [1.0, 2.0], total_steps=10) is None
    assert _average(SWA(start=1.0), [1.0, 2.0]) is None
    assert _average(EMA(decay=0.0), [1.0, 2.0]) is None


def test_the_average_does_not_move_with_the_weights():
    model = nn.Linear(1, 1)
    run = make_run(model=model)
    run.step = 1
    EMA().after_step(run, {})
    kept = run.state["weight"].clone()

    with torch.no_grad():
        model.weight.add_(1.0)

    assert torch.equal(run.state["weight"], kept)


def test_without_the_number_of_steps_there_is_no_last_part():
    run = make_run(model=nn.Linear(1, 1))
    run.step = 1

    with pytest.raises(UserError, match="total_steps"):
        SWA().after_step(run, {})
    SWA(start=1.0).after_step(run, {})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_averages_of_half_precision_weights_do_not_stop_short_of_them(dtype):
    averages, weight = {}, torch.ones(1, dtype=dtype)
    move_towards(averages, {"w": weight}, 0)
    for _ in range(5000):
        move_towards(averages, {"w": 3 * weight}, 0.001)

    assert averages["w"].item() == pytest.approx(3 - 2 * 0.999**5000, rel=1e-4)


def test_an_average_is_placed_in_the_precision_of_the_weight():
    model = tiny_classifier("bert").bfloat16()
    kit = Stabilization(model, [EMA(decay=0.5)])
    kit.after_step(torch.optim.SGD(model.parameters(), lr=0.1))

    with kit.final_weights():
        assert model.classifier.weight.dtype == torch.bfloat16
    kit.finish()
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
