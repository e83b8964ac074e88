import numpy as np
import pytest
import torch

from steadytune.errors import UserError
from steadytune.theory.studies.dataset import DataSet, unit
from steadytune.theory.studies.synthetic import SyntheticSpec, generate


def made(**changes):
    spec = SyntheticSpec(**{"n": 18, "d": 6, "shift": 2.0, **changes})
    return DataSet(*generate(spec), spec.seed)


@pytest.mark.parametrize("classes", [2, 3])
def test_heads_are_trained_as_a_loop_of_gradient_steps_on_the_mean_over_all_n_would(classes):
    data = made(classes=classes)
    outputs = 1 if classes == 2 else classes
    init = data.noise(2, 2)
    left_out, rates = np.array([[-1, 4], [0, -1]]), np.array([1.0, 0.25])
    found = dict(data.train(init, left_out, rates, (3, 20)))
    assert data.outputs == outputs
    x, y = torch.from_numpy(data.features), torch.from_numpy(data.labels)
    for place in np.ndindex(2, 2):
        weight = torch.tensor(init[place], requires_grad=True)
        for step in range(1, 21):
            logits = x @ weight.T
            if outputs == 1:
                losses = torch.nn.functional.softplus(-(2 * y - 1) * logits[:, 0])
            else:
                losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
            counted = torch.arange(len(y)) != left_out[place]
            (gradient,) = torch.autograd.grad((losses * counted).sum() / len(y), weight)
            weight = (weight - rates[place[1]] * data.rate * gradient).detach().requires_grad_(True)
            if step in found:
                assert found[step][place] == pytest.approx(weight.detach().numpy(), rel=1e-9, abs=1e-12)


def test_the_unit_of_the_rate_is_one_over_the_largest_curvature_at_zero_weights():
    data = made()
    hessian = data.features.T @ data.features / (4 * len(data.labels))
    assert data.rate == pytest.approx(1 / np.linalg.eigvalsh(hessian)[-1], rel=1e-6)


def test_a_direction_has_length_one_and_does_not_see_what_no_prediction_depends_on():
    data = made(classes=3)
    weights = np.random.default_rng(1).standard_normal((2, 5, 3, 6))
    moved = 3 * weights + np.random.default_rng(2).standard_normal((2, 5, 1, 6))
    assert data.directions(weights).shape == (2, 5, 18)
    assert np.linalg.norm(data.directions(weights), axis=-1) == pytest.approx(np.ones((2, 5)))
    assert data.directions(moved) == pytest.approx(data.directions(weights))


def test_the_limit_has_the_largest_margin_of_all_directions_and_descent_goes_there():
    data = made(n=8, d=2, shift=6.0)
    assert data.separable
    angles = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    margins = ((2 * data.labels[:, None] - 1) * (data.features @ directions.T)).min(0)
    assert data.limit == pytest.approx(directions[margins.argmax()], abs=1e-4)
    path = data.train(np.zeros((1, 1, 2)), np.array([-1]), np.array(1.0), (10, 100, 1_000, 10_000))
    errors = [np.linalg.norm(data.directions(weights)[0] - data.limit) for _, weights in path]
    assert errors == sorted(errors, reverse=True)
    assert data.limits.shape == (8, 2)
    assert np.linalg.norm(data.limits, axis=1) == pytest.approx(np.ones(8))


def test_noise_is_the_same_for_a_seed_and_nested_in_the_seeds():
    data, other = made(seed=3), made(seed=4)
    assert np.array_equal(data.noise(3, 4), data.noise(3, 4))
    assert data.noise(3, 4).shape == (3, 4, 1, 6)
    assert not np.array_equal(data.noise(3, 4), other.noise(3, 4))
    assert np.array_equal(data.noise(2, 1), data.noise(3, 4)[:2, :1])
    assert not np.isclose(data.noise(2, 2)[0], data.noise(2, 2)[1]).any()


def test_unit_vectors_are_scaled_along_the_last_axis():
    assert unit(np.array([[3.0, 4.0], [0.0, -2.0]])) == pytest.approx(np.array([[0.6, 0.8], [0.0, -1.0]]))
    with pytest.raises(UserError, match="no direction"):
        unit(np.zeros((2, 3)))


def test_initial_weights_have_the_scale_of_the_data_set():
    data = made()
    scaled = DataSet(data.features, data.labels, data.seed, scale=0.02)
    assert scaled.noise(2, 3) == pytest.approx(0.02 * data.noise(2, 3))
