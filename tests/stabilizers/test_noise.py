import pytest
import torch
from transformers.integrations.neftune import neftune_post_forward_hook

from steadytune.stabilizers.hype import HyPe, perturb
from steadytune.stabilizers.neftune import NEFTune, blur
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_both_distributions_of_hype_are_centred():
    torch.manual_seed(0)
    states = torch.zeros(100_000)

    normal, uniform = perturb(states, 0.1, "normal"), perturb(states, 0.1, "uniform")

    for noise, deviation in ((normal, 0.1), (uniform, 0.1 / 3**0.5)):
        assert noise.mean().item() == pytest.approx(0, abs=0.002)
        assert noise.std().item() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize(("name", "entered"), [("bert", 2), ("albert", 2), ("bart", 4), ("llama+lora", 2)])
def test_hype_perturbs_each_entry_into_a_block_while_training_and_none_in_evaluation(name, entered, monkeypatch):
    from steadytune.stabilizers import hype

    model, calls = tiny_classifier(name, dropout=False), []
    monkeypatch.setattr(hype, "perturb", lambda states, eps, noise: calls.append(eps) or states)
    kit, inputs = Stabilization(model, [HyPe(eps=0.5)]), batch(rows(2))

    kit.loss(model.train(), inputs)
    assert calls == [0.5] * entered
    kit.loss(model.eval(), inputs)
    kit.finish()
    kit.loss(model.train(), inputs)
    assert len(calls) == entered


def test_noise_of_neftune_is_uniform_and_smaller_for_longer_and_wider_inputs():
    torch.manual_seed(0)

    noise = blur(torch.zeros(10, 50, 200), 3.0)

    # 3 / sqrt(50 * 200)
    assert noise.abs().max().item() == pytest.approx(0.03, rel=1e-3)
    assert noise.mean().item() == pytest.approx(0, abs=3e-4)
    assert noise.std().item() == pytest.approx(0.03 / 3**0.5, rel=0.01)


def test_noise_on_embeddings_is_that_of_transformers():
    model, inputs = tiny_classifier("bert", dropout=False), batch(rows(2))
    embeddings, values = model.get_input_embeddings(), []
    kit = Stabilization(model, [NEFTune(alpha=3.0)])
    torch.manual_seed(0)
    values.append(kit.loss(model.train(), inputs)[0].item())
    kit.finish()
    embeddings.neftune_noise_alpha = 3.0
    embeddings.register_forward_hook(neftune_post_forward_hook)
    torch.manual_seed(0)
    values.append(Stabilization(model, []).loss(model, inputs)[0].item())

    assert values[0] == pytest.approx(values[1], rel=1e-6)
