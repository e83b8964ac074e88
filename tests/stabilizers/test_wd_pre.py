import pytest
import torch

from steadytune.stabilizers.mhloss import MHLoss
from steadytune.stabilizers.wd_pre import WDPre, decay_towards
from steadytune.testing.models import tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_a_weight_goes_a_share_of_its_way_to_the_target_or_to_zero():
    weight = torch.tensor([3.0, -1.0])
    decay_towards(weight, torch.tensor([1.0, 1.0]), 0.1)
    assert weight.tolist() == pytest.approx([2.8, -0.8])

    decay_towards(weight, None, 0.5)
    assert weight.tolist() == pytest.approx([1.4, -0.4])


def test_matrices_of_the_encoder_decay_to_their_start_those_of_the_head_to_zero_and_vectors_stay():
    model = tiny_classifier("bert")
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    kit = Stabilization(model, [WDPre(decay=0.5)])
    optimizer = kit.prepare_optimizer(torch.optim.SGD(model.parameters(), lr=0.2, weight_decay=0.3))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)

    kit.after_step(optimizer)

    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]
    for name, weight in model.named_parameters():
        # 0.2 * 0.5 is a tenth of the way.
        moved = 0.1 if weight.dim() > 1 else 0.0
        target = torch.zeros_like(weight) if name.startswith("classifier") else start[name]
        assert torch.allclose(weight, start[name] + 1 + moved * (target - start[name] - 1), atol=1e-6)


def test_the_biases_of_many_heads_in_one_tensor_stay():
    model = tiny_classifier("bert")
    kit = Stabilization(model, [WDPre(decay=0.5), MHLoss(heads=3)])
    optimizer = kit.prepare_optimizer(torch.optim.SGD(model.parameters(), lr=0.2))
    with torch.no_grad():
        for weight in model.classifier.parameters():
            weight.fill_(1.0)

    kit.after_step(optimizer)

    assert model.classifier.bias.dim() == 2
    assert (model.classifier.bias == 1).all()
    assert torch.allclose(model.classifier.weight, torch.tensor(0.9))
