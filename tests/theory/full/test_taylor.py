import math

import numpy as np
import pytest
import torch
from saying import names, says
from scipy.optimize import brentq
from torch import nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.theory import MeanLoss, taylor_check


def one_weight(function, at=0.0):
    """A loss that is a function of one weight."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, at)
    ones = torch.ones(3, 1, dtype=torch.float64)
    return MeanLoss(model, [(ones, ones)], lambda outputs, _: function(outputs).mean())


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_expansion_of_a_quadratic_is_the_quadratic():
    torch.manual_seed(0)
    inputs, targets = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    loss = MeanLoss(nn.Linear(4, 1).double(), [(inputs, targets)], KINDS["regression"].criterion())

    check = taylor_check(loss, loss.weights + torch.randn(5, dtype=torch.float64), reach=5)

    assert check.expansion == pytest.approx(check.loss)
    assert check.error == pytest.approx(np.zeros(21), abs=1e-12)
    assert check.limit == math.inf
    assert names(check.describe(), "10 %", f"{5 * check.travelled:.3g}", f"{check.travelled:.3g}")


def test_the_expansion_of_the_exponential_ends_where_its_remainder_is_a_tenth():
    loss = one_weight(torch.exp)

    check = taylor_check(loss, vector(4.0), points=5)

    limit = brentq(lambda s: math.exp(s) - 1 - s - s**2 / 2 - 0.1 * math.exp(s), 0.5, 3)
    assert check.distance.tolist() == [0, 1, 2, 3, 4]
    assert check.loss == pytest.approx(np.exp([0, 1, 2, 3, 4]))
    assert check.expansion.tolist() == pytest.approx([1, 2.5, 5, 8.5, 13])
    assert check.error == pytest.approx(np.abs(check.expansion - check.loss) / check.loss)
    assert (check.slope, check.curvature, check.travelled) == pytest.approx((1, 1, 4))
    assert check.limit == pytest.approx(limit, abs=1e-3)
    assert names(check.describe(), "10 %", f" {limit:.3g} ", "w_0", "4")


def test_the_line_points_from_the_start_to_the_end_wherever_they_are():
    check = taylor_check(one_weight(torch.exp, at=1.0), vector(-1.0), points=3)

    # Downwards from e: exp(1 - s) against e (1 - s + s^2/2).
    assert check.loss == pytest.approx(np.exp([1, 0, -1]))
    assert check.expansion == pytest.approx(math.e * np.array([1, 0.5, 1]))
    assert check.slope == pytest.approx(-math.e)


def test_an_error_before_the_first_point_is_found_too():
    check = taylor_check(one_weight(lambda w: torch.exp(100 * w)), vector(1.0), points=3)

    limit = brentq(lambda s: 1 - (1 + s + s**2 / 2) * math.exp(-s) - 0.1, 0.5, 3) / 100
    assert check.limit == pytest.approx(limit, abs=2e-4)


def test_a_loss_that_reaches_zero_off_its_expansion_has_an_infinite_error_there():
    check = taylor_check(one_weight(lambda w: (1 - w) ** 4), vector(1.0), points=2)

    assert check.loss[-1] == 0
    assert check.expansion[-1] == pytest.approx(1 - 4 + 6)
    assert check.error[-1] == math.inf
    assert 0 < check.limit < 1


def test_a_loss_of_zero_at_the_start_that_is_rounded_otherwise_beside_its_gradient_has_no_error_there():
    def rounded(w):
        return w**2 + 1e-12 * torch.is_grad_enabled()

    check = taylor_check(one_weight(rounded), vector(1.0))

    assert check.loss[0] == 0
    assert check.error == pytest.approx(np.zeros(21))
    assert check.limit == math.inf


def test_the_weights_are_where_they_were_after():
    loss = one_weight(torch.exp, at=0.3)

    taylor_check(loss, vector(2.0))

    assert loss.weights.item() == 0.3


def test_a_line_without_length_or_with_an_infinite_loss_is_refused():
    with pytest.raises(UserError, match=says("weights", "0")):
        taylor_check(one_weight(torch.exp), vector(0.0))
    with pytest.raises(UserError, match=says("weights", "nan")):
        taylor_check(one_weight(torch.exp), vector(math.nan))
    with pytest.raises(UserError, match=says("loss", "overflow")):
        taylor_check(one_weight(torch.exp), vector(1000.0))


@pytest.mark.parametrize("wrong", [{"points": 1}, {"reach": 0.0}, {"reach": math.inf}])
def test_arguments_out_of_their_range_are_refused(wrong):
    with pytest.raises(UserError, match=says("points", "2", "reach")):
        taylor_check(one_weight(torch.exp), vector(1.0), **wrong)
