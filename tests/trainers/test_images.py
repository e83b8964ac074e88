"""Image classification: a transformer and a convolutional network, on random tensors."""

import pytest
import torch
from saying import says
from somebodys import CNGC, SWA, Script, check_plain, check_recorded, check_stabilized
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from steadytune.errors import UserError


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        {"pixel_values": torch.randn(3, 16, 16, generator=generator) + n % 3, "labels": n % 3} for n in range(count)
    ]


def vit():
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        num_labels=3,
        hidden_dropout_prob=0.1,
    )
    return ViTForImageClassification(config)


def resnet():
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3, hidden_act="relu"
    )
    return ResNetForImageClassification(config)


def script(model):
    return Script(model, images(12, 0), images(9, 1), settings={"remove_unused_columns": False})


@pytest.mark.parametrize("model", [vit, resnet])
def test_without_stabilizers_it_is_the_plain_trainer(model, tmp_path):
    check_plain(script(model), tmp_path)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "wd_pre", "ema", SWA, "llrd", "mmr", "rdrop", "mhloss"])
def test_methods_serve_a_transformer(method, tmp_path):
    check_stabilized(script(vit), tmp_path, method)


@pytest.mark.parametrize("method", ["l2_sp", "wd_pre", "ema", SWA, CNGC, "hype", "mmr", "mhloss"])
def test_methods_that_need_no_tokens_serve_a_convolutional_network(method, tmp_path):
    check_stabilized(script(resnet), tmp_path, method)


@pytest.mark.parametrize("method", ["mixout", "neftune", "freelb"])
def test_what_needs_tokens_or_linear_layers_is_refused_for_a_convolutional_network_at_once(method, tmp_path):
    with pytest.raises(UserError, match=says(method, "ResNetModel")):
        check_stabilized(script(resnet), tmp_path, method)


def test_a_transformer_is_recorded_with_its_hidden_states(tmp_path):
    run, said = check_recorded(script(vit), tmp_path)
    assert said == []
    assert (run.kind, run.logits.shape, run.representations.shape) == ("classification", (9, 3), (2, 9, 16))


def test_a_convolutional_network_is_recorded_without_hidden_states(tmp_path):
    run, said = check_recorded(script(resnet), tmp_path)
    assert len(said) == 1
    assert "hidden states" in said[0]
    assert run.labels.tolist() == [0, 1, 2] * 3
    assert run.representations is None
