import warnings

import pytest
import torch
from saying import says

from steadytune.errors import UserError
from steadytune.stabilizers.lnsr import LNSR, add_noise, squared_change
from steadytune.stabilizers.r3f import R3F
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def penalty_of(model, inputs, *methods):
    """What methods add to the loss of a batch."""
    values = []
    for some in (methods, ()):
        kit = Stabilization(model, some)
        torch.manual_seed(7)
        values.append(kit.loss(model.train(), inputs)[0].item())
        kit.finish()
    return values[0] - values[1]


def test_noise_has_the_given_share_of_each_tokens_norm():
    states = torch.cat([torch.full((1, 5000, 4), 2.0), torch.full((1, 5000, 4), 10.0)])

    noise = add_noise(states, 0.5, seed=0) - states

    assert noise.mean((1, 2)).tolist() == pytest.approx([0, 0], abs=0.1)
    assert noise.std((1, 2)).tolist() == pytest.approx([1.0, 5.0], rel=0.02)


def test_the_change_is_squared_over_the_width_and_averaged_over_tokens_that_are_no_padding():
    clean = torch.zeros(2, 2, 2)
    noisy = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 2.0], [9.0, 9.0]]])

    assert squared_change(clean, noisy, None).item() == pytest.approx((25 + 1 + 4 + 162) / 4)
    assert squared_change(clean, noisy, torch.tensor([[1, 1], [1, 0]])).item() == pytest.approx(30 / 3)
    assert squared_change(clean.flatten(0, 1), noisy.flatten(0, 1), torch.ones(2, 2)).item() == pytest.approx(192 / 4)


def test_the_penalty_sums_the_change_of_every_block_from_the_noisy_one_on(monkeypatch):
    model, inputs = tiny_classifier("bert", dropout=False).double(), batch(rows(4))
    shift = torch.randn(16, dtype=torch.float64) / 4
    monkeypatch.setattr("steadytune.stabilizers.lnsr.add_noise", lambda states, share, seed: states + shift)
    # The same from the blocks themselves, one after another.
    with torch.no_grad():
        states = model.bert.embeddings(inputs["input_ids"])
        expected = {}
        for first in (1, 2):
            changes = []
            clean = noisy = states
            for number, block in enumerate(model.bert.encoder.layer, 1):
                noisy = noisy + shift if number == first else noisy
                clean, noisy = block(clean), block(noisy)
                changes.append((noisy - clean).square().sum(-1).mean().item())
            expected[first] = sum(changes[first - 1 :])

    for first in (1, 2):
        found = penalty_of(model, inputs, LNSR(weight=0.3, block=first))
        assert found == pytest.approx(0.3 * expected[first], rel=1e-9)


@pytest.mark.parametrize(("name", "entered"), [("bert", 2), ("albert", 2), ("bart", 4), ("llama+lora", 2)])
def test_blocks_are_counted_as_the_input_passes_them(name, entered):
    model, inputs = tiny_classifier(name, dropout=False), batch(rows(4))

    last = penalty_of(model, inputs, LNSR(weight=1.0, block=entered))

    assert 0 < last < penalty_of(model, inputs, LNSR(weight=1.0, block=1))
    with pytest.raises(UserError, match=says("lnsr", "block", str(entered + 1), str(entered))):
        penalty_of(model, inputs, LNSR(block=entered + 1))


def test_without_noise_both_passes_are_the_same_also_under_dropout():
    assert penalty_of(tiny_classifier("bert"), batch(rows(4)), LNSR(weight=100.0, noise=0.0)) == 0


@pytest.mark.parametrize("order", [1, -1])
def test_another_methods_pass_is_not_taken_for_the_clean_one(order):
    model, inputs = tiny_classifier("bert", dropout=False), batch(rows(4))

    both = penalty_of(model, inputs, *[R3F(eps=2.0, weight=1e-9), LNSR(weight=1.0, noise=0.0)][::order])

    assert both == pytest.approx(0, abs=1e-6)


def test_a_penalty_that_drowns_the_task_loss_is_said_once_with_a_weight_that_does_not():
    model, inputs = tiny_classifier("bert", dropout=False), batch(rows(4))
    small = penalty_of(model, inputs, LNSR(weight=1.0))
    task = Stabilization(model, []).loss(model, inputs)[0].item()
    kit = Stabilization(model, [LNSR(weight=30 * task / small)])

    with pytest.warns(UserWarning, match=says("lnsr", "weight=")) as said:
        losses = [kit.loss(model.train(), inputs)[0].item() for _ in range(2)]

    assert min(losses) > 10 * task
    (warning,) = [str(one.message) for one in said if "lnsr" in str(one.message)]
    advised = float(warning.partition("weight=")[2].split()[0])
    assert advised * small == pytest.approx(task / 10, rel=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalty_of(model, inputs, LNSR(weight=5 * task / small))


def test_what_it_watched_is_let_go():
    model, inputs = tiny_classifier("bert"), batch(rows(4))
    kit = Stabilization(model, [LNSR()])
    kit.backward(model.train(), inputs)
    assert kit.runs["lnsr"].scratch["states"] == []
    kit.finish()
    assert not any(block._forward_hooks for block in model.bert.encoder.layer)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_gradient_checkpointing_is_refused():
    model = tiny_classifier("bert")
    kit = Stabilization(model, [LNSR()])
    model.gradient_checkpointing_enable()

    with pytest.raises(UserError, match=says("lnsr", "gradient checkpointing")):
        kit.loss(model.train(), batch(rows(4)))
