import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_steps import make_step
from torch import nn

from steadytune.stabilizers.supcon import SupCon, contrast


def test_two_pairs_at_right_angles_have_a_value_known_by_hand():
    features = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    classes = torch.tensor([0, 0, 1, 1])

    # Each example has one partner at cosine 1 and two others at 0.
    assert contrast(features, classes, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_an_example_without_partner_is_contrasted_but_has_no_loss_of_its_own():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    assert contrast(features, torch.tensor([0, 0, 1]), 1.0).item() == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("classes", [[0, 1, 2], [0]])
def test_a_batch_without_partners_contributes_nothing(classes):
    features = torch.randn(len(classes), 3, requires_grad=True)

    assert contrast(features, torch.tensor(classes), 0.3).item() == 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(1, 4), temperature=st.floats(0.1, 3))
def test_it_equals_loops_in_numpy(seed, classes, temperature):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 4)])
    features = rng.normal(size=(len(labels), 3))
    unit = features / np.sqrt((features**2).sum(1))[:, None]
    losses = []
    for i, row in enumerate(unit):
        bottom = sum(np.exp(row @ unit[k] / temperature) for k in range(len(unit)) if k != i)
        logs = [
            np.log(np.exp(row @ unit[j] / temperature) / bottom)
            for j in range(len(unit))
            if j != i and labels[j] == labels[i]
        ]
        if logs:
            losses.append(-np.mean(logs))

    found = contrast(torch.from_numpy(features), torch.from_numpy(labels), temperature).item()

    assert found == pytest.approx(np.mean(losses), rel=1e-9)


def test_the_gradient_passes_a_finite_difference_check():
    torch.manual_seed(0)
    features = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 1, 2, 0, 1, 0])

    assert torch.autograd.gradcheck(lambda x: contrast(x, classes, 0.3), features)


def test_the_loss_is_a_mixture_with_the_task_loss():
    features, classes = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    head = nn.Linear(4, 2)
    step = make_step(head, features, classes)
    task = nn.functional.cross_entropy(head(features), classes).item()

    found = SupCon(weight=0.25, temperature=0.7).task_loss(step).item()

    assert found == pytest.approx(0.75 * task + 0.25 * contrast(features, classes, 0.7).item())
    assert SupCon(weight=0.0).task_loss(step) is None


def test_a_regression_is_refused():
    with pytest.raises(ValueError, match="classes"):
        SupCon().check_kind("regression")


def test_autocast_does_not_round_the_products():
    torch.manual_seed(0)
    features, classes = torch.randn(8, 64), torch.arange(8) % 2
    wide = contrast(features, classes, 0.1)

    with torch.autocast("cpu", torch.bfloat16):
        assert contrast(features, classes, 0.1).item() == wide.item()
