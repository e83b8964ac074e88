import itertools

import numpy as np
import pytest
import torch
from saying import says
from sklearn.linear_model import LogisticRegression
from torch import nn

from steadytune.errors import UserError
from steadytune.linear import descent, objective
from steadytune.linear.fit import fit_heads
from steadytune.linear.posing import generator
from steadytune.linear.smoothness import smoothness

pytestmark = pytest.mark.slow


def _data(n=40, width=5, classes=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(classes)
    features = torch.randn(n, width, generator=generator, dtype=dtype)
    return features, torch.randint(0, classes, (n,), generator=generator)


def _loop(features, labels, weight, rate, steps, *, loss, reduction, bias, l2, sample_weights):
    """One head by plain gradient descent: autograd on the definition of the loss."""
    weight = weight.clone().requires_grad_()
    offset = torch.zeros(len(weight), dtype=weight.dtype, requires_grad=True)

    def objective():
        logits = features @ weight.T + offset
        if loss == "softmax":
            each = nn.functional.cross_entropy(logits, labels, reduction="none")
        elif len(weight) == 1:
            each = torch.log1p(torch.exp(-(2 * labels - 1) * logits[:, 0]))
        else:
            each = torch.log1p(torch.exp(-(2 * nn.functional.one_hot(labels) - 1) * logits)).sum(1)
        total = (each * sample_weights).sum() / (sample_weights.sum() if reduction == "mean" else 1)
        return total + l2 / 2 * weight.square().sum()

    for _ in range(steps):
        gradients = torch.autograd.grad(objective(), (weight, offset))
        with torch.no_grad():
            weight -= rate * gradients[0]
            offset -= rate * gradients[1] * bias
    return weight.detach(), offset.detach(), objective().detach()


@pytest.mark.parametrize(
    ("loss", "classes", "reduction", "bias", "l2"),
    list(itertools.product(["softmax", "logistic"], [2, 3], ["mean", "sum"], [True, False], [0.0, 0.1])),
)
def test_every_problem_follows_a_plain_loop_of_gradient_descent(monkeypatch, loss, classes, reduction, bias, l2):
    features, labels = _data(classes=classes)
    draw = torch.Generator().manual_seed(7)
    weights = torch.rand(5, 40, generator=draw, dtype=torch.float64)
    init = torch.randn(5, 1 if (loss, classes) == ("logistic", 2) else classes, 5, generator=draw, dtype=torch.float64)
    rates = torch.linspace(0.02, 0.2, 5, dtype=torch.float64) / (1 if reduction == "mean" else 40)
    left_out = [-1, 0, 7, 39, 7]
    options = {"loss": loss, "reduction": reduction, "bias": bias}
    # Tiles of a few rows and columns, the last ones smaller, must not show.
    monkeypatch.setitem(objective._ROWS, "cpu", 16)
    monkeypatch.setitem(descent._COLUMNS, "cpu", 3 * classes)

    fitted = fit_heads(
        features,
        labels,
        learning_rate=rates,
        epochs=23,
        l2=l2,
        init=init,
        sample_weights=weights,
        left_out=left_out,
        at=[0, 10, 23],
        **options,
    )

    for steps, heads in zip([23, 0, 10, 23], [fitted, *fitted.snapshots], strict=True):
        assert heads.steps.tolist() == [steps] * 5
        for b in range(5):
            own = weights[b].clone()
            own[[i for i in left_out[b : b + 1] if i >= 0]] = 0
            expected = _loop(features, labels, init[b], rates[b], steps, l2=l2, sample_weights=own, **options)
            assert torch.allclose(heads.weight[b], expected[0], rtol=0, atol=1e-12)
            assert torch.allclose(heads.bias[b], expected[1], rtol=0, atol=1e-12)
            assert torch.allclose(heads.losses[0, b], expected[2], rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_leaving_an_example_out_is_training_without_it(classes):
    features, labels = _data(classes=classes)
    options = {"learning_rate": 0.3, "epochs": 50, "num_outputs": classes}

    left = fit_heads(features, labels, left_out=range(40), **options)

    for i in (0, 17, 39):
        without = fit_heads(np.delete(features.numpy(), i, axis=0), np.delete(labels.numpy(), i, axis=0), **options)
        assert torch.allclose(left.weight[i], without.weight[0], rtol=0, atol=1e-13)
        assert torch.allclose(left.bias[i], without.bias[0], rtol=0, atol=1e-13)
        assert torch.allclose(left.losses[:, i], without.losses[:, 0])


@pytest.mark.parametrize(("classes", "loss"), [(2, "logistic"), (2, "softmax"), (3, "softmax"), (3, "logistic")])
@pytest.mark.parametrize("bias", [True, False])
def test_it_converges_to_the_solution_of_scikit_learn(classes, loss, bias):
    features, labels = _data(n=60, classes=classes)
    rate = 1 / smoothness(features, loss=loss, reduction="sum", l2=0.5, bias=bias)

    fitted = fit_heads(
        features,
        labels,
        learning_rate=rate,
        epochs=100_000,
        loss=loss,
        reduction="sum",
        l2=0.5,
        bias=bias,
        tolerance=1e-9,
    )

    assert fitted.steps.item() < 100_000
    exact = {"C": 2.0, "fit_intercept": bias, "tol": 1e-12, "max_iter": 10_000}
    if loss == "softmax" and classes == 3:
        reference = [LogisticRegression(**exact).fit(features, labels)]
    elif classes == 2:
        # Two rows of softmax at L2 0.5 each are one row, their difference, at 0.25.
        exact["C"] = 2.0 if loss == "logistic" else 4.0
        reference = [LogisticRegression(**exact).fit(features, labels)]
    else:
        reference = [LogisticRegression(**exact).fit(features, labels == one) for one in range(3)]
    coefficients = torch.from_numpy(np.concatenate([one.coef_ for one in reference]))
    intercepts = torch.from_numpy(
        np.concatenate([np.broadcast_to(one.intercept_, len(one.coef_)) for one in reference])
    )
    mine, offsets = fitted.weight[0], fitted.bias[0]
    if loss == "softmax" and classes == 2:
        mine, offsets = mine[1:] - mine[:1], offsets[1:] - offsets[:1]
    if loss == "softmax" and classes == 3:
        # A constant added to all the intercepts changes nothing.
        intercepts, offsets = intercepts - intercepts.mean(), offsets - offsets.mean()
    assert torch.allclose(mine, coefficients, rtol=0, atol=1e-6)
    assert torch.allclose(offsets, intercepts, rtol=0, atol=1e-6)


def _gradient(features, labels, weight, l2):
    weight = weight.clone().requires_grad_()
    loss = nn.functional.cross_entropy(features @ weight.T, labels) + l2 / 2 * weight.square().sum()
    return torch.autograd.grad(loss, weight)[0].abs().max()


@pytest.mark.parametrize("classes", [2, 3])
def test_a_problem_stops_once_its_gradient_is_small_and_keeps_its_weights(classes):
    features, labels = _data(classes=classes)
    init = torch.randn(4, classes, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # What the rows have in common moves by L2 alone, and is the last thing to come to rest in the first problem.
    init[0] = 100.0
    l2 = [0.02, 0.05, 0.4, 0.02]
    options = {"learning_rate": [1.0, 1.0, 1.0, 1e-4], "l2": l2, "init": init, "bias": False}

    fitted = fit_heads(features, labels, epochs=2000, tolerance=1e-4, at=[100, 1000], **options)

    steps = fitted.steps.tolist()
    assert steps[2] < steps[1] < steps[0] < 2000 == steps[3]
    assert all(step % 10 == 0 for step in steps)
    for b in range(4):
        at_rest = fit_heads(features, labels, epochs=steps[b], **options)
        earlier = fit_heads(features, labels, epochs=max(0, steps[b] - 10), **options)
        assert torch.allclose(fitted.weight[b], at_rest.weight[b], rtol=0, atol=1e-12)
        assert _gradient(features, labels, earlier.weight[b], l2[b]) > 1e-4
        assert _gradient(features, labels, fitted.weight[b], l2[b]) <= 1e-4 or b == 3
        stages = [min(steps[b], mark) for mark in (100, 1000)]
        assert [snapshot.steps[b].item() for snapshot in fitted.snapshots] == stages


def test_a_problem_that_starts_at_rest_takes_no_step_and_the_others_go_on():
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0])
    init = torch.tensor([[[900.0, 0.0], [-900.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    weights = torch.tensor([[1.0, 0.0], [1.0, 0.0]])

    fitted = fit_heads(features, labels, learning_rate=1, epochs=3, init=init, sample_weights=weights, bias=False)

    # exp(-1800) is 0 in double precision; the other: 1 - p = 1/2, then 1 / (1 + e), and so on.
    assert fitted.steps.tolist() == [0, 3]
    margin = 0.0
    for _ in range(3):
        margin += 2 / (1 + np.exp(margin))
    assert torch.equal(fitted.weight[0], init[0])
    assert (fitted.weight[1, 0, 0] - fitted.weight[1, 1, 0]).item() == pytest.approx(margin, abs=1e-14)


def test_small_derivatives_keep_their_digits_in_single_precision():
    # Far along a separable problem p - 1 in single precision is 0, and descent would stop.
    features, labels = torch.ones(1, 1), torch.tensor([1])
    for classes in (2, 3):
        init = torch.zeros(classes, 1)
        init[1] = 30.0

        fitted = fit_heads(features, labels, learning_rate=1, epochs=1, num_outputs=classes, init=init, bias=False)
        others = fitted.weight[0, [c for c in range(classes) if c != 1], 0]

        assert torch.allclose(others, torch.full((classes - 1,), -np.exp(-30.0), dtype=torch.float32), rtol=1e-4)


def test_heads_of_a_problem_are_averaged():
    features, labels = _data()

    three = fit_heads(features, labels, learning_rate=0.2, epochs=30, init_seeds=[4, 5], heads=3, scale=1.0)

    for b, seed in enumerate((4, 5)):
        draws = torch.randn(3, 2, 5, generator=generator("init", seed), dtype=torch.float64)
        alone = [fit_heads(features, labels, learning_rate=0.2, epochs=30, init=draw) for draw in draws]
        assert torch.allclose(three.weight[b], torch.stack([one.weight[0] for one in alone]).mean(0), atol=1e-14)
        assert torch.allclose(three.losses[0, b], torch.stack([one.losses[0, 0] for one in alone]).mean(), atol=1e-14)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("classes", [2, 3])
def test_precision_and_device_are_those_of_the_features(device, classes):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    features, labels = _data(classes=classes)
    options = {"learning_rate": 0.5, "epochs": 100, "left_out": range(40), "at": [3]}

    double = fit_heads(features, labels, **options)
    single = fit_heads(features.float().to(device), labels, **options)

    assert double.weight.dtype == torch.float64
    assert single.weight.dtype == single.losses.dtype == torch.float32
    assert single.weight.device.type == single.bias.device.type == single.snapshots[0].weight.device.type == device
    assert torch.allclose(single.weight.double().cpu(), double.weight, atol=1e-4)


def test_what_lies_between_the_products_does_not_grow_with_examples_or_problems(monkeypatch):
    made = []
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *args, out: made.append(out.numel()) or product(*args, out=out))
    features, labels = _data(n=3000, width=2, dtype=torch.float32)

    fit_heads(features, labels, learning_rate=0.1, epochs=1, left_out=range(1000), bias=False)

    assert len(made) >= 2 * 5 * 2
    assert max(made) <= 640 * 512


def test_problems_go_through_in_blocks_without_a_difference(monkeypatch):
    features, labels = _data(n=40, classes=3)
    shares = []

    def fit(**more):
        return fit_heads(
            features,
            labels,
            learning_rate=np.linspace(0.01, 0.1, 7),
            epochs=30,
            init_seeds=[0, 1, 2, 0, 1, 2, 0],
            heads=3,
            left_out=[-1, 0, 1, 2, 3, 4, 5],
            at=[10],
            **more,
        )

    whole = fit()
    monkeypatch.setattr(descent, "_CELLS", 2 * 3 * 3 * features.shape[1] * 4)
    parts = fit(progress=shares.append)

    for one, other in ((whole, parts), (whole.snapshots[0], parts.snapshots[0])):
        assert torch.allclose(one.weight, other.weight, rtol=1e-12, atol=1e-14)
        assert torch.allclose(one.losses, other.losses)
        assert torch.equal(one.steps, other.steps)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_memory_does_not_grow_with_the_heads_of_a_problem(monkeypatch):
    features, labels = _data(n=20, width=50)
    made = []
    empty = torch.Tensor.new_empty

    def watched(*args, **kwargs):
        tensor = empty(*args, **kwargs)
        made.append(tensor.numel())
        return tensor

    monkeypatch.setattr(descent, "_CELLS", 50_000)
    monkeypatch.setattr(torch.Tensor, "new_empty", watched)
    fit_heads(features, labels, learning_rate=0.01, epochs=2, init_seeds=[0] * 200, heads=20)

    assert max(made) <= 50_000


def test_progress_rises_to_one():
    features, labels = _data(n=300, classes=3)
    shares = []

    fit_heads(
        features, labels, learning_rate=0.1, epochs=25, loss="logistic", left_out=range(300), progress=shares.append
    )

    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert len(shares) > 6


def test_no_step_leaves_the_start():
    features, labels = _data()

    fitted = fit_heads(features, labels, learning_rate=0.1, epochs=0, at=[0])

    assert not fitted.weight.any()
    assert fitted.losses.item() == pytest.approx(np.log(2))
    assert len(fitted.snapshots) == 1


@pytest.mark.parametrize("at", [[3, 3], [5, 2], [-1], [11]])
def test_steps_to_keep_that_do_not_increase_or_never_come_are_refused(at):
    features, labels = _data()

    with pytest.raises(UserError, match=says("at", "0 to 10")):
        fit_heads(features, labels, learning_rate=0.1, epochs=10, at=at)
