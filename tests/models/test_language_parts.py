"""The parts of language models and token classifiers, and what methods on weights do to them."""

import pytest
import torch
from saying import says
from transformers import BertConfig, BertLMHeadModel, BertModel, EncoderDecoderModel

import steadytune as st
from steadytune.errors import UserError
from steadytune.models.criterion import kind_of
from steadytune.models.modules import encoder_of, find_head
from steadytune.models.parts import find_parts
from steadytune.stabilizers.layers import MixLinear
from steadytune.testing.models import PER_TOKEN, batch, rows_for, tiny_model
from steadytune.testing.stabilizers import move_a_little
from steadytune.training.stabilization import Stabilization

TIED = ("t5:generation", "bart:generation", "qwen2:generation")
EMBEDDINGS = {
    "t5": "encoder.embed_tokens",
    "bart": "model.encoder.embed_tokens",
    "bert": "bert.embeddings.word_embeddings",
}
BLOCKS = {
    "t5": ["encoder.block", "decoder.block"],
    "bart": ["model.encoder.layers", "model.decoder.layers"],
    "bert": ["bert.encoder.layer"],
}


@pytest.fixture(params=PER_TOKEN)
def name(request):
    return request.param


def test_the_last_layer_of_a_language_model_is_no_head(name):
    model = tiny_model(name)
    if name == "bert:tokens":
        assert find_head(model)[2] is model.classifier
        return
    assert encoder_of(model) is model
    with pytest.raises(UserError, match=says(type(model).__name__, "pre-trained")):
        find_head(model)


def test_the_parts_are_the_modules_that_the_code_names(name):
    model, architecture = tiny_model(name), name.partition(":")[0]
    parts = find_parts(model)

    blocks = [block for path in BLOCKS.get(architecture, ["model.layers"]) for block in model.get_submodule(path)]
    assert list(parts.blocks) == blocks
    assert parts.embeddings is model.get_submodule(EMBEDDINGS.get(architecture, "model.embed_tokens"))
    assert parts.output is getattr(model, "lm_head", None)
    assert parts.head == ((model.classifier,) if architecture == "bert" else ())
    decoder = {"t5": "decoder", "bart": "model.decoder"}.get(architecture)
    assert parts.decoder is (decoder and model.get_submodule(decoder))
    own = {id(weight) for module in parts.head for weight in module.parameters()}
    assert [id(one) for one in parts.pretrained.values()] == [
        id(weight) for weight in model.parameters() if id(weight) not in own
    ]
    depths = [id(weight) for level in parts.levels for weight in level]
    assert sorted(depths) == sorted(id(weight) for weight in model.parameters())
    if name in TIED:
        assert any(weight is model.lm_head.weight for weight in parts.levels[0])
        assert model.lm_head.weight is parts.embeddings.weight
    elif name == "llama:generation":
        assert any(weight is model.lm_head.weight for weight in parts.levels[-1])


def test_a_weight_with_two_uses_is_pulled_to_its_start_once(name):
    model, inputs = tiny_model(name, dropout=False), batch(rows_for(name))
    kit = Stabilization(model, [st.L2SP(alpha=0.5, beta=0.2), st.WDPre(decay=0.1)])
    start = {id(weight): weight.detach().clone() for weight in model.parameters()}
    move_a_little(model.parameters())
    head = {id(weight) for module in find_parts(model).head for weight in module.parameters()}
    pull = sum(
        0.2 / 2 * float(weight.double().square().sum())
        if id(weight) in head
        else 0.5 / 2 * float((weight.double() - start[id(weight)]).square().sum())
        for weight in model.parameters()
    )
    moved = {id(weight): weight.detach().clone() for weight in model.parameters()}

    loss, _ = kit.loss(model.train(), inputs)
    optimizer = kit.prepare_optimizer(torch.optim.SGD(model.parameters(), lr=0.5))
    kit.after_step(optimizer)

    assert loss.item() - kit.task_loss.item() == pytest.approx(pull, rel=1e-4)
    for weight in model.parameters():
        target = 0 if id(weight) in head else start[id(weight)]
        share = 0.05 if weight.dim() > 1 else 0
        assert torch.allclose(weight, moved[id(weight)] + share * (target - moved[id(weight)]), atol=1e-6)
    kit.finish()
    if name in TIED:
        assert model.lm_head.weight is find_parts(model).embeddings.weight


