import math
import re

import numpy as np
import pytest
import torch
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import MeanLoss, full_tuning_bound, run_loss
from steadytune.theory.full.path import gradient_descent

# After one step the sum over the path is the stability itself.
ROUNDING = 1 + 1e-12
REGRESSION, CLASSIFICATION = KINDS["regression"].criterion(), KINDS["classification"].criterion()


def least_squares(n=10, d=3, noise=0.0, seed=0, batch=4):
    """(w . x - y)^2 on generated data, split into batches."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, d, generator=generator, dtype=torch.float64)
    targets = inputs @ torch.randn(d, generator=generator, dtype=torch.float64)
    targets += noise * torch.randn(n, generator=generator, dtype=torch.float64)
    torch.manual_seed(seed)
    model = nn.Linear(d, 1, bias=False).double()
    return MeanLoss(model, list(zip(inputs.split(batch), targets.split(batch), strict=True)), REGRESSION)


def classifier(*layers, n=12, seed=0):
    torch.manual_seed(seed)
    inputs, labels = torch.randn(n, 4, dtype=torch.float64), torch.randint(0, 3, (n,))
    model = nn.Sequential(*layers).double()
    return MeanLoss(model, list(zip(inputs.split(5), labels.split(5), strict=True)), CLASSIFICATION)


def _weakly_curved(model, outputs, targets):
    """Least squares, with a curvature of 0.01 in the directions that no example has."""
    return REGRESSION(outputs, targets) + 0.005 * model.weight.square().sum()


def everything(loss):
    parts = [torch.cat(part) for part in zip(*loss.batches, strict=True)]
    return parts[0], parts[1]


def stability(loss, learning_rate, steps):
    """Mean distance of the ends of gradient descent with and without each example, the others at weight 1/n."""
    inputs, targets = everything(loss)
    kept = [list(set(range(len(loss))) - {row}) for row in range(len(loss))]
    share = (len(loss) - 1) / len(loss)
    (end,) = gradient_descent(loss, learning_rate, steps, [steps])
    ends = [
        gradient_descent(
            MeanLoss(loss.model, [(inputs[rows], targets[rows])], loss.criterion), share * learning_rate, steps, [steps]
        )[0]
        for rows in kept
    ]
    return float(np.mean([(end - other).norm() for other in ends]))


def failing(result, *words):
    """Whether these assumptions fail and no others: a word of each name, in their order."""
    return len(result.failures) == len(words) and all(
        word in failure.name for word, failure in zip(words, result.failures, strict=True)
    )


def test_all_terms_of_least_squares_are_what_linear_algebra_gives():
    loss = least_squares()
    inputs, targets = everything(loss)
    start, rate, steps = loss.weights, 0.05, 6

    result = full_tuning_bound(loss, learning_rate=rate, steps=steps, points=steps + 1)

    path = [start]
    for _ in range(steps):
        path.append(path[-1] - rate * 2 * inputs.T @ (inputs @ path[-1] - targets) / 10)
    residuals = torch.stack([inputs @ w - targets for w in path])
    norms = 2 * residuals.abs() * inputs.norm(dim=1)
    spectrum = torch.linalg.eigvalsh(2 * inputs.T @ inputs / 10)
    ahead = path[-1] - torch.stack(path)
    terms = result.terms
    assert torch.allclose(result.end, path[-1])
    assert terms.step.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert terms.loss == pytest.approx(residuals.square().mean(1).numpy())
    assert terms.largest_gradient == pytest.approx(norms.max(1).values.numpy())
    assert terms.mean_gradient == pytest.approx(norms.mean(1).numpy())
    assert terms.gradient == pytest.approx((2 * residuals @ inputs / 10).norm(dim=1).numpy())
    assert terms.self_bounding == pytest.approx(np.full(7, float(2 * inputs.square().sum(1).max())))
    assert terms.largest_curvature == pytest.approx(np.full(7, float(spectrum[-1])))
    assert terms.smallest_curvature == pytest.approx(np.full(7, float(spectrum[0])))
    assert terms.distance == pytest.approx((torch.stack(path) - start).norm(dim=1).numpy())
    rayleigh = 2 * (ahead @ inputs.T).square().mean(1) / ahead.square().sum(1)
    assert terms.restricted_mu[:-1] == pytest.approx(rayleigh[:-1].numpy())
    assert math.isnan(terms.restricted_mu[-1])
    assert result.restricted_mu == pytest.approx(float(rayleigh[:-1].min()))
    assert (result.beta, result.mu) == pytest.approx((float(spectrum[-1]), float(spectrum[0])))
    assert result.distance == terms.distance[-1]
    assert result.path == pytest.approx(rate * terms.mean_gradient[:-1].sum() / 10)
    assert terms.example_gradients == pytest.approx(norms.numpy())
    assert result.example_paths == pytest.approx(rate * norms[:-1].sum(0).numpy() / 10)
    assert result.idle == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "d", "noise"), [(10, 3, 0.0), (10, 3, 1.0), (4, 9, 0.0)])
def test_no_form_is_below_the_measured_stability_of_least_squares(seed, n, d, noise):
    loss = least_squares(n, d, noise, seed)
    inputs, _ = everything(loss)
    beta = float(torch.linalg.eigvalsh(2 * inputs.T @ inputs / n)[-1])
    steps = (1, 4, 20)[seed % 3]

    result = full_tuning_bound(loss, learning_rate=0.9 / beta, steps=steps, points=steps + 1)

    assert result.proved
    assert stability(loss, 0.9 / beta, steps) <= min(*result.bound, result.path) * ROUNDING


@pytest.mark.parametrize("seed", range(6))
def test_no_form_is_below_the_measured_stability_of_a_linear_classifier(seed):
    loss = classifier(nn.Linear(4, 3), seed=seed)
    rate, steps = 0.3, (2, 10, 40)[seed % 3]

    result = full_tuning_bound(loss, learning_rate=rate, steps=steps, points=steps + 1)

    assert result.proved
    assert stability(loss, rate, steps) <= min(*result.bound, result.path) * ROUNDING


def test_a_fitted_problem_with_more_examples_than_weights_fails_nothing():
    result = full_tuning_bound(least_squares(), learning_rate=0.1, steps=200)

    assert result.failures == ()
    assert result.proved
    assert len(result.describe()) == 4


def test_more_weights_than_examples_have_a_restricted_mu_alone():
    result = full_tuning_bound(least_squares(4, 9), learning_rate=0.02, steps=300, points=20)

    assert result.mu == pytest.approx(0, abs=1e-12)
    assert result.restricted_mu > 0.01
    assert result.proved
    assert failing(result, "mu > 0")
    assert re.search(says("mu > 0", "infinite"), result.describe()[-1])


def test_a_classifier_that_does_not_fit_pays_for_its_final_loss():
    result = full_tuning_bound(classifier(nn.Linear(4, 3)), learning_rate=0.3, steps=10)

    # The logits of softmax may move together: one direction in which nothing changes for each feature, and the bias.
    assert failing(result, "mu > 0", "interpolation")
    rest = 0.3 * 10 * math.sqrt(2 * result.example_beta * result.terms.loss[-1]) / 12
    assert f" {rest:.3g} " in result.describe()[-1]
    assert min(result.bound) > rest


def test_a_network_that_is_not_convex_has_no_proved_bound():
    result = full_tuning_bound(classifier(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), learning_rate=0.2, steps=30)

    assert not result.proved
    assert "convexity" in {failure.name for failure in result.failures}
    assert "No bound" in result.describe()[0]


def test_the_sum_over_the_path_covers_a_network_that_is_not_convex():
    loss = classifier(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

    result = full_tuning_bound(loss, learning_rate=0.2, steps=30, points=31)

    low, gradients = result.terms.smallest_curvature, result.terms.mean_gradient
    total = 0.0
    for step in range(30):
        total = total * max(1, 1 - 0.2 * low[step]) + 0.2 * gradients[step]
    assert low.max() < 0
    assert result.path == pytest.approx(total / 12)
    assert stability(loss, 0.2, 30) <= result.path
    assert result.path == pytest.approx(result.example_paths.mean())


def test_a_learning_rate_above_the_limit_is_said_with_the_limit():
    loss = least_squares()
    inputs, _ = everything(loss)
    beta = float(torch.linalg.eigvalsh(2 * inputs.T @ inputs / 10)[-1])

    result = full_tuning_bound(loss, learning_rate=1.5 / beta, steps=20)

    assert failing(result, "1/beta")
    finding = result.failures[0].finding
    assert re.search(says(f"{1.5 / beta:.3g}", f"beta = {beta:.3g}", " 0 ", "2/beta", f"{2 / beta:.3g}"), finding)
    assert result.bound == (math.inf, math.inf, math.inf)
    # Below 2/beta a step is still non-expansive.
    assert stability(loss, 1.5 / beta, 20) <= result.path < math.inf


def test_a_training_that_diverges_names_the_stability_limit():
    loss = least_squares()
    inputs, _ = everything(loss)
    limit = 2 / float(torch.linalg.eigvalsh(2 * inputs.T @ inputs / 10)[-1])
    start = loss.weights

    with pytest.raises(UserError, match=says("1e+06", "diverged at step ", "2/beta", f"{limit:.4g}")):
        gradient_descent(loss, 1e6, 200, [200])

    assert torch.equal(loss.weights, start)


def test_a_training_that_diverges_at_its_last_step_names_the_stability_limit_too():
    loss = least_squares()
    loss = MeanLoss(loss.model, loss.batches, lambda outputs, targets: REGRESSION(outputs, targets).square())
    loss.set_weights(loss.weights * 1e10)

    with pytest.raises(UserError, match=r"\bstep 1 of 1\b.*2/beta\D*\d"):
        gradient_descent(loss, 1e80, 1, [1])


def test_infinite_weights_of_a_finite_loss_have_diverged():
    loss = classifier(nn.Linear(4, 3), nn.Tanh())

    with pytest.raises(UserError, match="step 1 of 1"):
        gradient_descent(loss, math.inf, 1, [1])


@pytest.mark.parametrize(("bend", "largest"), [(0.0, "0"), (-2.0, "-2")])
def test_a_training_that_diverges_where_nothing_curves_upwards_names_no_limit(bend, largest):
    loss = least_squares(d=1)
    loss = MeanLoss(loss.model, loss.batches, lambda outputs, _: (outputs * 0).sum() + _concave(loss.model, bend))

    with pytest.raises(UserError, match=rf"\bstep \d+ of 900\b.*curvature.* {largest}$"):
        gradient_descent(loss, 1e155 if bend == 0 else 1.0, 900, [900])


def _concave(model, bend):
    """A line or a downward parabola in the one weight."""
    weight = model.weight.sum()
    return 1e155 * weight + bend * weight**2 / 2


def test_a_learning_rate_beyond_the_stability_limit_is_refused_before_anything_is_trained():
    loss = least_squares()
    inputs, _ = everything(loss)
    limit = 2 / float(torch.linalg.eigvalsh(2 * inputs.T @ inputs / 10)[-1])

    with pytest.raises(UserError, match=says(f"{1.01 * limit:.4g}", "2/beta", f"{limit:.4g}")):
        full_tuning_bound(loss, learning_rate=1.01 * limit, steps=1)

    assert full_tuning_bound(loss, learning_rate=0.99 * limit, steps=1).distance > 0


def test_the_learning_rate_is_that_of_the_largest_curvature_at_the_start_unless_given():
    loss = least_squares()
    inputs, _ = everything(loss)

    result = full_tuning_bound(loss, steps=5)

    beta = float(torch.linalg.eigvalsh(2 * inputs.T @ inputs / 10)[-1])
    assert result.learning_rate == pytest.approx(1 / beta)
    assert result.proved
    with pytest.raises(UserError, match=says("2 products", "beta", "learning rate")):
        full_tuning_bound(classifier(nn.Linear(4, 3)), steps=5, products=2)


def test_a_loss_that_is_not_finite_at_the_start_has_nothing_to_train():
    loss = least_squares()
    loss.set_weights(loss.weights * math.nan)

    with pytest.raises(UserError, match=says("loss", "nan", "initial weights")):
        gradient_descent(loss, 0.1, 3, [3])


def test_mini_batches_visit_every_batch_once_a_pass_and_fail_an_assumption():
    loss = least_squares(noise=1)
    start = loss.weights
    inputs, targets = zip(*loss.batches, strict=True)

    result = full_tuning_bound(loss, learning_rate=0.01, steps=3, mini_batches=True)

    def step(w, k):
        return w - 0.01 * 2 * inputs[k].T @ (inputs[k] @ w - targets[k]) / len(targets[k])

    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    ends = [step(step(step(start, first), second), third) for first, second, third in orders]
    assert min((result.end - end).abs().max() for end in ends) < 1e-15
    assert failing(result, "step", "interpolation")
    assert not result.proved
    others = [full_tuning_bound(loss, learning_rate=0.01, steps=3, mini_batches=True, seed=s).end for s in range(8)]
    assert len({tuple(end.tolist()) for end in others}) > 1
    assert torch.equal(others[0], result.end)


def test_weights_that_do_not_move_have_a_bound_of_zero():
    loss = least_squares()
    inputs, targets = everything(loss)
    loss.set_weights(torch.linalg.lstsq(inputs, targets[:, None]).solution[:, 0])

    result = full_tuning_bound(loss, learning_rate=0.1, steps=5)

    assert max(result.bound) < 1e-12


def test_the_points_are_spread_over_the_steps_and_progress_is_told():
    shares = []

    result = full_tuning_bound(least_squares(), learning_rate=0.1, steps=10, points=3, progress=shares.append)

    assert result.terms.step.tolist() == [0, 5, 10]
    assert shares == sorted(shares)
    assert (0 < shares[0] < 0.2, shares[-1]) == (True, 1)
    assert len(shares) > 15


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"points": 1}, {"products": 0}, {"learning_rate": -1.0}, {"learning_rate": math.nan}]
)
def test_arguments_out_of_their_range_are_refused(wrong):
    with pytest.raises(UserError, match=says("learning_rate", "finite")):
        full_tuning_bound(least_squares(), **{"learning_rate": 0.1, "steps": 3, **wrong})


def test_a_negative_loss_is_refused():
    loss = least_squares()
    loss = MeanLoss(loss.model, loss.batches, lambda outputs, _: outputs.square().mean() - 1)

    with pytest.raises(UserError, match=r"\b0\b.*\bexample \d\b.* -\d"):
        full_tuning_bound(loss, learning_rate=0.1, steps=2)


def test_too_few_products_leave_beta_open_and_say_so():
    result = full_tuning_bound(classifier(nn.Linear(4, 3)), learning_rate=0.1, steps=2, products=2)

    assert "1/beta" in result.failures[0].name
    assert re.search(says("beta = inf", "inf", "products"), result.failures[0].finding)
    assert result.terms.smallest_curvature.min() > 0
    (finding,) = [failure.finding for failure in result.failures if failure.name == "convexity"]
    assert re.search(says("products", "-inf"), finding)


def test_a_smallest_curvature_above_zero_by_less_than_its_margin_proves_no_convexity():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 60, generator=generator, dtype=torch.float64)
    model = nn.Linear(60, 1, bias=False).double()
    loss = MeanLoss(model, [(inputs, torch.ones(12, dtype=torch.float64))], lambda z, y: _weakly_curved(model, z, y))

    few, all_of_them = (full_tuning_bound(loss, learning_rate=1e-3, steps=2, products=k) for k in (11, 60))

    assert few.terms.smallest_curvature.min() > 0
    assert few.terms.margin.max() > few.terms.smallest_curvature.min()
    assert "convexity" in {failure.name for failure in few.failures}
    assert not few.proved
    assert all_of_them.mu == pytest.approx(0.01)
    assert "convexity" not in {failure.name for failure in all_of_them.failures}
    assert all_of_them.proved


def test_one_example_cannot_be_left_out():
    with pytest.raises(UserError, match=says("example", "2")):
        full_tuning_bound(least_squares(n=1), learning_rate=0.1, steps=3)


def test_a_transformer_is_measured_from_its_run_spec_and_left_as_it_was(tiny_model, tiny_task):
    study = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 1, "training": {"pooling": "mean"}}
    loss = run_loss(plan(Study.parse(study))[0])
    start = loss.weights

    result = full_tuning_bound(loss, learning_rate=0.01, steps=4, points=2, products=20)

    assert torch.equal(loss.weights, start)
    assert result.n == 40
    assert result.terms.loss[-1] < result.terms.loss[0]
    assert (result.terms.residual < 0.1 * result.terms.largest_curvature).all()
    assert "convexity" in {failure.name for failure in result.failures}
