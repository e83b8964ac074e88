import copy

import pytest
import torch
from saying import says
from torch import nn

import steadytune as st
from steadytune.errors import UserError
from steadytune.models.modules import encoder_of, find_head
from steadytune.stabilizers import STABILIZERS, parse_stabilizer
from steadytune.testing.models import batch, rows, tiny_classifier

X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
NEED_A_HEAD = {"mhloss", "mmr", "centre_loss", "large_margin", "lp_ft", "r4f", "supcon"}
NEED_BLOCKS = {"freeze", "hype", "llrd", "lnsr", "reinit"}
NEED_EMBEDDINGS = {"freelb", "neftune", "r3f", "smart"}
ELSEWHERE = {"surt", "no_warmup"}


def sequential():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


class Wrapped(nn.Module):
    """An encoder with an MLP on it that was registered in another order than it runs in, if `scrambled`."""

    def __init__(self, scrambled=False):
        super().__init__()
        first, last = nn.Linear(16, 8), nn.Linear(8, 2)
        if scrambled:
            self.last, self.bert, self.first = last, tiny_classifier("bert").bert, first
        else:
            self.bert, self.first, self.last = tiny_classifier("bert").bert, first, last

    def forward(self, input_ids, attention_mask=None, labels=None):
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        logits = self.last(self.first(states).relu())
        return (None if labels is None else nn.functional.cross_entropy(logits, labels)), logits


def step(model, methods, inputs):
    """Take one step of training and return the loss."""
    kit = st.Stabilization(model, methods)
    optimizer = kit.prepare_optimizer(torch.optim.AdamW(model.parameters(), lr=0.01))
    kit.begin(lambda: [inputs], 1)
    loss = kit.backward(model.train(), inputs)
    kit.before_step()
    optimizer.step()
    kit.after_step(optimizer)
    kit.finish()
    return float(loss)


@pytest.mark.parametrize("name", sorted(set(STABILIZERS) - ELSEWHERE))
def test_a_model_without_an_encoder_gets_what_needs_neither_head_nor_blocks_nor_embeddings(name):
    model, methods = sequential(), [parse_stabilizer(name)]
    needs = {"head|layer": NEED_A_HEAD, "blocks": NEED_BLOCKS, "embeddings": NEED_EMBEDDINGS}
    if missing := [part for part, those in needs.items() if name in those]:
        with pytest.raises(UserError, match=rf"\b{name}\b.*({missing[0]})"):
            step(model, methods, {"input": X, "labels": Y})
        return
    before = [weight.clone() for weight in model.parameters()]
    step(model, methods, {"input": X, "labels": Y})
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_the_loss_of_a_model_of_ones_own_is_that_of_its_logits():
    model = sequential().eval()
    expected = float(nn.functional.cross_entropy(model(X), Y))
    assert float(st.Stabilization(model, []).loss(model, {"input": X, "labels": Y})[0]) == pytest.approx(expected)


def test_an_mlp_on_an_encoder_has_a_last_layer_and_blocks():
    model = Wrapped()
    assert encoder_of(model) is model.bert
    assert find_head(model)[2] is model.last
    for name in ("mmr", "mhloss", "lnsr", "lp_ft"):
        step(Wrapped(), [parse_stabilizer(name)], batch(rows(8)))


@pytest.mark.parametrize("name", ["mmr", "mhloss", "r4f"])
def test_a_layer_that_does_not_give_the_logits_is_not_taken_for_the_last(name):
    step(Wrapped(scrambled=True), ["ema"], batch(rows(8)))
    with pytest.raises(UserError, match=says(name, "last layer")):
        step(Wrapped(scrambled=True), [parse_stabilizer(name)], batch(rows(8)))


@pytest.mark.parametrize("name", sorted(set(STABILIZERS) - ELSEWHERE))
def test_a_model_under_a_stabilizer_can_be_copied_after_a_pass(name):
    model, inputs = tiny_classifier("bert"), batch(rows(8))
    kit = st.Stabilization(model, [parse_stabilizer(name)])
    kit.begin(lambda: [inputs], 2)
    kit.loss(model.train(), inputs)
    twin = copy.deepcopy(model)
    labels = inputs.pop("labels")
    with torch.no_grad():
        assert torch.equal(twin.eval()(**inputs).logits, model.eval()(**inputs).logits)
        for weight in twin.parameters():
            weight.zero_()
    assert torch.isfinite(kit.backward(model.train(), {**inputs, "labels": labels}))