def test_a_last_layer_has_the_rate_of_the_embeddings_where_it_is_them(name):
    model = tiny_model(name)
    kit = Stabilization(model, [st.LLRD(decay=0.5)])
    optimizer = kit.prepare_optimizer(torch.optim.AdamW(model.parameters(), lr=1.0))
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    parts = find_parts(model)
    last = model.classifier if name == "bert:tokens" else model.lm_head

    lowest = 0.5 ** (len(parts.blocks) + 1)
    assert rates[id(parts.embeddings.weight)] == lowest
    assert rates[id(last.weight)] == (lowest if name in TIED else 1.0)
    blocks = [{rates[id(weight)] for weight in block.parameters()} for block in parts.blocks]
    assert blocks == [{0.5 ** (len(blocks) - n)} for n in range(len(blocks))]


def test_a_last_layer_is_frozen_with_the_embeddings_where_it_is_them(name):
    model = tiny_model(name)
    kit = Stabilization(model, [st.Freeze()])
    parts = find_parts(model)
    last = model.classifier if name == "bert:tokens" else model.lm_head

    assert last.weight.requires_grad == (name not in TIED)
    half = len(parts.blocks) // 2
    frozen = [not any(weight.requires_grad for weight in block.parameters()) for block in parts.blocks]
    assert frozen == [True] * half + [False] * half
    kit.finish()
    assert all(weight.requires_grad for weight in model.parameters())


def test_the_last_layer_is_neither_mixed_nor_drawn_anew(name):
    model = tiny_model(name)
    last = model.classifier if name == "bert:tokens" else model.lm_head
    start = last.weight.detach().clone()
    top = find_parts(model).blocks[-1]
    before = [weight.detach().clone() for weight in top.parameters()]

    kit = Stabilization(model, [st.Mixout(p=0.5), st.Reinit(blocks=1)])

    assert type(last) is torch.nn.Linear
    assert torch.equal(last.weight, start)
    assert any(isinstance(module, MixLinear) for module in top.modules())
    assert any(not torch.equal(one, two) for one, two in zip(before, top.parameters(), strict=True))
    kit.finish()
    assert not any(isinstance(module, MixLinear) for module in model.modules())


@pytest.mark.parametrize("name", ["t5:generation", "bart:generation"])
@pytest.mark.parametrize("method", [st.NEFTune(), st.R3F(), st.SMART(), st.FreeLB()])
def test_embeddings_that_the_decoder_reads_through_as_well_are_refused(name, method):
    model = tiny_model(name)
    model.resize_token_embeddings(44)

    with pytest.raises(UserError, match=says(method.name, "decoder", "resize_token_embeddings", "load")):
        Stabilization(model, [method])


def _part(which):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    small["vocab_size"] = 40
    if which == "encoder":
        return BertModel(BertConfig(**small))
    return BertLMHeadModel(BertConfig(**small, is_decoder=True, add_cross_attention=True))


def test_an_encoder_and_a_decoder_put_together_have_both_blocks():
    model = EncoderDecoderModel(encoder=_part("encoder"), decoder=_part("decoder"))
    model.config.decoder_start_token_id = model.config.pad_token_id = 0
    parts, inputs = find_parts(model), batch(rows_for("bart:generation"))

    assert kind_of(model) == "generation"
    assert list(parts.blocks) == [*model.encoder.encoder.layer, *model.decoder.bert.encoder.layer]
    assert parts.embeddings is model.encoder.embeddings.word_embeddings
    kit = Stabilization(model, [st.LNSR(), st.R3F(), st.FreeLB()])
    assert kit.backward(model.train(), inputs).isfinite()
