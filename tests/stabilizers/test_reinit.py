import pytest
import torch
from saying import says
from transformers import AutoConfig, AutoModelForSequenceClassification

from steadytune.errors import UserError
from steadytune.models.parts import find_parts
from steadytune.stabilizers.reinit import Reinit
from steadytune.testing.models import CONFIGS, PAD, VOCABULARY, tiny_classifier
from steadytune.training.stabilization import Stabilization


@pytest.fixture
def loaded(tmp_path):
    """A wide model as `from_pretrained` leaves it, whose weights carry the flag against drawing them again."""
    model = tiny_classifier("bert")
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(7.0)
    model.save_pretrained(tmp_path)
    return AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_top_block_and_pooler_are_drawn_from_the_initial_distributions(loaded):
    Stabilization(loaded, [Reinit(blocks=1)])

    low, top = loaded.bert.encoder.layer
    assert all((weight == 7.0).all() for weight in low.parameters())
    assert all((weight == 7.0).all() for weight in loaded.bert.embeddings.parameters())
    assert (loaded.classifier.weight == 7.0).all()
    for part in (top, loaded.bert.pooler):
        for name, weight in part.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                assert (weight == (1.0 if name.endswith("LayerNorm.weight") else 0.0)).all()
            else:
                assert weight.std().item() == pytest.approx(0.2, rel=0.2)


def test_the_drawn_weights_follow_the_seed(tmp_path):
    drawn = []
    for seed in (1, 2, 1):
        model = tiny_classifier("bert")
        Stabilization(model, [Reinit(blocks=1)], seed=seed)
        drawn.append(model.bert.pooler.dense.weight)

    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_by_default_five_of_twenty_four_blocks_and_at_least_one_are_drawn():
    for layers, expected in ((2, 1), (24, 5), (12, 2)):
        model = _with_layers(layers)
        before = [block.output.dense.weight.detach().clone() for block in model.bert.encoder.layer]
        Stabilization(model, [Reinit()])
        after = [block.output.dense.weight for block in model.bert.encoder.layer]

        changed = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert changed == [False] * (layers - expected) + [True] * expected


def _with_layers(layers):
    config = tiny_classifier("bert").config
    config.num_hidden_layers = layers
    return AutoModelForSequenceClassification.from_config(config)


def test_more_blocks_than_there_are_is_an_error():
    with pytest.raises(UserError, match=says("reinit", "blocks", "3", "2")):
        Stabilization(tiny_classifier("bert"), [Reinit(blocks=3)])


def test_other_methods_start_from_the_drawn_weights():
    from steadytune.stabilizers.wd_pre import WDPre

    model = tiny_classifier("bert")
    kit = Stabilization(model, [WDPre(), Reinit(blocks=1)])

    assert torch.equal(kit.runs["wd_pre"].state["bert.pooler.dense.weight"], model.bert.pooler.dense.weight)


def _fresh(name):
    if name in CONFIGS:
        return tiny_classifier(name)
    config = AutoConfig.for_model(
        name, vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, pad_token_id=PAD, bos_token_id=2, eos_token_id=3
    )
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("name", [*sorted(CONFIGS.keys() - {"albert"}), "gpt2"])
def test_every_weight_of_a_block_is_drawn_at_the_scale_of_a_fresh_models(name):
    fresh, drawn = _fresh(name), _fresh(name)
    blocks = find_parts(drawn).blocks
    inside = {weight for block in blocks for weight in block.parameters()}
    with torch.no_grad():
        for weight in drawn.parameters():
            weight.fill_(7.0)
            weight._is_hf_initialized = True  # as `from_pretrained` leaves it

    Stabilization(drawn, [Reinit(blocks=len(blocks))], seed=1)

    redrawn = {name: weight.detach() for name, weight in drawn.named_parameters() if weight in inside}
    assert redrawn
    for path, weight in redrawn.items():
        expected = fresh.get_parameter(path).detach()
        # A deviation from n numbers is off by 1 / sqrt(2 n) of itself; five times that, for two of them.
        tolerance = 5 / weight.numel() ** 0.5
        assert weight.std().item() == pytest.approx(expected.std().item(), rel=tolerance), path
        assert weight.mean().item() == pytest.approx(expected.mean().item(), abs=tolerance * expected.std().item())
