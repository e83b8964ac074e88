import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

import steadytune.theory
from steadytune.errors import UserError
from steadytune.models.random_state import spread
from steadytune.theory import leave_one_out


def _data(n=12, d=4, classes=2, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = rng.standard_normal((n, d))
    features[:, 0] += shift * (labels - labels.mean())
    return features, labels


def _one_by_one(features, labels, left_out, *, outputs, rate, steps, l2=0.0, seed=0, scale=0.02, loss="softmax"):
    """Plain gradient descent with automatic gradients: sum over the others, divided by n."""
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    draw = torch.Generator().manual_seed(spread("init", seed))
    weight = torch.randn(1, outputs, inputs.shape[1], generator=draw, dtype=torch.float64)[0] * scale
    others = [i for i in range(len(inputs)) if i != left_out]
    for _ in range(steps):
        weight.requires_grad_(True)
        logits = inputs[others] @ weight.T
        if loss == "softmax":
            total = torch.nn.functional.cross_entropy(logits, targets[others], reduction="sum")
        else:
            answers = targets[others][:, None] if outputs == 1 else torch.eye(outputs)[targets[others]]
            total = torch.nn.functional.binary_cross_entropy_with_logits(logits, answers.double(), reduction="sum")
        objective = total / len(inputs) + l2 / 2 * weight.square().sum()
        (gradient,) = torch.autograd.grad(objective, weight)
        weight = (weight - rate * gradient).detach()
    return weight.numpy()


@pytest.mark.parametrize(("loss", "classes", "outputs"), [("softmax", 3, 3), ("logistic", 2, 1), ("logistic", 3, 3)])
def test_every_number_is_that_of_plain_trainings_one_after_the_other(loss, classes, outputs):
    features, labels = _data(classes=classes)
    options = {"l2": 0.05, "scale": 0.5}

    stability = leave_one_out(features, labels, learning_rate=0.3, steps=20, seeds=[3, 8], loss=loss, **options)

    assert stability.weights.shape == (2, outputs, 4)
    assert stability.left_out_weights.shape == (2, 12, outputs, 4)
    for k, seed in enumerate([3, 8]):
        one = {"outputs": outputs, "rate": 0.3, "steps": 20, "seed": seed, "loss": loss, **options}
        whole = _one_by_one(features, labels, None, **one)
        without = np.array([_one_by_one(features, labels, i, **one) for i in range(12)])
        if loss == "softmax":
            whole, without = whole - whole.mean(0), without - without.mean(1, keepdims=True)
        scaled = whole / np.linalg.norm(whole)
        turned = without / np.linalg.norm(without, axis=(1, 2), keepdims=True)
        found = stability.leave_one_out.of(k)
        assert found.weights == pytest.approx(np.linalg.norm(without - whole, axis=(1, 2)), rel=1e-8)
        assert found.directions == pytest.approx(np.linalg.norm(turned - scaled, axis=(1, 2)), rel=1e-8)
        before, after = features @ whole.T, np.einsum("nd,mod->mno", features, without)
        assert found.predictions == pytest.approx((_classes(after) != _classes(before)).mean(1))
        own = after[np.arange(12), np.arange(12)]
        assert stability.left_out_predictions[k].tolist() == _classes(own).tolist()
        assert stability.losses[k] == pytest.approx(_losses(before, labels, loss), rel=1e-8)
        assert stability.left_out_losses[k] == pytest.approx(_losses(own, labels, loss), rel=1e-8)
        assert found.loss == pytest.approx(np.abs(_losses(own, labels, loss) - _losses(before, labels, loss)), rel=1e-7)


def _classes(logits):
    return (logits[..., 0] > 0).astype(int) if logits.shape[-1] == 1 else logits.argmax(-1)


def _losses(logits, labels, loss):
    if loss == "softmax":
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    signs = 2 * (labels[:, None] == np.arange(logits.shape[1]) + (logits.shape[1] == 1)) - 1
    return np.log1p(np.exp(-signs * logits)).sum(1)


def test_one_step_from_zero_moves_each_example_by_half_its_norm_over_n():
    features = np.array([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])

    stability = leave_one_out(features, [1, 1, 0, 0], learning_rate=0.8, steps=1, scale=0, loss="logistic")

    # The gradient of log(1 + exp(-y w.x)) at w = 0 is -y x / 2.
    assert stability.leave_one_out.weights[0] == pytest.approx(0.8 / 4 * np.array([5, 2, 1, 0]) / 2)
    assert stability.weights[0, 0] == pytest.approx(0.8 / 4 / 2 * np.array([4, 6]))
    assert stability.leave_one_out.directions[0, 3] == 0


def test_the_direction_of_two_softmax_outputs_is_that_of_the_binary_theory():
    features, labels = _data(n=16)

    soft = leave_one_out(features, labels, learning_rate=0.1, steps=50, scale=0)
    binary = leave_one_out(features, labels, learning_rate=0.2, steps=50, scale=0, loss="logistic")

    assert soft.leave_one_out.directions == pytest.approx(binary.leave_one_out.directions, rel=1e-9)
    assert soft.leave_one_out.weights * np.sqrt(2) == pytest.approx(binary.leave_one_out.weights, rel=1e-9)


def test_a_shift_of_all_classes_which_no_prediction_sees_is_no_instability():
    features, labels = _data()

    # A tiny rate leaves the initial weights as they are: heads of two classes then differ by w_1 - w_0 alone.
    stability = leave_one_out(features, labels, learning_rate=1e-12, steps=1, seeds=[0, 1], scale=1)

    first, second = (
        torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(spread("init", k)), dtype=torch.float64)[0]
        for k in (0, 1)
    )
    difference = (first[1] - first[0]) - (second[1] - second[0])
    assert stability.seed.weights[0, 1] == pytest.approx(float(difference.norm()) / np.sqrt(2), rel=1e-6)


