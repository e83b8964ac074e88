import pytest
import torch
from torch import nn

from steadytune.stabilizers.cngc import CNGC, clip_each
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_each_tensor_has_its_own_limit_and_the_norm_is_that_before():
    large, small, none, zero = (nn.Parameter(torch.zeros(2)) for _ in range(4))
    large.grad, small.grad, zero.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5]), torch.zeros(2)

    norm = clip_each([large, small, none, zero], 1.0)

    assert large.grad.tolist() == pytest.approx([0.6, 0.8])
    assert small.grad.tolist() == [0.0, 0.5]
    assert zero.grad.tolist() == [0.0, 0.0]
    assert none.grad is None
    assert norm.item() == pytest.approx((25 + 0.25) ** 0.5)


def test_it_takes_the_place_of_the_global_clip():
    model = tiny_classifier("bert", dropout=False).train()
    kit = Stabilization(model, [CNGC(limit=0.01)])
    kit.backward(model, batch(rows(4)))

    kit.before_step(max_norm=1e-9)

    norms = [weight.grad.norm().item() for weight in model.parameters() if weight.grad is not None]
    assert max(norms) == pytest.approx(0.01, rel=1e-5)
