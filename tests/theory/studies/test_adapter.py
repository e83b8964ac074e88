import numpy as np
import pytest
import torch

from steadytune.stabilizers.mmr import centre_closeness
from steadytune.theory.studies.adapter import tune_adapters


def made(n=12, d=4, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.standard_normal((n, d)) + labels[:, None], labels, rng


def plain(features, labels, init, alpha, rate, steps):
    """One problem as a model of two linear layers, with the regularizer of training itself."""
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    adapter = torch.nn.Linear(x.shape[1], x.shape[1], bias=False, dtype=torch.float64)
    head = torch.nn.Linear(x.shape[1], len(init), bias=False, dtype=torch.float64)
    with torch.no_grad():
        adapter.weight.copy_(torch.eye(x.shape[1]))
        head.weight.copy_(torch.from_numpy(init))
    optimizer = torch.optim.SGD([*adapter.parameters(), *head.parameters()], lr=rate)
    for _ in range(steps):
        encoded = adapter(x)
        logits = head(encoded)
        if len(init) == 1:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.double())
        else:
            loss = torch.nn.functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        (loss + alpha * centre_closeness(encoded, y)).backward()
        optimizer.step()
    return adapter.weight.detach().numpy(), head.weight.detach().numpy()


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (3, 3)])
def test_every_problem_is_trained_as_a_model_of_two_layers_with_mmr_is(classes, outputs):
    features, labels, rng = made(classes=classes)
    alphas, init = [0.0, 0.3, 2.0], rng.standard_normal((3, outputs, 4))
    found = tune_adapters(features, labels, alphas=alphas, init=init, left_out=[-1] * 3, learning_rate=0.1, steps=25)
    for place, alpha in enumerate(alphas):
        adapter, head = plain(features, labels, init[place], alpha, 0.1, 25)
        assert found.adapter[place] == pytest.approx(adapter, abs=1e-12)
        assert found.weight[place] == pytest.approx(head, abs=1e-12)
        assert found.composed[place] == pytest.approx(head @ adapter, abs=1e-12)


def test_an_example_that_is_left_out_has_no_say():
    features, labels, rng = made(classes=2)
    init = rng.standard_normal((2, 1, 4))
    given = {"alphas": [0.5, 0.5], "init": init, "left_out": [3, -1], "learning_rate": 0.1, "steps": 10}
    before = tune_adapters(features, labels, **given)
    features[3] += 100
    after = tune_adapters(features, labels, **given)
    assert np.array_equal(before.composed[0], after.composed[0])
    assert not np.allclose(before.composed[1], after.composed[1])


def test_leaving_one_out_leaves_the_others_their_share_of_the_mean():
    features, labels, rng = made(n=12, classes=2)
    init = rng.standard_normal((1, 1, 4))
    without = tune_adapters(features, labels, alphas=[0.0], init=init, left_out=[5], learning_rate=0.1, steps=10)
    kept = np.arange(12) != 5
    alone = plain(features[kept], labels[kept], init[0], 0.0, 0.1 * 11 / 12, 10)
    assert without.weight[0] == pytest.approx(alone[1], abs=1e-12)


def test_without_steps_the_adapter_is_the_identity():
    features, labels, rng = made()
    init = rng.standard_normal((1, 1, 4))
    found = tune_adapters(features, labels, alphas=[1.0], init=init, left_out=[-1], learning_rate=0.1, steps=0)
    assert np.array_equal(found.adapter[0], np.eye(4))
    assert np.array_equal(found.composed, init)
