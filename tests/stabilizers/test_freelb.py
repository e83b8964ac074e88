import pytest
import torch

from steadytune.stabilizers.adversary import Perturbation
from steadytune.stabilizers.freelb import FreeLB
from steadytune.stabilizers.surgery import changed_outputs
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_the_start_is_within_the_ball_and_spares_padding():
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    attack = Perturbation(0.5, mask, seed=0)

    perturbed = attack(torch.zeros(2, 4, 100))

    assert (perturbed[0, 3] == 0).all()
    # The root of the mean square of a uniform number in (-1, 1) is 1 / sqrt(3).
    assert torch.linalg.vector_norm(perturbed, dim=(1, 2)).tolist() == pytest.approx([0.5 / 3**0.5] * 2, rel=0.1)


def test_it_climbs_by_a_step_along_the_gradient_of_each_row_and_stays_in_the_ball():
    attack = Perturbation(1.0, None, seed=0)
    attack(torch.zeros(2, 1, 2))
    start = torch.tensor([[[0.1, 0.0]], [[0.9, 0.0]]])
    attack.delta = start.clone().requires_grad_()
    (attack(torch.zeros(2, 1, 2)) * torch.tensor([[[0.0, 5.0]], [[2.0, 0.0]]])).sum().backward()

    attack.climb(0.4)

    assert attack.delta.detach().flatten().tolist() == pytest.approx([0.1, 0.4, 1.0, 0.0])
    assert attack.delta.grad is None


def test_padding_is_not_climbed_and_takes_no_part_of_the_step():
    # Models that pool over all positions have a gradient there, too.
    attack = Perturbation(1.0, torch.tensor([[1, 0]]), seed=0)
    attack.delta = torch.zeros(1, 2, 2).requires_grad_()
    (attack(torch.zeros(1, 2, 2)) * torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])).sum().backward()

    attack.climb(0.5)

    assert attack.delta.detach().flatten().tolist() == pytest.approx([0.5, 0.0, 0.0, 0.0])


def test_a_row_without_gradient_stays_where_it_is():
    attack = Perturbation(1.0, None, seed=0)
    before = attack(torch.zeros(1, 1, 2)).detach().clone()
    attack.delta.grad = torch.zeros(1, 1, 2)

    attack.climb(0.4)

    assert torch.allclose(attack.delta, before)


def test_the_gradient_is_the_mean_of_those_at_the_perturbations(monkeypatch):
    model, inputs = tiny_classifier("bert", dropout=False).double().train(), batch(rows(4))
    deltas = []
    call = Perturbation.__call__

    def look(attack, vectors):
        changed = call(attack, vectors)
        deltas.append(attack.delta.detach().clone())
        return changed

    monkeypatch.setattr(Perturbation, "__call__", look)
    kit = Stabilization(model, [FreeLB(steps=3, step_size=0.3, radius=0.5)])
    loss = kit.backward(model, inputs)
    found = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    plain = Stabilization(model, [])
    losses = []
    for delta in deltas:
        with changed_outputs({model.get_input_embeddings(): lambda vectors, delta=delta: vectors + delta}):
            losses.append(plain.backward(model, inputs, share=1 / 3).item())

    assert len(deltas) == 3
    assert losses == sorted(losses)
    assert loss.item() == pytest.approx(sum(losses) / 3)
    assert all(torch.allclose(a, weight.grad) for a, weight in zip(found, model.parameters(), strict=True))


def test_all_passes_have_the_same_dropout_masks(monkeypatch):
    model, inputs = tiny_classifier("bert").train(), batch(rows(4))
    monkeypatch.setattr(Perturbation, "climb", lambda attack, step: None)
    values = []
    kit = Stabilization(model, [FreeLB(steps=3)])
    loss = kit.loss
    monkeypatch.setattr(kit, "loss", lambda *given: values.append(loss(*given)) or values[-1])

    kit.backward(model, inputs)

    assert len({value.item() for value, _ in values}) == 1


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_each_batch_has_a_start_of_its_own_with_dropout_and_without(name, monkeypatch):
    model, inputs = tiny_classifier(name).train(), batch(rows(4))
    seeds = []
    make = Perturbation.__init__
    monkeypatch.setattr(Perturbation, "__init__", lambda self, *given: seeds.append(given[-1]) or make(self, *given))
    kit = Stabilization(model, [FreeLB(steps=2)])
    torch.manual_seed(0)

    for _ in range(4):
        kit.backward(model, inputs)

    assert len(set(seeds)) == 4
