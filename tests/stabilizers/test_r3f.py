import pytest
import torch
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers.divergence import symmetric_divergence
from steadytune.stabilizers.layers import SpectralLinear
from steadytune.stabilizers.r3f import R3F, blur
from steadytune.stabilizers.r4f import R4F
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_noise_is_uniform_and_centred():
    torch.manual_seed(0)

    noise = blur(torch.zeros(100_000), 0.5)

    assert noise.abs().max() <= 0.5
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1 / 12**0.5, rel=0.01)


def test_the_penalty_is_the_divergence_of_a_pass_from_blurred_embeddings():
    model = tiny_classifier("bert", dropout=False).double()
    kit, inputs = Stabilization(model, [R3F(eps=0.3, weight=2.0)]), batch(rows(4))
    model.train()
    torch.manual_seed(7)
    value = kit.loss(model, inputs)[0]

    # The same by the model's own way to take embeddings.
    torch.manual_seed(7)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    vectors = blur(model.get_input_embeddings()(ids), 0.3)
    clean = model(input_ids=ids, attention_mask=mask).logits
    blurred = model(inputs_embeds=vectors, attention_mask=mask).logits
    task = nn.functional.cross_entropy(clean, inputs["labels"])

    assert value.item() == pytest.approx((task + 2 * symmetric_divergence(blurred, clean)).item(), rel=1e-12)


def test_the_lookup_of_the_embeddings_gets_no_gradient_from_the_blurred_pass():
    model = tiny_classifier("bert", dropout=False).double()
    kit = Stabilization(model, [R3F(eps=0.3, weight=1e6)])
    model.train()
    kit.backward(model, batch(rows(4)))
    # What is left comes through the clean pass; detach that as well and nothing does.
    table = model.get_input_embeddings().weight
    assert table.grad.abs().max() > 0

    model.zero_grad()
    handle = model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.detach())
    kit.backward(model, batch(rows(4)))
    handle.remove()
    assert table.grad is None or table.grad.abs().max() == 0


def test_a_regression_is_refused():
    with pytest.raises(UserError, match=says("r3f", "classes")):
        Stabilization(tiny_classifier("bert", num_labels=1), [R3F()])


def test_the_head_of_r4f_has_largest_singular_value_one_and_folds_into_a_plain_layer():
    torch.manual_seed(0)
    layer, features = nn.Linear(5, 3), torch.randn(4, 5)
    divided = SpectralLinear(layer)

    folded = divided.fold()

    assert torch.linalg.svdvals(folded.weight)[0].item() == pytest.approx(1, rel=1e-5)
    assert torch.allclose(folded(features), divided(features))
    assert torch.allclose(folded.weight, layer.weight / torch.linalg.svdvals(layer.weight)[0])


def test_r4f_without_strength_leaves_the_head_alone():
    layer = nn.Linear(5, 3)

    assert R4F(weight=0.0).wrap_head(layer) is layer
    assert R4F(weight=0.0).unwrap_head(layer) is layer
