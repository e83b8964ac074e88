import copy

import numpy as np
import pytest
import torch
from saying import says
from scipy.stats import spearmanr
from torch import nn
from torch.func import functional_call

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.theory import head_influence, leave_one_out, model_influence
from steadytune.theory.full.curvature import MeanLoss
from steadytune.theory.full.path import gradient_descent
from steadytune.theory.loo.stability import Differences

CRITERION = KINDS["classification"].criterion()


def _data(n=60, d=5, classes=2, shift=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = rng.standard_normal((n, d))
    features[:, 0] += shift * (labels - labels.mean())
    return features, labels


def _mean_loss(features, labels, module, size=16):
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    return MeanLoss(module, list(zip(inputs.split(size), targets.split(size), strict=True)), CRITERION)


def _linear(weights):
    layer = nn.Linear(weights.shape[1], len(weights), bias=False, dtype=torch.float64)
    layer.weight.data = torch.from_numpy(weights.copy())
    return layer


@pytest.mark.parametrize(("loss", "classes", "outputs"), [("softmax", 3, 3), ("logistic", 2, 1), ("logistic", 3, 3)])
def test_a_head_moves_by_the_inverse_hessian_times_the_gradient_over_n(loss, classes, outputs):
    features, labels = _data(n=12, classes=classes)
    weights = np.random.default_rng(1).standard_normal((outputs, 5))
    weights -= weights.mean(0) if loss == "softmax" else 0
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)

    def each(flat):
        logits = inputs @ flat.view(outputs, 5).T
        if loss == "softmax":
            return nn.functional.cross_entropy(logits, targets, reduction="none")
        answers = targets[:, None] if outputs == 1 else torch.eye(outputs)[targets]
        return nn.functional.binary_cross_entropy_with_logits(logits, answers.double(), reduction="none").sum(1)

    flat = torch.from_numpy(weights).flatten()
    hessian = torch.autograd.functional.hessian(lambda one: each(one).mean(), flat)
    moved = torch.linalg.solve(
        hessian + (0.02 + 0.03) * torch.eye(len(flat), dtype=torch.float64),
        torch.autograd.functional.jacobian(each, flat).T,
    )
    expected = weights + (moved.T / 12).view(12, outputs, 5).numpy()

    found = head_influence(features, labels, weights, damping=0.02, l2=0.03, loss=loss, tolerance=1e-12)

    assert found.left_out_weights == pytest.approx(expected, abs=1e-10)
    assert found.differences.weights == pytest.approx(np.linalg.norm(expected - weights, axis=(1, 2)))
    assert found.residuals.max() < 1e-9


@pytest.mark.parametrize(("loss", "classes"), [("softmax", 2), ("softmax", 3), ("logistic", 2)])
def test_at_the_minimum_the_prediction_approaches_the_exact_change_as_examples_grow_many(loss, classes):
    errors = []
    for n in (30, 240):
        features, labels = _data(n=n, classes=classes)
        exact = leave_one_out(features, labels, loss=loss, l2=0.05, steps=500)
        found = head_influence(features, labels, exact.weights[0], damping=0, l2=0.05, loss=loss)
        truth = exact.left_out_weights[0] - exact.weights[0]
        errors.append(np.linalg.norm(found.left_out_weights - exact.left_out_weights[0]) / np.linalg.norm(truth))

    # First order: an error of the share 1/n that an example has of the Hessian.
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 4
    ranks = found.differences.rank_correlations(exact.leave_one_out.of(0))
    assert min(ranks["weights"], ranks["directions"], ranks["loss"]) > 0.99


def test_of_a_training_that_was_stopped_early_the_damping_finds_the_order_of_the_examples():
    features, labels = _data(n=80, d=20, shift=6)
    exact = leave_one_out(features, labels, steps=200, scale=0)

    damping = 1 / (exact.learning_rate * exact.steps)
    found = head_influence(features, labels, exact.weights[0], damping=damping)

    ranks = found.differences.rank_correlations(exact.leave_one_out.of(0))
    assert min(ranks["weights"], ranks["directions"], ranks["loss"]) > 0.95
    # The data are separable: the gradients of the end are smaller than those that made the weights, and so is the sum.
    assert found.differences.weights.mean() < exact.leave_one_out.weights.mean()