def test_seeds_and_left_out_examples_are_never_mixed():
    features, labels = _data()

    shared = leave_one_out(features, labels, seeds=[0, 1, 2], scale=0)
    drawn = leave_one_out(features, labels, seeds=[0, 1, 2], scale=3.0)

    assert shared.seed.weights.max() == shared.seed.loss.max() == 0
    assert shared.to_frame().loc["weights", "seed"] == 0 < shared.to_frame().loc["weights", "leave_one_out"]
    for k in range(3):
        alone = leave_one_out(features, labels, seeds=[k], scale=3.0)
        assert alone.leave_one_out.weights[0] == pytest.approx(drawn.leave_one_out.weights[k], rel=1e-9)
        assert np.isnan(alone.to_frame()["seed"]).all()
    expected = np.linalg.norm(drawn.weights[0] - drawn.weights[2])
    assert drawn.seed.weights[0, 2] == drawn.seed.weights[2, 0] == pytest.approx(expected)
    assert drawn.seed.loss[0, 2] == pytest.approx(np.abs(drawn.losses[0] - drawn.losses[2]).mean())
    assert drawn.seed.directions.diagonal().tolist() == [0, 0, 0]


def test_some_examples_have_the_values_that_they_have_among_all():
    features, labels = _data()

    some = leave_one_out(features, labels, examples=[7, 2])
    every = leave_one_out(features, labels)

    assert some.examples.tolist() == [7, 2]
    assert some.leave_one_out.weights[0] == pytest.approx(every.leave_one_out.weights[0, [7, 2]], rel=1e-9)
    assert some.left_out_losses[0] == pytest.approx(every.left_out_losses[0, [7, 2]], rel=1e-9)


def test_predictions_are_compared_on_the_evaluation_features():
    # Without example 2, which alone speaks of the second feature, nothing is known about it.
    features = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    options = {"steps": 50, "scale": 0, "loss": "logistic"}

    stability = leave_one_out(
        features, [1, 0, 1], evaluation=[[0.0, 2.0], [0.1, 3.0], [-0.1, 3.0], [9.0, 1.0]], **options
    )

    # (0, 2) and (-0.1, 3) fall to class 0 without it.
    assert stability.leave_one_out.predictions[0].tolist() == [0, 0, 0.5]
    assert leave_one_out(features, [1, 0, 1], **options).leave_one_out.predictions[0, 2] == pytest.approx(1 / 3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(4, 15), d=st.integers(1, 6), steps=st.integers(1, 60))
def test_a_step_of_one_over_beta_adds_no_more_than_the_gradient_of_the_missing_example(seed, n, d, steps):
    features, labels = _data(n=n, d=d, seed=seed)

    stability = leave_one_out(features, labels, steps=steps, loss="logistic")

    # Gradient descent at 1/beta is non-expansive, and a gradient of the logistic loss is no longer than the example.
    most = stability.learning_rate * steps * np.linalg.norm(features, axis=1) / n
    assert (stability.leave_one_out.weights[0] <= most * (1 + 1e-12)).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 3), loss=st.sampled_from(["softmax", "logistic"]))
def test_at_the_minimum_an_example_that_was_left_out_is_fitted_worse(seed, classes, loss):
    features, labels = _data(classes=classes, seed=seed)

    # From F(w) <= F(w^i) and F^i(w^i) <= F^i(w) follows f_i(w^i) >= f_i(w).
    stability = leave_one_out(features, labels, loss=loss, l2=0.5, steps=400)

    assert (stability.left_out_losses >= stability.losses - 1e-9).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_neither_the_order_of_the_examples_nor_a_rotation_of_the_features_matters(seed):
    features, labels = _data(seed=seed)
    rng = np.random.default_rng(seed)
    order, rotation = rng.permutation(12), np.linalg.qr(rng.standard_normal((4, 4)))[0]

    plain = leave_one_out(features, labels, scale=0, learning_rate=0.2)
    turned = leave_one_out(features[order] @ rotation, labels[order], scale=0, learning_rate=0.2)

    assert turned.leave_one_out.directions[0] == pytest.approx(plain.leave_one_out.directions[0, order], rel=1e-7)


def test_many_heads_are_averaged():
    features, labels = _data()

    # At a rate of almost nothing the mean of 400 initial heads has a 20th of the norm of one.
    one, many = (leave_one_out(features, labels, learning_rate=1e-12, steps=1, scale=1, heads=h) for h in (1, 400))

    assert np.linalg.norm(many.weights) < 0.3 * np.linalg.norm(one.weights)


def test_progress_rises_to_the_end():
    told = []

    leave_one_out(*_data(), progress=told.append)

    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.ones(12, dtype=int)}, says("12 examples", "class 1")),
        ({"features": np.full((12, 4), np.nan)}, says("example 0", "NaN")),
        ({"features": np.ones((2, 4)), "labels": np.array([0, 1])}, says("3 examples", "2")),
        ({"learning_rate": 1e3}, "stability limit"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"examples": [12]}, says("12", "0..11")),
        ({"evaluation": np.ones((3, 5))}, says("(N, 4)", "(3, 5)")),
    ],
)
def test_what_means_nothing_is_refused(changes, message):
    features, labels = _data()

    with pytest.raises(UserError, match=message):
        leave_one_out(**{"features": features, "labels": labels, **changes})


def test_the_room_knows_its_names_and_no_others():
    assert steadytune.theory.leave_one_out is leave_one_out
    assert "leave_one_out" in steadytune.theory.__all__
    with pytest.raises(AttributeError, match="'leave_two_out'"):
        _ = steadytune.theory.leave_two_out
