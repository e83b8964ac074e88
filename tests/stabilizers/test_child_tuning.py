import pytest
import torch
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.stabilizers.child_tuning import ChildTuning, fisher_information, thin_out, top_share
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_a_thinned_gradient_keeps_its_mean():
    gradient = torch.ones(100_000)

    thin_out(gradient, 0.25, torch.Generator().manual_seed(0))

    assert set(gradient.tolist()) == {0.0, 4.0}
    assert gradient.mean().item() == pytest.approx(1, abs=0.02)


def test_information_is_the_mean_square_of_each_batchs_gradient():
    layer = nn.Linear(2, 1, bias=False)
    batches = [{"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([3.0, 0.0])}]

    found = fisher_information(layer, {"weight": layer.weight}, batches, lambda one: layer(one["x"]).sum())

    assert found["weight"].tolist() == [[(1 + 9) / 2, (4 + 0) / 2]]


def test_the_top_share_is_taken_over_all_tensors_together():
    values = {"a": torch.tensor([5.0, 1.0]), "b": torch.tensor([[4.0], [0.0], [3.0]])}

    masks = top_share(values, 0.4)

    assert masks["a"].tolist() == [True, False]
    assert masks["b"].tolist() == [[True], [False], [False]]
    assert all(mask.all() for mask in top_share(values, 1.0).values())


def test_of_equal_values_the_first_are_taken_and_no_more_than_the_share():
    values = {"a": torch.tensor([0.0, 2.0, 0.0]), "b": torch.tensor([[0.0, 0.0], [1.0, 0.0]])}

    masks = top_share(values, 0.6)

    assert masks["a"].tolist() == [True, True, True]
    assert masks["b"].tolist() == [[False, False], [True, False]]


def test_variant_d_leaves_all_but_its_share_of_the_encoder_where_it_was():
    model = tiny_classifier("bert")
    start = {name: weight.detach().clone() for name, weight in model.bert.named_parameters()}
    kit = Stabilization(model, [ChildTuning(variant="D", p=0.3)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    kit.begin(lambda: [batch(rows(8))], 1)
    kit.backward(model.train(), batch(rows(8)))
    kit.before_step()
    optimizer.step()

    masks = kit.runs["child_tuning"].state
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.3 * total)
    assert masks.keys() == {f"bert.{name}" for name in start}
    for name, weight in model.bert.named_parameters():
        assert torch.equal(weight[~masks[f"bert.{name}"]], start[name][~masks[f"bert.{name}"]])


def test_choosing_the_mask_leaves_no_gradient_and_the_models_mode():
    model = tiny_classifier("bert").train()
    kit = Stabilization(model, [ChildTuning()])

    kit.begin(lambda: [batch(rows(4))], 1)

    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_masks_of_variant_f_differ_from_step_to_step_and_not_from_process_to_process():
    model = tiny_classifier("bert", dropout=False).train()
    grads = []
    for step in (0, 1, 1):
        kit = Stabilization(model, [ChildTuning(variant="F")], noise_seed=5)
        kit.runs["child_tuning"].step = step
        torch.manual_seed(len(grads))
        model.zero_grad()
        kit.backward(model, batch(rows(4)))
        kit.before_step()
        grads.append(model.bert.pooler.dense.weight.grad.clone())

    assert torch.equal(grads[1], grads[2])
    assert not torch.equal(grads[0], grads[1])


def test_unseen_tokens_whose_information_is_zero_do_not_swell_the_share():
    model = tiny_classifier("bert")
    kit = Stabilization(model, [ChildTuning(variant="D", p=0.9)])

    kit.begin(lambda: [batch(rows(2))], 1)

    masks = kit.runs["child_tuning"].state
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.9 * sum(mask.numel() for mask in masks.values()))
    assert not masks["bert.embeddings.word_embeddings.weight"].all()


def test_variant_d_refuses_adapters_of_which_one_half_has_no_gradient_at_the_start():
    with pytest.raises(UserError, match=says("child_tuning", "adapter", "variant F")):
        Stabilization(tiny_classifier("bert+lora"), [ChildTuning(variant="D")])
    Stabilization(tiny_classifier("bert+lora"), [ChildTuning(variant="D", p=1.0)])
    Stabilization(tiny_classifier("bert+lora"), [ChildTuning(variant="F")])
