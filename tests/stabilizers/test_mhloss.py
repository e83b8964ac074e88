import pytest
import torch
from made_steps import make_step
from torch import nn

from steadytune.kinds import KINDS
from steadytune.stabilizers.layers import MultiHeadLinear
from steadytune.stabilizers.mhloss import MHLoss


def _batch(width=4, classes=3, examples=6):
    torch.manual_seed(1)
    return torch.randn(examples, width, requires_grad=True), torch.arange(examples) % classes


def test_the_folded_layer_gives_the_mean_of_the_heads_logits():
    torch.manual_seed(0)
    heads = MultiHeadLinear(nn.Linear(4, 3), 7)
    with torch.no_grad():
        heads.bias.normal_()
    features = torch.randn(5, 4)

    mean = heads.each(features, 1.0).mean(1)

    assert torch.allclose(heads.fold()(features), mean, atol=1e-6)
    assert torch.allclose(heads(features), mean, atol=1e-6)


def test_the_first_head_is_the_layer_that_was_there_and_the_others_share_its_scale():
    torch.manual_seed(0)
    first = nn.Linear(300, 4)

    heads = MultiHeadLinear(first, 20)

    assert torch.equal(heads.weight[0], first.weight)
    assert heads.weight[1:].std().item() == pytest.approx(first.weight.std().item(), rel=0.05)
    assert not torch.equal(heads.weight[1], heads.weight[2])


def test_the_loss_is_the_mean_of_the_heads_own_losses():
    features, labels = _batch()
    heads = MultiHeadLinear(nn.Linear(4, 3), 5)

    loss = MHLoss(heads=5).task_loss(make_step(heads, features, labels))

    each = [
        nn.functional.cross_entropy(features @ weight.T + bias, labels)
        for weight, bias in zip(heads.weight, heads.bias, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(each).item() / 5, rel=1e-6)


@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 1), ("mean", 5)])
def test_heads_see_their_own_gradient_and_the_encoder_the_mean(reduction, divisor):
    features, labels = _batch()
    heads = MultiHeadLinear(nn.Linear(4, 3), 5)

    MHLoss(heads=5, reduction=reduction).task_loss(make_step(heads, features, labels)).backward()

    for head in range(5):
        weight = heads.weight[head].detach().requires_grad_()
        alone = nn.functional.cross_entropy(features.detach() @ weight.T + heads.bias[head].detach(), labels)
        (gradient,) = torch.autograd.grad(alone, weight)
        assert torch.allclose(heads.weight.grad[head], gradient / divisor, atol=1e-6)
    each = heads.weight.detach(), heads.bias.detach()
    plain = features.detach().requires_grad_()
    torch.stack(
        [nn.functional.cross_entropy(plain @ weight.T + bias, labels) for weight, bias in zip(*each, strict=True)]
    ).mean().backward()
    assert torch.allclose(features.grad, plain.grad, atol=1e-6)


def test_one_head_is_plain_training():
    features, labels = _batch()
    layer = nn.Linear(4, 3)
    heads = MultiHeadLinear(layer, 1)

    loss = MHLoss(heads=1).task_loss(make_step(heads, features, labels))
    loss.backward()
    plain = nn.functional.cross_entropy(layer(features), labels)
    plain.backward()

    assert loss.item() == pytest.approx(plain.item())
    assert torch.allclose(heads.weight.grad[0], layer.weight.grad, atol=1e-7)


@pytest.mark.parametrize("kind", ["regression", "choice"])
def test_it_fits_a_head_of_one_output(kind):
    torch.manual_seed(0)
    heads = MultiHeadLinear(nn.Linear(4, 1), 3)
    labels = torch.tensor([0.5, 1.5, 2.0]) if kind == "regression" else torch.tensor([0, 1, 0])
    features = torch.randn(3 if kind == "regression" else 6, 4)

    loss = MHLoss(heads=3).task_loss(make_step(heads, features, labels, kind))

    each = heads.each(features, 1.0)
    expected = [KINDS[kind].criterion()(each[:, head], labels) for head in range(3)]
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item())
