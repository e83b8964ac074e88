import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_steps import make_step
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers import parse_stabilizer
from steadytune.stabilizers.large_margin import LargeMargin, widened
from steadytune.stabilizers.r4f import R4F
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def at_angle(angle, norm=1.0):
    return norm * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)


AXIS = torch.tensor([[2.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("angle", [0.3, 1.5, 2.6])
def test_the_angle_grows_by_the_margin(angle):
    found = widened(at_angle(angle, norm=3.0), AXIS, 0.5).item()

    assert found == pytest.approx(6 * math.cos(angle + 0.5), abs=1e-7)


def test_beyond_pi_it_goes_on_falling_without_a_jump():
    angles = torch.linspace(0.01, math.pi - 0.01, 400).tolist()

    values = [widened(at_angle(angle), AXIS, 1.0).item() for angle in angles]
    steps = [later - earlier for earlier, later in pairwise(values)]

    assert max(steps) < 0
    assert min(steps) > -2 * (angles[1] - angles[0]) * 1.01
    assert values[-1] == pytest.approx(2 * (-2 - math.cos(math.pi - 0.01 + 1)), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), margin=st.floats(0.01, 3.1))
def test_it_is_never_above_the_plain_product_and_scales_with_the_norms(seed, margin):
    generator = torch.Generator().manual_seed(seed)
    features, weight = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))

    value = widened(features, weight, margin)

    assert (value < (features * weight).sum(-1)).all()
    assert torch.allclose(widened(5 * features, weight, margin), 5 * value)


def test_the_gradient_is_finite_at_angles_zero_and_pi_and_of_a_zero_feature():
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], requires_grad=True)

    widened(features, torch.tensor([[2.0, 0.0]] * 3), 0.5).sum().backward()

    assert torch.isfinite(features.grad).all()


def test_a_logit_margin_is_cross_entropy_with_the_right_logit_lowered():
    head = nn.Linear(2, 3, bias=False)
    step = make_step(head, torch.eye(2), torch.tensor([0, 2]))
    logits = head.weight.T.detach().tolist()
    expected = 0.0
    for row, label in zip(logits, (0, 2), strict=True):
        lowered = [value - 0.7 * (n == label) for n, value in enumerate(row)]
        expected += (math.log(sum(map(math.exp, lowered))) - lowered[label]) / 2

    assert LargeMargin(margin=0.7, form="logit").task_loss(step).item() == pytest.approx(expected, rel=1e-6)


def test_an_angular_margin_is_cross_entropy_with_the_right_angle_widened():
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        head.bias.copy_(torch.tensor([0.25, -0.5]))
    # 45 degrees between the feature (1, 1) and either weight.
    step = make_step(head, torch.ones(1, 2), torch.tensor([1]))
    right = 2 * 2**0.5 * math.cos(math.pi / 4 + 0.3) - 0.5

    found = LargeMargin(margin=0.3).task_loss(step).item()

    assert found == pytest.approx(math.log(1 + math.exp(1.25 - right)), rel=1e-5)


@pytest.mark.parametrize("form", ["angle", "logit"])
def test_of_a_choice_only_the_right_candidate_is_held_back(form):
    head, features = nn.Linear(3, 1), torch.randn(4, 3)
    labels = torch.tensor([1, 0])
    step = make_step(head, features, labels, kind="choice")
    step = type(step)(**{**vars(step), "classes": torch.tensor([0, 1, 1, 0])})
    logits = head(features).detach().view(2, 2)
    for row, chosen in ((0, 1), (1, 0)):
        if form == "logit":
            logits[row, chosen] -= 0.4
        else:
            feature = features[2 * row + chosen][None]
            logits[row, chosen] = widened(feature, head.weight.detach(), 0.4).item() + head.bias.item()

    found = LargeMargin(margin=0.4, form=form).task_loss(step)

    assert found.item() == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)


def test_predictions_are_the_plain_ones():
    model, inputs = tiny_classifier("bert", dropout=False), batch(rows(4))
    plain = model.eval()(**{name: value for name, value in inputs.items() if name != "labels"}).logits
    kit = Stabilization(model, [LargeMargin(margin=2.0)])

    loss, outputs = kit.loss(model.train(), inputs)

    assert torch.allclose(outputs.logits, plain, atol=1e-6)
    assert loss > nn.functional.cross_entropy(plain, inputs["labels"])


def test_an_angle_to_a_layer_that_is_replaced_is_refused_and_a_logit_is_not():
    inputs = batch(rows(4))
    model = tiny_classifier("bert")
    with pytest.raises(UserError, match=says("large_margin", "last layer")):
        Stabilization(model, [R4F(), LargeMargin()]).loss(model.train(), inputs)
    model = tiny_classifier("bert")
    kit = Stabilization(model, [R4F(), LargeMargin(form="logit")])
    assert torch.isfinite(kit.loss(model.train(), inputs)[0])


def test_a_regression_is_refused():
    with pytest.raises(ValueError, match="classes"):
        LargeMargin().check_kind("regression")


def test_an_angle_ends_at_pi_and_a_logit_does_not():
    with pytest.raises(ValueError, match=says("margin", "3.14", "'angle'", "10")):
        parse_stabilizer({"large_margin": {"margin": 10}})
    assert parse_stabilizer({"large_margin": {"margin": 10, "form": "logit"}}).margin == 10