def test_a_linear_layer_as_a_module_and_as_a_head_move_alike():
    features, labels = _data(n=20, classes=3)
    weights = np.random.default_rng(1).standard_normal((3, 5))

    as_module = model_influence(_mean_loss(features, labels, _linear(weights)), damping=0.1, tolerance=1e-10)
    as_head = head_influence(features, labels, weights, damping=0.1, tolerance=1e-10)

    assert as_module.differences.weights == pytest.approx(as_head.differences.weights, rel=1e-7)
    # The head's loss is exact, the module's that of first order.
    assert as_module.differences.loss == pytest.approx(as_head.differences.loss, rel=0.5)
    assert np.isnan(as_module.differences.directions).all()


def test_a_mean_of_squares_moves_by_its_normal_equations():
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((8, 2)), rng.standard_normal(8)
    weights = np.linalg.lstsq(features, targets, rcond=None)[0]
    loss = MeanLoss(
        _linear(weights[None]),
        [(torch.from_numpy(features), torch.from_numpy(targets))],
        lambda outputs, answers: (outputs[:, 0] - answers).square().mean(),
    )

    found = model_influence(loss, damping=0, tolerance=1e-10)

    errors = features @ weights - targets
    moved = 2 * errors[:, None] * np.linalg.solve(2 * features.T @ features, features.T).T
    assert found.differences.weights == pytest.approx(np.linalg.norm(moved, axis=1), rel=1e-8)
    assert found.differences.loss == pytest.approx(2 * errors * (features * moved).sum(1), rel=1e-8)


def _small_network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def _trained(network, features, labels, left_out=None):
    """Train a copy on to the minimum of the penalised loss in whose basin it lies."""
    network = copy.deepcopy(network)
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    counted = torch.ones(len(inputs), dtype=torch.float64)
    if left_out is not None:
        counted[left_out] = 0
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def objective():
        optimizer.zero_grad()
        losses = nn.functional.cross_entropy(network(inputs), targets, reduction="none")
        total = (losses * counted).mean() + 0.02 * sum(weight.square().sum() for weight in network.parameters()) / 2
        total.backward()
        return total

    optimizer.step(objective)
    return network


def test_of_a_network_the_order_of_the_examples_is_that_of_exact_retraining():
    features, labels = _data(n=24, d=3)
    network = _trained(_small_network(0), features, labels)
    loss = _mean_loss(features, labels, network)
    whole = loss.weights
    exact_weights, exact_losses = [], []
    for i in range(12):
        other = _trained(network, features, labels, left_out=i)
        exact_weights.append(float((_mean_loss(features, labels, other).weights - whole).norm()))
        example = _mean_loss(features[i : i + 1], labels[i : i + 1], other)
        exact_losses.append(example.value() - _mean_loss(features[i : i + 1], labels[i : i + 1], network).value())

    # Weight decay is no part of the mean loss: it is the damping.
    found = model_influence(loss, damping=0.02, examples=range(12)).differences

    exact = Differences(np.array(exact_weights), found.directions, found.predictions, np.array(exact_losses))
    ranks = found.rank_correlations(exact)
    assert min(ranks["weights"], ranks["loss"]) > 0.9
    assert np.isnan(ranks["directions"])


def test_probes_estimate_all_examples_from_few_systems():
    features, labels = _data(n=30)
    loss = _mean_loss(features, labels, _linear(np.random.default_rng(1).standard_normal((2, 5))), size=30)
    exact = model_influence(loss, damping=0.2)

    probed = model_influence(loss, damping=0.2, probes=200, seed=3)

    assert len(probed.residuals) == 200
    # The standard error is a share 1/sqrt(400) = 0.05 of each distance.
    assert probed.differences.weights == pytest.approx(exact.differences.weights, rel=0.2)
    assert probed.differences.loss == pytest.approx(exact.differences.loss, rel=0.4)
    ranks = probed.differences.rank_correlations(exact.differences)
    assert min(ranks["weights"], ranks["loss"]) > 0.95


