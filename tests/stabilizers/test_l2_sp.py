import pytest
import torch

from steadytune.stabilizers.l2_sp import L2SP, squared_norm
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_the_squared_norm_is_that_of_all_tensors_together():
    assert squared_norm([torch.tensor([[3.0, 4.0]]), torch.tensor(2.0)]).item() == 29


def test_the_penalty_is_half_of_each_squared_distance():
    model = tiny_classifier("bert", dropout=False).double()
    kit = Stabilization(model, [L2SP(alpha=0.3, beta=0.7)])
    plain = Stabilization(tiny_classifier("bert", dropout=False).double(), [])
    inputs = batch(rows(4))
    head = sum(float(weight.square().sum()) for weight in model.classifier.parameters())
    model.train()

    at_start = kit.loss(model, inputs)[0].item() - plain.loss(plain.model.train(), inputs)[0].item()
    assert at_start == pytest.approx(0.35 * head, abs=1e-9)

    with torch.no_grad():
        model.bert.pooler.dense.bias.add_(2.0)
        plain.model.bert.pooler.dense.bias.add_(2.0)
    moved = kit.loss(model, inputs)[0].item() - plain.loss(plain.model, inputs)[0].item()
    assert moved == pytest.approx(0.35 * head + 0.15 * 16 * 4, abs=1e-9)
