import pytest
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.models.parts import find_parts
from steadytune.stabilizers.bitfit import BitFit, freeze_all_but_biases
from steadytune.stabilizers.freeze import Freeze, freeze_blocks
from steadytune.testing.models import tiny_classifier
from steadytune.training.stabilization import Stabilization


def _trained(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(("blocks", "frozen"), [(None, 1), (0, 0), (2, 2)])
def test_embeddings_and_the_lowest_blocks_are_frozen_and_thawed_again(blocks, frozen):
    model = tiny_classifier("bert")
    everything = _trained(model)
    kit = Stabilization(model, [Freeze(blocks=blocks)])

    still = everything - _trained(model)
    prefixes = ("bert.embeddings.", *(f"bert.encoder.layer.{n}." for n in range(frozen)))
    assert still == {name for name in everything if name.startswith(prefixes)}
    kit.finish()
    assert _trained(model) == everything


def test_embeddings_may_stay_free():
    model = tiny_classifier("bert")

    Stabilization(model, [Freeze(blocks=1, embeddings=False)])

    assert "bert.embeddings.word_embeddings.weight" in _trained(model)
    assert "bert.encoder.layer.0.output.dense.weight" not in _trained(model)


def test_adapters_of_a_frozen_block_rest_and_what_was_frozen_before_stays_so():
    model = tiny_classifier("bert+lora")
    everything = _trained(model)
    kit = Stabilization(model, [Freeze(blocks=1)])

    assert everything - _trained(model) == {name for name in everything if "layer.0." in name}
    kit.finish()
    assert _trained(model) == everything


def test_a_block_that_all_layers_share_is_not_frozen_by_half():
    with pytest.raises(UserError, match=says("freeze", "blocks", "1", "share")):
        Stabilization(tiny_classifier("albert"), [Freeze(blocks=1)])
    with pytest.raises(UserError, match=says("freeze", "blocks", "3", "2")):
        Stabilization(tiny_classifier("bert"), [Freeze(blocks=3)])


def test_biases_and_the_head_are_all_that_bitfit_trains():
    model = tiny_classifier("bert")

    Stabilization(model, [BitFit()])

    encoder = {name for name in _trained(model) if name.startswith("bert.")}
    assert encoder == {name for name, _ in model.named_parameters() if name.startswith("bert.") and "bias" in name}
    assert len(encoder) == 2 * 8 + 2
    assert {"classifier.weight", "classifier.bias"} <= _trained(model)


def test_without_a_training_both_freeze_weights_and_say_which():
    model, layer = tiny_classifier("bert"), nn.Linear(2, 3)
    lowest = [*model.bert.encoder.layer[0].parameters()]
    lowest[0].requires_grad_(False)

    frozen = freeze_blocks(find_parts(model), 1, embeddings=False)

    assert {id(weight) for weight in frozen} == {id(weight) for weight in lowest[1:]}
    assert not any(weight.requires_grad for weight in lowest)
    assert all(weight.requires_grad for weight in model.bert.embeddings.parameters())
    assert freeze_all_but_biases(dict(layer.named_parameters())) == [layer.weight]
    assert [weight.requires_grad for weight in (layer.weight, layer.bias)] == [False, True]


def test_qwen_has_biases_in_its_attention_alone():
    model = tiny_classifier("qwen2")

    Stabilization(model, [BitFit()])

    names = {name for name in _trained(model) if name in find_parts(model).pretrained}
    assert names
    assert all("self_attn" in name for name in names)
