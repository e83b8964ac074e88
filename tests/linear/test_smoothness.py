import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.linear.fit import fit_heads
from steadytune.linear.smoothness import smoothness


def _features(n=30, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64) + 0.5


def _labels(n=30):
    return torch.arange(n) % 2


@pytest.mark.parametrize("loss", ["softmax", "logistic"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_the_largest_second_derivative_at_zero_weights(loss, reduction):
    features, labels = _features(), _labels()

    def objective(weight):
        logits = features @ weight.T
        if loss == "softmax":
            each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        else:
            each = torch.nn.functional.softplus(-(2 * labels - 1) * logits[:, 0])
        return (each.mean() if reduction == "mean" else each.sum()) + 0.3 / 2 * weight.square().sum()

    rows = 2 if loss == "softmax" else 1
    hessian = torch.autograd.functional.hessian(objective, torch.zeros(rows, 4, dtype=torch.float64))

    beta = smoothness(features, loss=loss, reduction=reduction, l2=0.3, bias=False)

    assert beta == pytest.approx(torch.linalg.eigvalsh(hessian.view(4 * rows, -1))[-1].item(), rel=1e-5)


def test_a_bias_is_a_feature_of_ones():
    features = _features()
    with_ones = np.hstack([features, np.ones((30, 1))])

    assert smoothness(features) == pytest.approx(np.linalg.norm(with_ones, 2) ** 2 / 30 / 2, rel=1e-5)
    assert smoothness(features) == pytest.approx(smoothness(with_ones, bias=False), rel=1e-5)


def test_a_constant_feature_and_none_at_all_have_the_curvature_of_their_norm():
    assert smoothness(torch.full((5, 1), 3.0), bias=False) == pytest.approx(9 / 2)
    assert smoothness(torch.zeros(5, 1), bias=False, l2=0.25) == 0.25


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 20),
    loss=st.sampled_from(["softmax", "logistic"]),
    share=st.floats(0.05, 0.999),
    spread=st.floats(0.01, 30),
)
def test_within_the_limit_no_step_raises_the_loss(seed, n, loss, share, spread):
    features = _features(n, seed=seed) * spread
    labels = torch.randint(0, 3, (n,), generator=torch.Generator().manual_seed(seed))
    rate = share * 2 / smoothness(features, loss=loss)

    fitted = fit_heads(
        features,
        labels,
        learning_rate=rate,
        epochs=12,
        loss=loss,
        num_outputs=3,
        init_seeds=[seed],
        scale=1 / spread,
        at=range(13),
    )

    losses = torch.cat([heads.losses for heads in fitted.snapshots])
    assert (losses.diff(dim=0) <= 1e-12 * losses[:1]).all()


def test_a_rate_beyond_the_limit_is_refused_with_the_limit():
    features, labels = _features(), _labels()
    limit = 2 / smoothness(features, l2=0.1)

    fit_heads(features, labels, learning_rate=0.999 * limit, epochs=1, l2=0.1)
    with pytest.raises(UserError, match=says("problem 1", f"{limit:.4g} = 2 / beta", "1 of 3")):
        fit_heads(features, labels, learning_rate=[limit / 2, 1.001 * limit, limit / 3], epochs=1, l2=0.1)


def test_beyond_the_limit_descent_does_leave_a_minimum():
    # One value with either label: the loss is log cosh of half the logit, and smallest at 0.
    features, labels = torch.full((2, 1), 3.0, dtype=torch.float64), _labels(2)
    limit = 2 / smoothness(features, loss="logistic", bias=False)

    def loop(rate):
        weight = 0.01
        for _ in range(60):
            weight -= rate * 3 * np.tanh(3 * weight / 2) / 2
        return abs(weight)

    inside = fit_heads(
        features, labels, learning_rate=0.97 * limit, epochs=60, loss="logistic", init=[[0.01]], bias=False
    )

    assert abs(inside.weight.item()) == pytest.approx(loop(0.97 * limit))
    assert loop(0.97 * limit) < 0.01 / 5
    assert loop(1.03 * limit) > 0.01 * 5


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_limit_of_a_problem_is_that_of_the_examples_it_has(reduction):
    features = _features()
    features[:10] *= 20
    labels = _labels()
    beta = smoothness(features[10:], reduction=reduction)
    weights = torch.ones(2, 30)
    weights[1, :10] = 0

    def fit(rate, **choice):
        fit_heads(features, labels, learning_rate=rate, epochs=1, reduction=reduction, **choice)

    everything = 2 / smoothness(features, reduction=reduction)
    fit([0.99 * everything, 0.99 * 2 / beta], sample_weights=weights)
    with pytest.raises(UserError, match=says("problem 1", "1 of 2")):
        fit([0.99 * everything, 1.01 * 2 / beta], sample_weights=weights)
    with pytest.raises(UserError, match=says("problem 0", "2 / beta")):
        fit(0.99 * 2 / beta, sample_weights=weights)


def test_without_its_longest_example_a_problem_bears_a_larger_rate():
    features, labels = _features(), _labels()
    features[3] *= 100
    rest = torch.arange(30) != 3
    limit = 2 / smoothness(features[rest])

    fit_heads(features, labels, learning_rate=0.99 * limit, epochs=1, left_out=[3])
    with pytest.raises(UserError, match=says("problem 1", "2 / beta")):
        fit_heads(features, labels, learning_rate=0.99 * limit, epochs=1, left_out=[3, 4])


def test_a_penalty_that_spares_the_bias_does_not_count_there():
    features, labels = _features() * 0.1, _labels()
    rows = torch.cat([features, torch.ones(30, 1, dtype=torch.float64)], dim=1)

    def objective(weight):
        logits = rows @ weight
        return torch.nn.functional.softplus(-(2 * labels - 1) * logits).mean() + 0.25 * weight[:4].square().sum()

    hessian = torch.autograd.functional.hessian(objective, torch.zeros(5, dtype=torch.float64))

    assert smoothness(features, loss="logistic", l2=0.5) == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item())


def test_eigenvalues_that_lie_close_together_are_told_apart():
    assert smoothness(
        torch.diag(torch.tensor([1.001] + [1.0] * 199, dtype=torch.float64)), bias=False
    ) == pytest.approx(1.001**2 / 400, rel=1e-12)


@pytest.mark.parametrize(("n", "width"), [(40, 6), (6, 40)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_limit_of_drawn_weights_is_that_of_their_own_matrix(n, width, bias):
    features = _features(n, width)
    weights = torch.randint(0, 4, (5, n), generator=torch.Generator().manual_seed(1)).double()
    weights[:, 0] = 1
    rows = np.hstack([features, np.ones((n, 1))]) if bias else features.numpy()
    penalty = np.diag([0.2] * width + [0.0] * bias)
    limits = [2 / np.linalg.eigvalsh(rows.T @ (w[:, None] * rows) / w.sum() / 4 + penalty)[-1] for w in weights.numpy()]

    def fit(share):
        rates = np.array(limits) * share
        fit_heads(
            features,
            _labels(n),
            learning_rate=rates,
            epochs=1,
            loss="logistic",
            l2=0.2,
            bias=bias,
            sample_weights=weights,
        )

    fit(1 - 1e-8)
    with pytest.raises(UserError, match="5 of 5"):
        fit(1 + 1e-7)


def test_an_unknown_loss_is_named_with_what_would_be_right():
    with pytest.raises(UserError, match=says("loss", "'hinge'", "logistic", "softmax")):
        smoothness(_features(), loss="hinge")
