import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytune.stabilizers.divergence import symmetric_divergence


def test_two_predictions_give_the_sum_of_both_divergences():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    there = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    back = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)

    assert symmetric_divergence(p.log(), q.log()).item() == pytest.approx(there + back)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5))
def test_it_is_torchs_own_divergence_in_both_directions(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 4, classes, generator=generator, dtype=torch.float64)
    p, q = first.softmax(-1), second.softmax(-1)
    expected = sum(torch.nn.functional.kl_div(b.log(), a, reduction="batchmean") for a, b in ((p, q), (q, p)))

    value = symmetric_divergence(first, second)

    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    assert value >= 0
    assert symmetric_divergence(second, first).item() == pytest.approx(value.item(), abs=1e-12)


def test_equal_predictions_are_no_distance_apart_whatever_is_added_to_their_logits():
    logits = torch.randn(3, 4)

    assert symmetric_divergence(logits, logits + 5).item() == pytest.approx(0, abs=1e-6)


def test_certain_predictions_have_a_finite_value_and_gradient():
    first = torch.tensor([[100.0, -100.0]], requires_grad=True)

    value = symmetric_divergence(first, torch.tensor([[-100.0, 100.0]]))
    value.backward()

    assert value.item() == pytest.approx(400)
    assert first.grad.isfinite().all()


def test_the_gradient_passes_a_finite_difference_check():
    torch.manual_seed(0)
    logits = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    assert torch.autograd.gradcheck(symmetric_divergence, logits)
