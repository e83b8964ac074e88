import pytest
import torch
from torch import nn

from steadytune.stabilizers.layers import MixLinear
from steadytune.stabilizers.mixout import Mixout, mix
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_each_column_is_the_start_or_the_trained_weight_corrected_for_the_mean():
    weight, start, p = torch.full((2, 500), 3.0), torch.full((2, 500), 1.0), 0.75
    torch.manual_seed(0)

    mixed = mix(weight, start, p)

    # ((1 - M) * 1 + M * 3 - 0.75) / 0.25 is 1 where M = 0 and 9 where M = 1.
    assert set(mixed.flatten().tolist()) == {1.0, 9.0}
    assert torch.equal(mixed[0], mixed[1])
    assert (mixed == 9.0).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_the_mean_over_masks_is_the_trained_weight():
    torch.manual_seed(0)
    weight, start = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)

    mean = torch.stack([mix(weight, start, 0.4) for _ in range(20000)]).mean(0)

    assert torch.allclose(mean, weight, atol=0.05)


def test_the_gradient_is_the_mask_over_the_share_that_is_kept():
    weight = torch.zeros(2, 50, requires_grad=True)
    torch.manual_seed(0)

    mix(weight, torch.ones(2, 50), 0.5).sum().backward()

    assert set(weight.grad.flatten().tolist()) == {0.0, 2.0}


def test_evaluation_uses_the_trained_weights():
    layer = nn.Linear(4, 3)
    mixed, features = MixLinear(layer, lambda: torch.zeros(3, 4), 0.9), torch.randn(5, 4)

    assert torch.equal(mixed.eval()(features), layer(features))
    assert not torch.equal(mixed.train()(features), layer(features))


def test_dropout_is_off_while_it_trains_and_back_afterwards():
    for name in ("bert", "t5", "bart"):
        model = tiny_classifier(name)
        inputs = batch(rows(4))
        kit = Stabilization(model, [Mixout(p=1e-7)])
        model.train()
        logits = [kit.loss(model, inputs)[1].logits for _ in range(2)]
        kit.finish()

        assert torch.allclose(*logits, atol=1e-5)
        model.train()
        assert not torch.allclose(kit.loss(model, inputs)[1].logits, kit.loss(model, inputs)[1].logits, atol=1e-5)


def test_the_head_is_not_mixed_and_the_encoder_is():
    model = tiny_classifier("bert")

    Stabilization(model, [Mixout()])

    assert type(model.classifier) is nn.Linear
    mixed = sum(isinstance(module, MixLinear) for module in model.modules())
    # Two blocks of query, key, value, attention output, two of the feed-forward part; and the pooler.
    assert mixed == 2 * 6 + 1
