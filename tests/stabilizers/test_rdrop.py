import pytest
import torch
from made_steps import make_step
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers.divergence import symmetric_divergence
from steadytune.stabilizers.mixout import Mixout
from steadytune.stabilizers.rdrop import RDrop
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_the_loss_is_the_mean_of_both_passes_and_half_of_both_divergences():
    torch.manual_seed(0)
    features, labels, other = torch.randn(4, 3), torch.tensor([0, 1, 1, 0]), torch.randn(4, 2)
    step = make_step(nn.Linear(3, 2), features, labels, forward=lambda changes=None, same_dropout=False: other)
    cross = nn.functional.cross_entropy

    loss = RDrop(alpha=0.6).task_loss(step)

    expected = (cross(step.logits, labels) + cross(other, labels)) / 2 + 0.3 * symmetric_divergence(step.logits, other)
    assert loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ["llama", "qwen2", "modernbert", "llama+lora"])
def test_a_model_without_dropout_is_refused(name):
    with pytest.raises(UserError, match=says("rdrop", "dropout")):
        Stabilization(tiny_classifier(name), [RDrop()])
    with pytest.raises(UserError, match=says("rdrop", "dropout")):
        Stabilization(tiny_classifier("bert", dropout=False), [RDrop()])


def test_dropout_of_attention_alone_will_do_and_so_do_the_masks_of_mixout():
    model, inputs = tiny_classifier("llama").train(), batch(rows(4))
    for block in model.model.layers:
        block.self_attn.attention_dropout = 0.3
    torch.manual_seed(0)
    plain, found = (
        Stabilization(model, methods).loss(model, inputs)[0].item() for methods in ([], [RDrop(alpha=50.0)])
    )
    assert found != pytest.approx(plain, rel=0.01)

    for methods in ([RDrop(), Mixout()], [Mixout(), RDrop()]):
        Stabilization(tiny_classifier("bert"), methods)


def test_the_second_pass_has_masks_of_its_own():
    model, inputs = tiny_classifier("bert"), batch(rows(4))
    model.train()
    strong, weak = (Stabilization(model, [RDrop(alpha=alpha)]) for alpha in (1e3, 1e-3))
    values = []
    for kit in (strong, weak):
        torch.manual_seed(0)
        values.append(kit.loss(model, inputs)[0].item())

    assert values[0] > 2 * values[1]


def test_a_regression_is_refused():
    with pytest.raises(ValueError, match="classes"):
        RDrop().check_kind("regression")
