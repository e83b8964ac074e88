import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_steps import make_step
from saying import says
from torch import nn

from steadytune.stabilizers import parse_stabilizer
from steadytune.stabilizers.mmr import MMR, centre_closeness
from steadytune.study import Study


def test_two_centres_at_distance_five_give_one_sixth():
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, 4.0], [4.0, 4.0]])

    assert centre_closeness(features, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(1 / 6)


def test_three_classes_give_the_mean_over_their_pairs():
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    expected = (1 / 6 + 1 / 2 + 1 / (1 + 18**0.5)) / 3

    assert centre_closeness(features, torch.tensor([0, 1, 2])).item() == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), width=st.integers(1, 6))
def test_it_equals_a_loop_over_pairs_in_numpy(seed, classes, width):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 6)])
    features = rng.normal(size=(len(labels), width))
    pairs = []
    for a in range(classes):
        for b in range(a):
            gap = (
                features[labels == a].sum(0) / (labels == a).sum() - features[labels == b].sum(0) / (labels == b).sum()
            )
            pairs.append(1 / (1 + np.sqrt((gap**2).sum())))

    value = centre_closeness(torch.from_numpy(features), torch.from_numpy(labels)).item()

    assert value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert 0 < value <= 1


def test_the_gradient_passes_a_finite_difference_check():
    torch.manual_seed(0)
    features = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 1, 2, 0, 1, 2])

    assert torch.autograd.gradcheck(lambda x: centre_closeness(x, classes), features)


def test_a_batch_of_one_class_contributes_nothing():
    assert centre_closeness(torch.randn(4, 3), torch.ones(4, dtype=torch.int64)).item() == 0


def test_equal_centres_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)

    centre_closeness(features, torch.tensor([0, 0, 1, 1])).backward()

    assert torch.isfinite(features.grad).all()


def test_the_penalty_is_alpha_times_the_regularizer():
    features, classes = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    step = make_step(nn.Linear(4, 2), features, classes)

    penalty = MMR(alpha=0.3).penalty(step)

    assert penalty.item() == pytest.approx(0.3 * centre_closeness(features, classes).item())
    assert MMR(alpha=0).penalty(step).item() == 0


def test_a_regression_is_refused():
    with pytest.raises(ValueError, match="classes"):
        MMR().check_kind("regression")


def test_the_head_setting_is_refused_because_it_freezes_the_features():
    with pytest.raises(ValueError, match=says("mmr", "mode 'head'", "mode 'full'")):
        Study.parse({"model": "m", "task": "t", "training": {"mode": "head"}, "recipes": ["mmr"]})


def test_a_recipe_may_name_alpha():
    assert parse_stabilizer({"mmr": {"alpha": 0.5}}) == MMR(alpha=0.5)


def test_autocast_does_not_round_the_centres():
    torch.manual_seed(0)
    features, classes = torch.randn(8, 64), torch.arange(8) % 3
    wide = centre_closeness(features, classes)

    with torch.autocast("cpu", torch.bfloat16):
        assert centre_closeness(features, classes).item() == wide.item()
