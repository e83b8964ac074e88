import pytest
import torch
from made_steps import make_run
from torch import nn

from steadytune.stabilizers.ema import EMA
from steadytune.stabilizers.swa import SWA


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