@pytest.mark.parametrize("probes", [None, 3])
def test_some_examples_have_the_values_that_they_have_among_all(probes):
    features, labels = _data(n=12)
    loss = _mean_loss(features, labels, _linear(np.ones((2, 5))), size=5)

    some = model_influence(loss, damping=0.1, examples=[9, 2], probes=probes)
    every = model_influence(loss, damping=0.1, probes=probes)

    assert some.examples.tolist() == [9, 2]
    assert some.differences.weights == pytest.approx(every.differences.weights[[9, 2]])
    head = head_influence(features, labels, np.ones((2, 5)), damping=0.1, examples=[9, 2])
    assert head.differences.weights == pytest.approx(
        head_influence(features, labels, np.ones((2, 5)), damping=0.1).differences.weights[[9, 2]]
    )


def test_the_model_is_left_as_it_was():
    features, labels = _data(n=8)
    model = nn.Sequential(nn.Dropout(0.5), _linear(np.ones((2, 5))))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    inputs = torch.from_numpy(features)
    state = torch.random.get_rng_state()

    model_influence(_mean_loss(features, labels, model), damping=0.1, probes=2)

    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(functional_call(model.eval(), before, inputs), model(inputs))


def test_progress_rises_to_the_end():
    features, labels = _data(n=6)
    for probes in (None, 4):
        told = []
        loss = _mean_loss(features, labels, _linear(np.ones((2, 5))))
        model_influence(loss, damping=0.1, probes=probes, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == 1


def test_a_damping_that_leaves_negative_curvature_is_refused():
    features, labels = _data(n=8, d=3)

    with pytest.raises(UserError, match=says("negative", "damping")):
        model_influence(_mean_loss(features, labels, _small_network(1)), damping=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"damping": -0.1}, says("damping", "0", "-0.1")),
        ({"weights": np.ones((3, 5))}, says("weights", "(3, 5)", "(2, 5)")),
        ({"labels": np.zeros(12, dtype=int)}, says("12 examples", "class 0")),
        ({"examples": [99]}, "99"),
    ],
)
def test_what_means_nothing_is_refused(changes, message):
    features, labels = _data(n=12)
    given = {"features": features, "labels": labels, "weights": np.ones((2, 5)), "damping": 0.1}

    with pytest.raises(UserError, match=message):
        head_influence(**{**given, **changes})


@pytest.mark.parametrize("changes", [{"damping": float("nan")}, {"probes": 0}, {"examples": [8]}])
def test_what_means_nothing_for_a_module_is_refused(changes):
    features, labels = _data(n=8)

    with pytest.raises(UserError, match=next(iter(changes))):
        model_influence(_mean_loss(features, labels, _linear(np.ones((2, 5)))), **{"damping": 0.1, **changes})


def test_the_order_of_losses_in_a_network_is_right_their_size_is_not_and_both_are_said():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    inputs = torch.from_numpy(0.7 * rng.standard_normal((3, 4))[labels] + rng.standard_normal((24, 4)))
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    loss = MeanLoss(model, [(inputs, torch.from_numpy(labels))], KINDS["classification"].criterion())
    (end,) = gradient_descent(loss, 0.3, 150, [150])
    with loss.at(end):
        found = model_influence(loss, damping=0.05)
    exact = []
    for place, one in enumerate(loss.examples()):
        (other,) = gradient_descent(loss.without(place), 0.3, 150, [150])
        values = []
        for weights in (end, other):
            with loss.at(weights):
                values.append(one.value())
        exact.append(values[1] - values[0])
    assert spearmanr(found.differences.loss, exact).statistic > 0.7
    assert 0.05 < found.differences.loss.mean() / np.mean(exact) < 0.7
    first, accuracy = found.describe()
    assert f"{found.differences.loss.mean():.3g}" in first
    assert "rank correlation" in accuracy
